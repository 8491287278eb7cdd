import { Accordion, Group, SegmentedControl, SimpleGrid, Slider, Stack, Text } from "@mantine/core";
import { useState } from "react";
import { useCurves, type Wish } from "../../api/queries";
import type { Curve, TaskView } from "../../api/schema";
import { useWords, type Word } from "../../i18n";
import { Chart } from "../../parts/Chart";
import { extended, stepsOf, type Line, type Point } from "../../parts/lines";
import { ErrorNote } from "../../parts/Panel";
import { Compare } from "./Compare";
import { Rows } from "./Rows";

const SCORES = "evaluation/";
const OPEN = ["loss", "perplexity"];
const FOLDED = [
  ["eval_loss", "learning_rate", "grad_norm"],
  ["composite", "similarity", "keyword_coverage", "perplexity", "format", "length"].map((name) => `${SCORES}${name}`),
  ["tokens_per_second", "memory_bytes"],
  ["system/cpu_utilization_percentage", "system/process_memory_megabytes", "system/gpu_utilization_percentage", "system/gpu_memory_usage_megabytes"],
];
const FOLDS: Word[] = ["curves.training", "curves.scores", "curves.speed", "curves.machines"];
const MODES = ["merged", "segments", "accumulated"] as const;

/** A task's curves: loss and perplexity open, the others folded and asked for when they are opened. */
export function Curves({ task, live, isLive }: { task: TaskView; live: Record<string, Point[]>; isLive: boolean }) {
  const { t } = useWords();
  const [axis, setAxis] = useState("step");
  const [mode, setMode] = useState("merged");
  const [smoothing, setSmoothing] = useState(0);
  const [open, setOpen] = useState<string[]>([]);
  const given = { task, live, isLive, axis, mode, ema: smoothing > 0 ? Math.max(0.02, 1 - smoothing / 100) : null };
  return (
    <Stack gap="sm">
      <Group gap="lg" align="center">
        <SegmentedControl size="xs" aria-label={t("curves.axis")} value={axis} onChange={setAxis}
          data={["step", "time", "tokens"].map((value) => ({ value, label: t(`axis.${value}` as Word) }))} />
        {task.attempt > 1 && (
          <SegmentedControl size="xs" aria-label={t("curves.mode")} value={mode} onChange={setMode}
            data={MODES.map((value) => ({ value, label: t(`curves.mode.${value}`) }))} />
        )}
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
      <Rows task={task} />
      <Compare task={task} axis={axis} />
    </Stack>
  );
}

type Given = {
  task: TaskView; live: Record<string, Point[]>; isLive: boolean; axis: string; mode: string; ema: number | null; names: string[];
};

function Drawn({ task, live, isLive, axis, mode, ema, names }: Given) {
  const { t } = useWords();
  const asked = useCurves(task.id, names, { x: axis, mode, ema }, isLive);
  const found = asked.data?.curves ?? [];
  // What arrives is drawn at once where it can be as it is; smoothed, in parts and over another axis the server draws it.
  const isPlain = axis === "step" && mode === "merged" && ema === null;
  const shown = names.filter((name) => !name.startsWith(SCORES) || found.some((one) => one.name === name));
  return (
    <>
      {asked.error && <ErrorNote error={asked.error} onAgain={() => void asked.refetch()} />}
      {shown.length === 0 && !asked.isPending && <Text size="sm" c="dimmed">{t("chart.empty")}</Text>}
      <SimpleGrid cols={{ base: 1, md: 2 }}>
        {shown.map((name) => (
          <One key={name} task={task} name={name} wish={{ x: axis, mode, ema }} curves={found.filter((one) => one.name === name)}
            live={isPlain ? (live[name] ?? []) : []} />
        ))}
      </SimpleGrid>
    </>
  );
}

type OneProps = { task: TaskView; name: string; wish: Wish; curves: Curve[]; live: Point[] };

/** One metric's chart. What is zoomed into is drawn from what is there at once, then as finely as the server has it. */
function One({ task, name, wish, curves, live }: OneProps) {
  const { t } = useWords();
  const [window, setWindow] = useState<[number, number] | null>(null);
  const finer = useCurves(window ? task.id : null, [name], { ...wish, ...(window ? { from: window[0], to: window[1] } : {}) }, false);
  const label = t(`metric.${name}` as Word);
  const isFiner = window !== null && finer.data !== undefined && !finer.isPlaceholderData && finer.data.curves.length > 0;
  const drawn = isFiner ? finer.data.curves : curves;
  const lines = drawn.length
    ? drawn.map((one) => ({ label: one.attempt == null ? label : t("monitor.attempt", { n: one.attempt }), x: one.x, y: one.value }))
    : [{ label, x: [], y: [] }];
  const whole = isFiner || wish.mode !== "merged" ? apart(lines) : lines.map((line) => extended(line, live));
  return <Chart title={label} lines={whole} xLabel={t(`axis.${wish.x}` as Word)} onZoom={(range) => setWindow(range && stepsOf(curves, range))} />;
}

/** Segments of one attempt, each restart's, need names of their own. */
function apart(lines: Line[]): Line[] {
  const seen = new Map<string, number>();
  return lines.map((line) => {
    const count = (seen.get(line.label) ?? 0) + 1;
    seen.set(line.label, count);
    return count === 1 ? line : { ...line, label: `${line.label} (${count})` };
  });
}
