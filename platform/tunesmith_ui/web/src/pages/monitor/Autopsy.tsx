import { Alert, Group, Stack, Text } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { call } from "../../api/http";
import type * as t from "../../api/schema";
import { useWords, type Word } from "../../i18n";
import { Icon } from "../../parts/icons";
import { Found } from "../../parts/Panel";
import { Said } from "../../parts/Said";
import { bytesOf } from "../../parts/words";

/** Why a task failed, whose fault it was, what it said last, and what to do next. */
export function Autopsy({ id }: { id: string }) {
  const words = useWords();
  const asked = useQuery({
    queryKey: ["autopsy", id],
    queryFn: ({ signal }) => call<t.Autopsy>("GET", `/v1/tasks/${id}/autopsy`, { signal }),
  });
  return (
    <Found asked={asked}>
      {(found) => (
        <Stack gap="sm">
          <Alert color="red" icon={<Icon name="warn" />} title={<span className="wrapped">{found.cause}</span>}>
            <Stack gap={4}>
              {found.message && <Text size="sm" className="wrapped"><Said>{found.message}</Said></Text>}
              {found.next_step && <Text size="sm" fw={600} className="wrapped"><Said>{found.next_step}</Said></Text>}
            </Stack>
          </Alert>
          <Group gap="lg">
            {found.fault && <Fact word="autopsy.fault" value={words.t(`fault.${found.fault}` as Word)} />}
            <Fact word="monitor.step" value={`${found.last_step} / ${found.total_steps}`} />
            <Fact word="autopsy.checkpoint" value={found.last_checkpoint ? String(found.last_checkpoint.step) : "–"} />
            <Fact word="autopsy.lost" value={String(found.steps_lost)} />
            {found.peak_memory_bytes != null && <Fact word="autopsy.memory" value={bytesOf(found.peak_memory_bytes)} />}
          </Group>
          {found.workers.map((worker) => (
            <details key={worker.source}>
              <summary>{worker.source}</summary>
              <div className="log" tabIndex={0} role="log" aria-label={worker.source}>
                {worker.lines.map((line) => <div key={line.n} className={`log-line log-${line.level}`}><span>{line.message}</span></div>)}
              </div>
            </details>
          ))}
        </Stack>
      )}
    </Found>
  );
}

function Fact({ word, value }: { word: Word; value: string }) {
  const { t } = useWords();
  return <div><Text size="xs" c="dimmed">{t(word)}</Text><Text size="sm">{value}</Text></div>;
}
