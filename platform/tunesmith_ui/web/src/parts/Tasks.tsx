// The tasks of one kind, newest first, and the one that is shown.
import { Text } from "@mantine/core";
import { useTasks } from "../api/queries";
import type { TaskView } from "../api/schema";
import { hrefOf } from "../app/router";
import { useWords } from "../i18n";
import { Found } from "./Panel";
import { StateBadge } from "./State";
import { timeOf } from "./words";

export function Tasks({ kind, page, chosen, empty }: { kind: string; page: string; chosen: string | null; empty: string }) {
  const { language } = useWords();
  const asked = useTasks(kind);
  return (
    <Found asked={asked}>
      {({ data }) => data.length === 0 ? <Text size="sm" c="dimmed">{empty}</Text> : (
        <div className="list">
          {data.map((task: TaskView) => (
            <a key={task.id} className="row" href={hrefOf([page, task.id])} aria-current={task.id === chosen ? "true" : undefined}>
              <span className="wrapped fill">{task.name}<br /><Text span size="xs" c="dimmed">{timeOf(task.created_at, language)}</Text></span>
              <StateBadge state={task.state} />
            </a>
          ))}
        </div>
      )}
    </Found>
  );
}
