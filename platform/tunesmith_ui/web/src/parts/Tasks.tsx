// A page of one kind of task: its tasks, newest first, beside the one that is shown or the form of a new one.
import { Alert, Button, Grid, Stack, Text, Title } from "@mantine/core";
import type { ReactNode } from "react";
import { useTasks } from "../api/queries";
import type { TaskView } from "../api/schema";
import { go, hrefOf } from "../app/router";
import { useWords } from "../i18n";
import { Icon } from "./icons";
import { Found, Section } from "./Panel";
import { Said } from "./Said";
import { StateBadge } from "./State";
import { timeOf } from "./words";

/** `kind` is the page's name in addresses too. */
type Props = { kind: "evaluate" | "package"; chosen: string | null; title: string; make: string; empty: string; children: ReactNode };

export function TaskPage({ kind, chosen, title, make, empty, children }: Props) {
  return (
    <Grid gap="md">
      <Grid.Col span={{ base: 12, lg: 4 }}>
        <Section title={<Title order={1} size="h5">{title}</Title>}
          aside={<Button size="compact-sm" variant="default" leftSection={<Icon name="plus" size={14} />} onClick={() => go([kind])}>{make}</Button>}>
          <Tasks kind={kind} chosen={chosen} empty={empty} />
        </Section>
      </Grid.Col>
      <Grid.Col span={{ base: 12, lg: 8 }}>{children}</Grid.Col>
    </Grid>
  );
}

function Tasks({ kind, chosen, empty }: { kind: string; chosen: string | null; empty: string }) {
  const { language } = useWords();
  const asked = useTasks(kind);
  return (
    <Found asked={asked}>
      {({ data }) => data.length === 0 ? <Text size="sm" c="dimmed">{empty}</Text> : (
        <div className="list">
          {data.map((task) => (
            <a key={task.id} className="row" href={hrefOf([kind, task.id])} aria-current={task.id === chosen ? "true" : undefined}>
              <span className="wrapped fill">{task.name}<br /><Text span size="xs" c="dimmed">{timeOf(task.created_at, language)}</Text></span>
              <StateBadge state={task.state} />
            </a>
          ))}
        </div>
      )}
    </Found>
  );
}

/** A task's name and state, what it says of itself, and, where it failed, what to do next. */
export function TaskSection({ task, children }: { task: TaskView; children: ReactNode }) {
  const { pick } = useWords();
  return (
    <Section title={<span className="wrapped">{task.name}</span>} aside={<StateBadge state={task.state} />}>
      <Stack gap="sm">
        {task.message && <Text size="sm" c="dimmed" className="wrapped"><Said>{task.message}</Said></Text>}
        {task.activity && <Text size="sm" c="dimmed">{pick(task.activity.text_en, task.activity.text_zh)}</Text>}
        {task.next_step && task.state === "failed" && <Alert color="red" className="wrapped"><Said>{task.next_step}</Said></Alert>}
        {children}
      </Stack>
    </Section>
  );
}
