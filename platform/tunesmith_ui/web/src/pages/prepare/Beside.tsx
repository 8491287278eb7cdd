// What stands beside single parameters and is worked out from others: the effective batch, quick picks, checkpoints.
import { Button, Group, Select, SimpleGrid, Table, Text } from "@mantine/core";
import { useDebouncedValue } from "@mantine/hooks";
import { useQuery } from "@tanstack/react-query";
import { useState, type ReactNode } from "react";
import { call } from "../../api/http";
import { useCheckpoints, useModels, type FormSchema } from "../../api/queries";
import type { LoraFileView } from "../../api/schema";
import { useWords } from "../../i18n";
import { valueOf, type Values } from "../../parts/form";
import { Found } from "../../parts/Panel";
import { TaskSelect } from "../../parts/Source";
import { effectiveBatch } from "./batch";

type Props = { name: string; schema: FormSchema; values: Values; set: (name: string, value: unknown) => void };

const BATCH = ["per_device_train_batch_size", "gradient_accumulation_steps", "num_workers"] as const;
const PICKS = { qv: ["q_proj", "v_proj"], attention: ["q_proj", "k_proj", "v_proj", "o_proj"], all: ["all-linear"] } as const;

export function Beside({ name, ...given }: Props): ReactNode {
  if ((BATCH as readonly string[]).includes(name)) return <EffectiveBatch {...given} />;
  if (name === "target_modules") return <Targets {...given} />;
  if (name === "peft_config_path") return <LoraFile {...given} />;
  if (name === "resume_from_checkpoint") return <Recorded {...given} />;
  return null;
}

function EffectiveBatch({ schema, values }: Omit<Props, "name">) {
  const { t } = useWords();
  const factors = BATCH.map((name) => valueOf(schema, values, name));
  const rows = effectiveBatch(factors);
  return rows === null ? null : <Text size="xs" fw={600} mt={4}>{t("beside.batch", { rows, of: factors.join(" × ") })}</Text>;
}

/** The linear layers that the chosen model has, where it is known; the usual ones else. */
export function useLinear(values: Values): string[] {
  const models = useModels().data?.data ?? [];
  const wanted = values["model_name_or_path"];
  return models.find((one) => one.name === wanted || one.path === wanted || one.hub_id === wanted)?.facts?.linear_modules ?? [];
}

function Targets({ values, set }: Omit<Props, "name">) {
  const { t } = useWords();
  const has = useLinear(values);
  return (
      <Group gap={6} mt={6}>
        {(Object.keys(PICKS) as (keyof typeof PICKS)[]).map((pick) => {
          const modules = PICKS[pick];
          const isThere = pick === "all" || has.length === 0 || modules.every((one) => has.includes(one));
          return <Button key={pick} size="compact-xs" variant="default" disabled={!isThere} onClick={() => set("target_modules", [...modules])}>{t(`beside.pick.${pick}`)}</Button>;
        })}
      </Group>
  );
}

/** What the file sets, as a task would read it; these values count, and not the form's. */
function LoraFile({ schema, values }: Omit<Props, "name">) {
  const { t, pick } = useWords();
  const [path] = useDebouncedValue(String(values["peft_config_path"] ?? "").trim(), 500);
  const asked = useQuery({
    queryKey: ["lora-file", path], enabled: path.startsWith("/"), retry: false,
    queryFn: ({ signal }) => call<LoraFileView>("GET", "/v1/system/lora-file", { query: { path }, signal }),
  });
  if (!path.startsWith("/")) return null;
  return (
    <Found asked={asked}>
      {({ values: set }) => (
        <Table mt={6} verticalSpacing={2} withTableBorder>
          <Table.Caption><Text size="xs">{t("beside.fileSets")}</Text></Table.Caption>
          <Table.Tbody>
            {Object.entries(set).map(([name, value]) => {
              const about = schema.properties[name]?.tunesmith;
              return (
                <Table.Tr key={name}>
                  <Table.Th scope="row" className="label"><Text size="xs" title={name}>{about ? pick(about.label_en, about.label_zh) : name}</Text></Table.Th>
                  <Table.Td className="wrapped"><Text size="xs" className="code">{typeof value === "string" ? value : JSON.stringify(value)}</Text></Table.Td>
                </Table.Tr>
              );
            })}
          </Table.Tbody>
        </Table>
      )}
    </Found>
  );
}

/** A checkpoint that the platform has recorded, chosen by its task and step; its place is written into the field. */
function Recorded({ set }: Omit<Props, "name">) {
  const { t } = useWords();
  const [task, setTask] = useState<string | null>(null);
  const found = useCheckpoints(task).data?.data ?? [];
  return (
    <SimpleGrid cols={1} mt={6} spacing="xs">
      <TaskSelect value={task} onChange={setTask} />
      <Select label={t("source.checkpoint")} disabled={!task} data={found.map((one) => ({ value: one.uri, label: String(one.step) }))}
        onChange={(uri) => uri && set("resume_from_checkpoint", uri)} value={null} placeholder={task && found.length === 0 ? t("checkpoints.empty") : ""} />
    </SimpleGrid>
  );
}
