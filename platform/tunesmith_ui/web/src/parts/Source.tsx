// Which training, and which of its checkpoints: what an evaluation and a package begin with.
import { Select, SimpleGrid } from "@mantine/core";
import { useCheckpoints, useTasks } from "../api/queries";
import { useWords, type Word } from "../i18n";

export function TaskSelect({ value, onChange }: { value: string | null; onChange: (id: string | null) => void }) {
  const { t } = useWords();
  const tasks = useTasks("train");
  const data = (tasks.data?.data ?? []).map((one) => ({ value: one.id, label: `${one.name} · ${t(`state.${one.state}` as Word)}` }));
  return <Select label={t("source.task")} placeholder={t("monitor.choose")} data={data} value={value} searchable clearable onChange={onChange} />;
}

type Props = { task: string | null; step: string | null; onTask: (id: string | null) => void; onStep: (step: string | null) => void };

export function Source({ task, step, onTask, onStep }: Props) {
  const { t } = useWords();
  const checkpoints = useCheckpoints(task);
  const data = (checkpoints.data?.data ?? []).map((one) => ({
    value: String(one.step),
    label: `${one.step}${one.is_recommended ? ` · ${t("checkpoints.recommended")}` : one.is_best ? ` · ${t("checkpoints.best")}` : ""}`,
  }));
  return (
    <SimpleGrid cols={{ base: 1, sm: 2 }}>
      <TaskSelect value={task} onChange={onTask} />
      <Select label={t("source.checkpoint")} description={t("source.checkpointHelp")} data={data} value={step} clearable disabled={!task} onChange={onStep} />
    </SimpleGrid>
  );
}
