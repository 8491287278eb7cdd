import { Alert, Button, Group, Stack, Table, Text, Tooltip } from "@mantine/core";
import type { EstimateView } from "../../api/schema";
import { useWords, type Word } from "../../i18n";
import { bytesOf, numberOf, secondsOf } from "../../parts/words";
import { Said } from "../../parts/Said";

const PARTS = ["weights", "gradients", "optimizer", "activations", "logits", "framework"] as const;

/** What a run will take, as the platform forecasts it: steps, checkpoints, time, memory by part, disk. */
export function Estimate({ found, apply }: { found: EstimateView; apply: (change: Record<string, unknown>) => void }) {
  const { t } = useWords();
  const { memory, hardware, steps, data, disk, time } = found;
  const whole = Math.max(memory.peak, hardware.memory_bytes ?? 0, 1);
  const rows: [Word, string][] = [
    ["estimate.steps", `${steps.total_steps} (${t("estimate.perEpoch", { count: steps.steps_per_epoch })})`],
    ["estimate.checkpoints", t("estimate.quota", { count: steps.checkpoints })],
    ["estimate.time", `${secondsOf(time.total_seconds)} (${numberOf(time.seconds_per_step)} ${t("estimate.aStep")})`],
    ["estimate.rows", `${data.rows} / ${data.eval_rows}`],
    ["estimate.tokens", `${data.tokens} (${t("estimate.longest", { count: data.longest_tokens })})`],
    ["estimate.disk", `${bytesOf(disk.total_bytes)}${disk.free_bytes != null ? ` / ${bytesOf(disk.free_bytes)}` : ""}`],
    ["estimate.device", `${hardware.name} · ${hardware.precision} · ${hardware.workers}`],
  ];
  return (
    <Stack gap="sm">
      <div>
        <Group justify="space-between" gap={4}>
          <Text size="sm" fw={600}>{t("estimate.memory")}</Text>
          <Text size="sm" className="figures">{bytesOf(memory.peak)}{hardware.memory_bytes != null ? ` / ${bytesOf(hardware.memory_bytes)}` : ""}</Text>
        </Group>
        <div className="bar" role="img" aria-label={`${t("estimate.memory")}: ${PARTS.map((part) => `${t(`memory.${part}`)} ${bytesOf(memory[part])}`).join(", ")}`}>
          {PARTS.map((part, i) => (
            <Tooltip key={part} label={`${t(`memory.${part}`)}: ${bytesOf(memory[part])}`}>
              <div className={`bar-${i}`} style={{ width: `${(100 * memory[part]) / whole}%` }} />
            </Tooltip>
          ))}
        </div>
        <Group gap="xs" mt={4}>
          {PARTS.map((part, i) => <Text key={part} size="xs"><span className={`dot bar-${i}`} />{t(`memory.${part}`)}</Text>)}
        </Group>
      </div>
      {found.fits === false && <Alert color="orange" p="xs"><Text size="sm" className="wrapped">{found.recommendation || t("estimate.tooLarge")}</Text>
        {Object.keys(found.recommended).length > 0 && <Button mt="xs" size="compact-sm" variant="light" color="orange" onClick={() => apply(found.recommended)}>{t("estimate.apply")}</Button>}
      </Alert>}
      <Table verticalSpacing={4} horizontalSpacing={4} withRowBorders={false}>
        <Table.Tbody>
          {rows.map(([word, value]) => (
            <Table.Tr key={word}><Table.Th scope="row"><Text size="sm" fw={400} c="dimmed">{t(word)}</Text></Table.Th><Table.Td><Text size="sm" className="figures">{value}</Text></Table.Td></Table.Tr>
          ))}
        </Table.Tbody>
      </Table>
      <Text size="xs" c="dimmed" className="wrapped"><Said>{time.source}</Said></Text>
      {found.notices.map((one) => <Text key={`${one.field}${one.message}`} size="xs" c="dimmed" className="wrapped">{one.field}: <Said>{one.message}</Said></Text>)}
    </Stack>
  );
}
