// What the platform says of a file of rows, and which tokens of its first rows a training would learn.
import { Alert, Button, Group, Select, Stack, Text } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { useAct } from "../../api/act";
import { call } from "../../api/http";
import { useModels } from "../../api/queries";
import type { DataPreview, DataReport } from "../../api/schema";
import { useWords, type Word } from "../../i18n";
import { Changing, useMay } from "../../parts/Changing";
import { Mark, type Tone } from "../../parts/Mark";
import { ErrorNote, Found } from "../../parts/Panel";
import { Said } from "../../parts/Said";

const TONES: Record<string, Tone> = { fine: "good", skips: "warn", refused: "bad" };

export function Check({ file }: { file: string }) {
  const { t } = useWords();
  const may = useMay();
  const asked = useQuery({
    queryKey: ["data-report", file], enabled: may, staleTime: 60_000, retry: false,
    queryFn: ({ signal }) => call<DataReport>("POST", "/v1/datasets:validate", { body: { file }, signal }),
  });
  if (!may) return <Text size="sm" c="dimmed">{t("check.notMay")}</Text>;
  return (
    <Stack gap="sm">
      <Found asked={asked}>
        {(found) => (
          <Stack gap={6}>
            <Group gap="sm">
              <Mark tone={TONES[found.verdict] ?? "plain"}>{t(`verdictData.${found.verdict}` as Word)}</Mark>
              <Text size="sm">{t("check.rows", { rows: found.rows, bad: found.bad_rows })}</Text>
              {found.duplicates > 0 && <Text size="sm">{t("check.duplicates", { count: found.duplicates })}</Text>}
            </Group>
            {found.findings.map((one) => (
              <div key={one.code + one.message}>
                <Text size="sm" className="wrapped"><Said>{one.message}</Said></Text>
                {one.hint && <Text size="xs" c="dimmed" className="wrapped"><Said>{one.hint}</Said></Text>}
              </div>
            ))}
            {found.bad.slice(0, 5).map((one) => <Text key={one.place} size="xs" c="dimmed" className="wrapped">{one.place}: <Said>{one.message}</Said></Text>)}
          </Stack>
        )}
      </Found>
      <Preview file={file} />
    </Stack>
  );
}

/** The first rows as tokens: trained, context, and what a length cuts off. By colour and, for who sees none, by words. */
function Preview({ file }: { file: string }) {
  const { t } = useWords();
  const models = useModels();
  const [model, setModel] = useState<string | null>(null);
  const names = (models.data?.data ?? []).filter((one) => one.state === "ready").map((one) => one.name);
  const show = useAct({
    mutationFn: () => call<DataPreview>("POST", "/v1/datasets:preview", { body: { file, model: model ?? names[0], first: 3 } }),
  });
  if (!names.length) return null;
  return (
    <Stack gap="xs">
      <Group align="end">
        <Select label={t("check.model")} data={names} value={model ?? names[0] ?? null} onChange={setModel} />
        <Changing><Button variant="default" loading={show.isPending} onClick={() => show.mutate()}>{t("check.preview")}</Button></Changing>
        {show.data && <Text size="xs"><span className="token-trained">{t("check.trained")}</span> <span className="token-context">{t("check.context")}</span> <span className="token-cut">{t("check.cut")}</span></Text>}
      </Group>
      {show.error && <ErrorNote error={show.error} />}
      {show.data?.rows.map((row) => (
        <div key={row.place} className="tile">
          <Text size="xs" c="dimmed">{t("check.counts", { place: row.place, trained: row.trained, context: row.context, cut: row.cut })}</Text>
          {row.problem && <Alert color="orange" p="xs" className="wrapped"><Said>{row.problem.message}</Said></Alert>}
          <div className="tokens" tabIndex={0} role="region" aria-label={row.place}>
            {row.tokens.map((token, i) => <span key={String(i)} className={`token-${token.kind}${token.special ? " token-special" : ""}`}>{token.text}</span>)}
          </div>
        </div>
      ))}
    </Stack>
  );
}
