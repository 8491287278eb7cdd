// A data set's versions: what each holds, where it comes from, and what the platform says of its rows.
import { Button, Group, Modal, Select, Stack, Table, Text } from "@mantine/core";
import { useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { useAct } from "../../api/act";
import { call } from "../../api/http";
import type { DatasetView, VersionView } from "../../api/schema";
import { hrefOf } from "../../app/router";
import { useWords } from "../../i18n";
import { Changing } from "../../parts/Changing";
import { ErrorNote } from "../../parts/Panel";
import { bytesOf, timeOf } from "../../parts/words";
import { Check } from "./Check";

export function Versions({ dataset }: { dataset: DatasetView }) {
  const { t, language } = useWords();
  const [number, setNumber] = useState(dataset.latest);
  const versions = [...dataset.versions].sort((a, b) => b.number - a.number);
  const shown = versions.find((one) => one.number === number);
  return (
    <Stack gap="sm">
      <Group align="end" justify="space-between">
        <Select label={t("data.version")} value={String(number)} allowDeselect={false} onChange={(value) => value && setNumber(Number(value))}
          data={versions.map((one) => ({ value: String(one.number), label: `${one.number} · ${timeOf(one.created_at, language)}` }))} />
        <Remove name={dataset.name} />
      </Group>
      {shown && <Facts version={shown} />}
      <Check key={number} file={`${dataset.name}@${number}`} />
    </Stack>
  );
}

function Facts({ version }: { version: VersionView }) {
  const { t } = useWords();
  const { lineage } = version;
  const rows: [string, React.ReactNode][] = [
    [t("package.file"), `${version.file_name} · ${bytesOf(version.bytes)} · ${version.format}${version.packing ? ` (${version.packing})` : ""}`],
    [t("data.columns"), <div key="columns" className="bounded" tabIndex={0} role="region" aria-label={t("data.columns")}>{version.columns.join(", ") || "–"}</div>],
    ["SHA-256", version.sha256],
    [t("data.source"), lineage ? (
      <>
        {lineage.operation}
        {lineage.task_id && <> · <a href={hrefOf(["monitor", lineage.task_id])}>{lineage.task_id}</a></>}
        {lineage.sources.length > 0 && <><br />{t("data.from", { names: lineage.sources.join(", ") })}</>}
        {lineage.parts.map((part) => <span key={part.source}><br />{part.source}: {part.rows}</span>)}
        {Object.keys(lineage.parameters).length > 0 && <><br /><Text span size="xs" c="dimmed" className="wrapped">{JSON.stringify(lineage.parameters)}</Text></>}
      </>
    ) : version.source],
  ];
  return (
    <Table verticalSpacing={4}><Table.Tbody>
      {rows.map(([name, value]) => <Table.Tr key={name}><Table.Th scope="row" className="nowrap">{name}</Table.Th><Table.Td className="wrapped">{value}</Table.Td></Table.Tr>)}
    </Table.Tbody></Table>
  );
}

function Remove({ name }: { name: string }) {
  const { t } = useWords();
  const queries = useQueryClient();
  const [isAsked, setAsked] = useState(false);
  const remove = useAct({
    mutationFn: () => call("DELETE", `/v1/datasets/${encodeURIComponent(name)}`),
    onSuccess: () => queries.invalidateQueries({ queryKey: ["datasets"] }),
  });
  return (
    <>
      <Changing><Button size="compact-sm" color="red" variant="light" onClick={() => setAsked(true)}>{t("test.delete")}</Button></Changing>
      <Modal opened={isAsked} onClose={() => setAsked(false)} title={t("data.deleteTitle", { name })} closeButtonProps={{ "aria-label": t("close") }}>
        <Stack>
          <Text size="sm" c="dimmed">{t("data.deleteWhat")}</Text>
          {remove.error && <ErrorNote error={remove.error} />}
          <Group justify="end">
            <Button variant="default" onClick={() => setAsked(false)}>{t("cancel")}</Button>
            <Changing><Button color="red" loading={remove.isPending} onClick={() => remove.mutate()}>{t("test.delete")}</Button></Changing>
          </Group>
        </Stack>
      </Modal>
    </>
  );
}
