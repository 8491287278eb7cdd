// Several trainings' curves over each other, as the server lays them.
import { Group, MultiSelect, Select, Stack } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { call } from "../../api/http";
import type { TaskView, tunesmith__curves__Comparison as Comparison } from "../../api/schema";
import { useWorkspace } from "../../app/workspace";
import { useWords, type Word } from "../../i18n";
import { Chart } from "../../parts/Chart";
import { Found } from "../../parts/Panel";

const MOST = 19;
const METRICS = ["loss", "eval_loss", "perplexity", "learning_rate", "grad_norm", "tokens_per_second", "memory_bytes"];

export function Compare({ task, axis }: { task: TaskView; axis: string }) {
  const { t } = useWords();
  const { tasks } = useWorkspace();
  const [others, setOthers] = useState<string[]>([]);
  const [metric, setMetric] = useState("loss");
  const options = tasks.filter((one) => one.kind === "train" && one.id !== task.id && one.attempt > 0)
    .map((one) => ({ value: one.id, label: one.name === one.id ? one.id : `${one.name} (${one.id.slice(-5)})` }));
  const asked = useQuery({
    queryKey: ["compare", task.id, others, metric, axis], enabled: others.length > 0,
    refetchInterval: tasks.some((one) => one.state === "running" && [task.id, ...others].includes(one.id)) ? 10_000 : false,
    queryFn: ({ signal }) => call<Comparison>("GET", "/v1/metrics:compare", { query: { task: [task.id, ...others], name: [metric], x: axis }, signal }),
  });
  if (!options.length) return null;
  return (
    <Stack gap="sm">
      <Group align="start" grow preventGrowOverflow={false}>
        <MultiSelect className="fill" label={t("compare.with")} data={options} value={others} maxValues={MOST} searchable clearable onChange={setOthers} />
        {others.length > 0 && <Select maw={260} label={t("compare.metric")} data={METRICS.map((value) => ({ value, label: t(`metric.${value}` as Word) }))} value={metric}
          allowDeselect={false} onChange={(value) => value && setMetric(value)} />}
      </Group>
      {others.length > 0 && (
        <Found asked={asked}>
          {(found) => (
            <Chart title={t(`metric.${metric}` as Word)} xLabel={t(`axis.${axis}` as Word)} height={280}
              lines={found.curves.map((one) => ({
                label: `${found.tasks.find((other) => other.task.id === one.task_id)?.task.name ?? one.task_id} (${one.task_id.slice(-5)})`,
                x: one.x, y: one.value,
              }))} />
          )}
        </Found>
      )}
    </Stack>
  );
}
