// A part of a page that may fail alone: the page lives on, and says which request it was.
import { Alert, Button, Card, Code, Group, Loader, Stack, Text, Title } from "@mantine/core";
import { Component, type ReactNode } from "react";
import { ApiError, NO_ANSWER } from "../api/http";
import { useWords } from "../i18n";
import { Icon } from "./icons";
import { Said } from "./Said";

type Caught = { error: Error | null };

class Boundary extends Component<{ children: ReactNode; shown: (error: Error, again: () => void) => ReactNode }, Caught> {
  override state: Caught = { error: null };

  static getDerivedStateFromError(error: Error): Caught {
    return { error };
  }

  override render(): ReactNode {
    const { error } = this.state;
    return error ? this.props.shown(error, () => this.setState({ error: null })) : this.props.children;
  }
}

/** What may fail alone; `failed` stands in its place where there is something better than the error's words. */
export function Panel({ children, failed }: { children: ReactNode; failed?: ReactNode }) {
  return <Boundary shown={(error, again) => failed ?? <ErrorNote error={error} onAgain={again} />}>{children}</Boundary>;
}

/** A card with a heading, which fails alone. */
export function Section({ title, aside, children }: { title?: ReactNode; aside?: ReactNode; children: ReactNode }) {
  return (
    <Card withBorder padding="md" component="section">
      {(title || aside) && (
        <Group justify="space-between" mb="sm" wrap="wrap" gap="xs">
          <Title order={2} size="h5">{title}</Title>
          {aside}
        </Group>
      )}
      <Panel>{children}</Panel>
    </Card>
  );
}

export function ErrorNote({ error, onAgain }: { error: Error; onAgain?: () => void }) {
  const { t } = useWords();
  const known = error instanceof ApiError ? error : null;
  const message = known?.code === NO_ANSWER ? t("error.noAnswer") : known?.status === 0 ? t("error.away") : error.message || t("error.unknown");
  return (
    <Alert color="red" icon={<Icon name="warn" />} role="alert">
      <Stack gap={4}>
        <Text className="wrapped"><Said>{message}</Said></Text>
        {known?.problems.filter((one) => !message.endsWith(one.message)).slice(0, 5).map((one) => (
          <Text key={`${one.field}${one.message}`} size="sm" className="wrapped">{one.field}: <Said>{one.message}</Said></Text>
        ))}
        {known?.hint && <Text size="sm" className="wrapped"><Said>{known.hint}</Said></Text>}
        {known?.status === 404 && <Text size="sm">{t("error.hidden")}</Text>}
        {known?.requestId && <Text size="xs">{t("error.request")} <Code className="wrapped">{known.requestId}</Code></Text>}
        {onAgain && <Group><Button size="compact-sm" variant="light" color="red" onClick={onAgain}>{t("error.again")}</Button></Group>}
      </Stack>
    </Alert>
  );
}

export type Asked<T> = { data: T | undefined; error: Error | null; isPending: boolean; refetch: () => unknown };

/** What a query found; a wheel while it asks, and what went wrong where it did. */
export function Found<T>({ asked, children }: { asked: Asked<T>; children: (data: T) => ReactNode }) {
  const { t } = useWords();
  // The frame says once for all panels that the platform is away: what they show stays.
  const isOld = asked.data !== undefined && asked.error instanceof ApiError && asked.error.status === 0;
  return (
    <>
      {asked.error && !isOld && <ErrorNote error={asked.error} onAgain={() => void asked.refetch()} />}
      {asked.data === undefined && !asked.error && asked.isPending && <Loader size="sm" aria-label={t("error.loading")} />}
      {asked.data !== undefined && children(asked.data)}
    </>
  );
}

export function Empty({ children, action }: { children: ReactNode; action?: ReactNode }) {
  return (
    <Stack align="center" gap="sm" py="xl">
      <Text c="dimmed" ta="center" maw={520}>{typeof children === "string" ? <Said>{children}</Said> : children}</Text>
      {action}
    </Stack>
  );
}
