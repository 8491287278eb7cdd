import { Accordion, Group, SegmentedControl, SimpleGrid, Slider, Stack, Text } from "@mantine/core";
import { useState } from "react";
import { useCurves } from "../../api/queries";
import type { TaskView } from "../../api/schema";
import { useWords, type Word } from "../../i18n";
import { Chart } from "../../parts/Chart";
import { extended, type Point } from "../../parts/lines";
import { ErrorNote } from "../../parts/Panel";
import { Compare } from "./Compare";

const OPEN = ["loss", "perplexity"];
const FOLDED = [
  ["eval_loss", "learning_rate", "grad_norm"],
  ["tokens_per_second", "memory_bytes"],
  ["system/cpu_utilization_percentage", "system/process_memory_megabytes", "system/gpu_utilization_percentage", "system/gpu_memory_usage_megabytes"],
];
const FOLDS: Word[] = ["curves.training", "curves.speed", "curves.machines"];

/** A task's curves: loss and perplexity open, the others folded and asked for when they are opened. */
export function Curves({ task, live, isLive }: { task: TaskView; live: Record<string, Point[]>; isLive: boolean }) {
  const { t } = useWords();
  const [axis, setAxis] = useState("step");
  const [smoothing, setSmoothing] = useState(0);
  const [open, setOpen] = useState<string[]>([]);
  const given = { task, live, isLive, axis, ema: smoothing > 0 ? Math.max(0.02, 1 - smoothing / 100) : null };
  return (
    <Stack gap="sm">
      <Group gap="lg" align="center">
        <SegmentedControl size="xs" aria-label={t("curves.axis")} value={axis} onChange={setAxis}
          data={["step", "time", "tokens"].map((value) => ({ value, label: t(`axis.${value}` as Word) }))} />
        <Group gap="xs" wrap="nowrap" className="smoothing">
          <Text size="sm">{t("curves.smoothing")}</Text>
          <Slider w={160} min={0} max={98} value={smoothing} onChange={setSmoothing} label={(value) => `${value} %`}
            thumbLabel={t("curves.smoothing")} />
        </Group>
        <Text size="xs" c="dimmed">{t("curves.how")}</Text>
      </Group>
      <Drawn {...given} names={OPEN} />
      <Accordion multiple value={open} onChange={setOpen} variant="contained">
        {FOLDED.map((names, i) => (
          <Accordion.Item key={FOLDS[i]} value={String(i)}>
            <Accordion.Control>{t(FOLDS[i]!)}</Accordion.Control>
            <Accordion.Panel>{open.includes(String(i)) && <Drawn {...given} names={names} />}</Accordion.Panel>
          </Accordion.Item>
        ))}
      </Accordion>
      <Compare task={task} />
    </Stack>
  );
}

type Given = { task: TaskView; live: Record<string, Point[]>; isLive: boolean; axis: string; ema: number | null; names: string[] };

function Drawn({ task, live, isLive, axis, ema, names }: Given) {
  const { t } = useWords();
  const asked = useCurves(task.id, names, axis, ema, isLive);
  const found = asked.data?.curves ?? [];
  // What arrives is drawn at once where it can be as it is; smoothed and over another axis the server draws it.
  const isPlain = axis === "step" && ema === null;
  return (
    <>
      {asked.error && <ErrorNote error={asked.error} onAgain={() => void asked.refetch()} />}
      <SimpleGrid cols={{ base: 1, md: 2 }}>
        {names.map((name) => {
          const of = found.filter((one) => one.name === name);
          const label = t(`metric.${name}` as Word);
          const lines = of.length
            ? of.map((one) => ({ label, x: one.x, y: one.value }))
            : [{ label, x: [], y: [] }];
          const whole = isPlain ? lines.map((line) => extended(line, live[name] ?? [])) : lines;
          return <Chart key={name} title={label} lines={whole} xLabel={t(`axis.${axis}` as Word)} />;
        })}
      </SimpleGrid>
    </>
  );
}
