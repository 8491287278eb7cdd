// What a start makes of the task that was chosen, in words, before it is started; and from which of its checkpoints.
import { SegmentedControl, Select, SimpleGrid, Stack, Text } from "@mantine/core";
import { useCheckpoints, type FormSchema } from "../../api/queries";
import type { CheckpointView, TaskView } from "../../api/schema";
import { useWords } from "../../i18n";
import { Field } from "../../parts/Field";
import { isChanged, valueOf } from "../../parts/form";
import { numberOf } from "../../parts/words";
import type { Draft, Way } from "./draft";

/** How long a task is: the two parameters that may be raised while all others stay. */
export const LENGTHS = ["num_train_epochs", "max_steps"] as const;
const WAYS: Way[] = ["continue", "clone", "stage"];

type Props = { source: TaskView; schema: FormSchema; draft: Draft; errors: Record<string, string>; change: (change: (known: Draft) => Draft) => void };

export function Origin({ source, schema, draft, errors, change }: Props) {
  const { t } = useWords();
  const checkpoints = useCheckpoints(source.id).data?.data ?? [];
  const isOver = source.ended_at !== null;
  const isPossible = { continue: isOver, clone: true, stage: checkpoints.length > 0 };
  const newest = checkpoints.reduce<CheckpointView | null>((best, one) => (!best || one.step > best.step ? one : best), null);
  const said = {
    clone: t("origin.cloneWhat", { name: source.name }),
    stage: t("origin.stageWhat", { name: source.name, step: draft.step ?? newest?.step ?? 0 }),
    continue: newest ? t("origin.continueWhat", { name: source.name, step: newest.step }) : t("origin.againWhat", { name: source.name }),
  };
  return (
    <Stack gap="sm">
      <SegmentedControl fullWidth value={draft.way} aria-label={t("origin.way")}
        data={WAYS.map((way) => ({ value: way, label: t(`origin.${way}`), disabled: !isPossible[way] }))}
        onChange={(way) => change((known) => ({ ...known, way: way as Way }))} />
      <Text size="sm" className="wrapped">{said[draft.way]}</Text>
      {draft.way === "stage" && (
        <CheckpointSelect checkpoints={checkpoints} value={draft.step} onChange={(step) => change((known) => ({ ...known, step }))} />
      )}
      {draft.way === "continue" && (
        <SimpleGrid cols={{ base: 1, sm: 2 }}>
          {LENGTHS.map((name) => (
            <Field key={name} name={name} property={schema.properties[name]!} value={valueOf(schema, draft.values, name)}
              isChanged={isChanged(schema, draft.values, name)} error={errors[name]}
              onChange={(value) => change((known) => ({ ...known, values: { ...known.values, [name]: value } }))}
              onReset={() => change((known) => ({ ...known, values: { ...known.values, [name]: source.spec[name] } }))} />
          ))}
        </SimpleGrid>
      )}
    </Stack>
  );
}

/** A checkpoint by its step, what was measured there, and its marks. */
export function CheckpointSelect({ checkpoints, value, onChange }: { checkpoints: CheckpointView[]; value: number | null; onChange: (step: number | null) => void }) {
  const { t } = useWords();
  const data = [...checkpoints].sort((a, b) => b.step - a.step).map((one) => {
    const measured = (["eval_loss", "loss"] as const).find((name) => one.metrics[name] !== undefined);
    const mark = one.is_recommended ? t("checkpoints.recommended") : one.is_best ? t("checkpoints.best") : "";
    return { value: String(one.step), label: [String(one.step), measured ? `${t(`metric.${measured}`)} ${numberOf(one.metrics[measured])}` : "", mark].filter(Boolean).join(" · ") };
  });
  return (
    <Select label={t("source.checkpoint")} description={t("origin.newest")} data={data} value={value === null ? null : String(value)} clearable searchable
      onChange={(step) => onChange(step === null ? null : Number(step))} />
  );
}
