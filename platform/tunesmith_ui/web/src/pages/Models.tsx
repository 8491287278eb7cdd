import { Code, Stack, Table, Text, Title } from "@mantine/core";
import { useModels } from "../api/queries";
import type { ModelView } from "../api/schema";
import { useWords, type Word } from "../i18n";
import { Mark } from "../parts/Mark";
import { Empty, Found, Section } from "../parts/Panel";
import { bytesOf } from "../parts/words";

export function Models() {
  const { t } = useWords();
  const asked = useModels();
  return (
    <Section title={<Title order={1} size="h4">{t("tab.models")}</Title>}>
      <Found asked={asked}>
        {({ data }) => data.length === 0 ? <Empty action={<Code>tunesmith models pull HuggingFaceTB/SmolLM2-135M-Instruct</Code>}>{t("models.empty")}</Empty> : (
          <Stack gap="md">
            {data.map((one: ModelView) => (
              <div key={one.id} className="tile">
                <Text fw={600} className="wrapped">{one.name} <Mark tone={one.problem ? "bad" : one.state === "ready" ? "good" : "plain"}>{t(`model.${one.state}` as Word)}</Mark></Text>
                {one.problem && <Text size="sm" c="red" className="wrapped">{one.problem.message}</Text>}
                <Table verticalSpacing={2} withRowBorders={false}>
                  <Table.Tbody>
                    {one.facts && <Fact label={t("models.architecture")} value={`${one.facts.architecture} · ${(one.facts.parameters / 1e6).toFixed(1)} M · ${one.facts.dtype}`} />}
                    {one.facts && <Fact label={t("models.context")} value={String(one.facts.context_length ?? "–")} />}
                    <Fact label={t("checkpoints.size")} value={bytesOf(one.disk_bytes)} />
                    {one.facts?.license && <Fact label={t("models.license")} value={one.facts.license} />}
                    <Fact label="SHA-256" value={one.sha256 ?? "…"} />
                    <Fact label={t("models.path")} value={one.path} />
                  </Table.Tbody>
                </Table>
              </div>
            ))}
          </Stack>
        )}
      </Found>
    </Section>
  );
}

function Fact({ label, value }: { label: string; value: string }) {
  return <Table.Tr><Table.Th scope="row" w={150}><Text size="sm" fw={400} c="dimmed">{label}</Text></Table.Th><Table.Td className="wrapped"><Text size="sm">{value}</Text></Table.Td></Table.Tr>;
}
