// What is shown once, with a way to take it along.
import { Alert, Button, Code, CopyButton, Group, Stack, Text } from "@mantine/core";
import { useWords } from "../i18n";
import { Said } from "./Said";

export function Secret({ title, note, secret, onClose }: { title: string; note: string; secret: string; onClose: () => void }) {
  const { t } = useWords();
  return (
    <Alert role="status" title={title} withCloseButton closeButtonLabel={t("close")} onClose={onClose}>
      <Stack gap="xs">
        <Text size="sm"><Said>{note}</Said></Text>
        <Group>
          <Code className="wrapped">{secret}</Code>
          <CopyButton value={secret}>
            {({ copied, copy }) => <Button size="compact-sm" variant="default" onClick={copy}>{t(copied ? "settings.copied" : "settings.copy")}</Button>}
          </CopyButton>
        </Group>
      </Stack>
    </Alert>
  );
}
