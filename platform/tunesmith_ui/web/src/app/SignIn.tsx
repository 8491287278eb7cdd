import { Alert, Button, Card, Center, Code, Divider, Group, PasswordInput, Stack, Text, Title } from "@mantine/core";
import { useState } from "react";
import { ApiError, addressOf } from "../api/http";
import { useSignInOptions } from "../api/queries";
import type { SessionView } from "../api/schema";
import { useWords } from "../i18n";
import { ErrorNote } from "../parts/Panel";
import { signIn } from "./App";
import { Choices } from "./Choices";
import { useRoute } from "./router";

/** Why a provider let nobody in, as the address of the way back says it. */
const REFUSALS = ["lost", "cancelled", "refused", "no-role", "no-name", "away"] as const;

/** Asks for a provider, a link or a key. The key is sent once, for a cookie, and kept nowhere. */
export function SignIn({ failure, onDone }: { failure: ApiError | null; onDone: (found: SessionView) => void }) {
  const { t } = useWords();
  const route = useRoute();
  const providers = useSignInOptions().data?.providers ?? [];
  const why = route.parts[0] === "refused" ? (route.parts[1] ?? "") : "";
  const onward = why ? "" : window.location.hash.replace(/^#\/?/, "");
  const [key, setKey] = useState("");
  const [isBusy, setBusy] = useState(false);
  const [error, setError] = useState<ApiError | null>(null);
  const shown = error ?? failure;
  return (
    <Center mih="100vh" p="md" component="main">
      <Card withBorder padding="xl" w={440} maw="100%" shadow="sm">
        <Stack>
          <Group justify="space-between" wrap="nowrap">
            <Title order={1} size="h3">Tunesmith</Title>
            <Choices />
          </Group>
          {why && (
            <Alert color="red">
              {t(`signin.refused.${REFUSALS.find((one) => one === why) ?? "refused"}`)}
            </Alert>
          )}
          {providers.map((one) => (
            <Button key={one.path} component="a" href={addressOf(one.path, { next: onward })}>
              {t("signin.with", { name: one.name })}
            </Button>
          ))}
          {providers.length > 0 && <Divider label={t("signin.or")} />}
          <Text>{t("signin.how")}</Text>
          <Code block>tunesmith up --open</Code>
          {shown && <ErrorNote error={shown} />}
          <form onSubmit={(event) => {
            event.preventDefault();
            setBusy(true);
            setError(null);
            signIn(key.trim())
              .then(onDone)
              .catch((found: unknown) => setError(found as ApiError))
              .finally(() => setBusy(false));
          }}>
            <Stack gap="sm">
              <PasswordInput label={t("signin.key")} description={t("signin.keyHelp")} value={key}
                autoComplete="off" onChange={(event) => setKey(event.currentTarget.value)} />
              <Button type="submit" variant={providers.length ? "default" : "filled"} loading={isBusy} disabled={!key.trim()}>{t("signin.enter")}</Button>
            </Stack>
          </form>
          <Alert role="note" variant="light" color="gray" p="xs"><Text size="sm">{t("signin.safe")}</Text></Alert>
        </Stack>
      </Card>
    </Center>
  );
}
