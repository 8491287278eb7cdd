// What a package is to hold: the presets as cards, what may be chosen of one, and the types with what a file of each takes.
import { Checkbox, Radio, SimpleGrid, Stack, Table, Text } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { call } from "../../api/http";
import type { FormSchema } from "../../api/queries";
import type { WhichView } from "../../api/schema";
import { useWords, type Word } from "../../i18n";
import { Field } from "../../parts/Field";
import { isChanged, isShown, valueOf, type Values } from "../../parts/form";
import { Mark } from "../../parts/Mark";
import { Found } from "../../parts/Panel";
import { Said } from "../../parts/Said";
import { bytesOf, numberOf } from "../../parts/words";
import { Wide } from "../../parts/Wide";

export const DRAWN = ["preset", "quant_types", "merge_lora", "export_gguf", "quantize", "export_lora_gguf"];

type Props = { schema: FormSchema; values: Values; set: (name: string, value: unknown) => void; reset: (name: string) => void; task: string | null; step: string | null };

export function Choices({ schema, values, set, reset, task, step }: Props) {
  const { t, pick } = useWords();
  const about = schema.properties.preset?.tunesmith;
  const preset = valueOf(schema, values, "preset");
  const switches = DRAWN.slice(2).filter((name) => schema.properties[name] && isShown(schema, values, name));
  if (!about) return null;
  return (
    <Stack gap="sm">
      <Radio.Group aria-label={pick(about.label_en, about.label_zh)} value={String(preset)} onChange={(value) => set("preset", value)}>
        <SimpleGrid cols={{ base: 1, sm: 2, xl: 3 }} spacing="xs">
          {(about.choices ?? []).map((name) => (
            <Radio.Card key={name} value={name} className="card-choice">
              <Text fw={600} size="sm">{t(`preset.${name}` as Word)}</Text>
              {about.choice_help?.[name] && <Text size="xs" c="dimmed">{pick(about.choice_help[name].en, about.choice_help[name].zh)}</Text>}
            </Radio.Card>
          ))}
        </SimpleGrid>
      </Radio.Group>
      {switches.length > 0 && (
        <SimpleGrid cols={{ base: 1, sm: 2 }}>
          {switches.map((name) => (
            <Field key={name} name={name} property={schema.properties[name]!} value={valueOf(schema, values, name)} isChanged={isChanged(schema, values, name)}
              onChange={(value) => set(name, value)} onReset={() => reset(name)} />
          ))}
        </SimpleGrid>
      )}
      {isShown(schema, values, "quant_types") && (task
        ? <Types task={task} step={step} chosen={asList(valueOf(schema, values, "quant_types"))} onChange={(types) => set("quant_types", types)} />
        : <Text size="sm" c="dimmed">{t("package.chooseFirst")}</Text>)}
    </Stack>
  );
}

const asList = (value: unknown): string[] => (Array.isArray(value) ? value.map(String) : []);

/** Types beside each other: what a file takes on a disk and in memory, how far it is from the model, and which to take. */
function Types({ task, step, chosen, onChange }: { task: string; step: string | null; chosen: string[]; onChange: (types: string[]) => void }) {
  const { t, language } = useWords();
  const asked = useQuery({
    queryKey: ["package-which", task, step], retry: false, staleTime: 60_000,
    queryFn: ({ signal }) => call<WhichView>("GET", `/v1/tasks/${task}/package/which`, { query: { checkpoint: step }, signal }),
  });
  return (
    <Found asked={asked}>
      {(found) => (
        <Stack gap="xs">
          {found.sentence[language] && <Text size="sm" className="wrapped"><Said>{found.sentence[language]}</Said></Text>}
          <Wide minWidth={560} maxHeight={420}>
            <Table verticalSpacing={4}>
              <Table.Thead><Table.Tr>
                <Table.Th>{t("package.type")}</Table.Th><Table.Th>{t("checkpoints.size")}</Table.Th><Table.Th>{t("package.memory")}</Table.Th><Table.Th>KL</Table.Th><Table.Th>{t("package.same")}</Table.Th><Table.Th>{t("package.guidance")}</Table.Th>
              </Table.Tr></Table.Thead>
              <Table.Tbody>
                {found.rows.map((row) => (
                  <Table.Tr key={`${row.type} ${row.file}`}>
                    <Table.Td><Checkbox size="xs" label={row.type} checked={chosen.includes(row.type)}
                      onChange={(event) => onChange(event.currentTarget.checked ? [...chosen, row.type] : chosen.filter((one) => one !== row.type))} /></Table.Td>
                    <Table.Td className="figures">{bytesOf(row.bytes)}</Table.Td>
                    <Table.Td className="figures">{row.memory_bytes ? bytesOf(row.memory_bytes) : "–"}</Table.Td>
                    <Table.Td className="figures">{numberOf(row.kl_mean)}</Table.Td>
                    <Table.Td className="figures">{row.top1 === null || row.top1 === undefined ? "–" : `${numberOf(100 * row.top1)} %`}</Table.Td>
                    <Table.Td>{found.recommended === row.type ? <Mark tone="best">{t("checkpoints.recommended")}</Mark>
                      : row.fits === false ? <Mark tone="warn">{t("package.tooLarge")}</Mark> : row.is_proven ? <Mark tone="good">{t("verdict.proven")}</Mark> : null}</Table.Td>
                  </Table.Tr>
                ))}
              </Table.Tbody>
            </Table>
          </Wide>
        </Stack>
      )}
    </Found>
  );
}
