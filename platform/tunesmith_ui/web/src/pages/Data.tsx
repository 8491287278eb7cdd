import { Anchor, Table, Title } from "@mantine/core";
import { useState } from "react";
import { useDatasets } from "../api/queries";
import type { DatasetView } from "../api/schema";
import { useWords } from "../i18n";
import { Empty, Found, Section } from "../parts/Panel";
import { bytesOf, timeOf } from "../parts/words";
import { Wide } from "../parts/Wide";
import { Upload } from "./data/Upload";
import { Versions } from "./data/Versions";

export function Data() {
  const { t, language } = useWords();
  const asked = useDatasets();
  const [shown, setShown] = useState<string | null>(null);
  return (
    <Section title={<Title order={1} size="h4">{t("tab.data")}</Title>} aside={<Upload />}>
      <Found asked={asked}>
        {({ data }) => data.length === 0 ? <Empty>{t("data.empty")}</Empty> : (
          <Wide minWidth={620}>
            <Table highlightOnHover>
              <Table.Thead><Table.Tr>
                <Table.Th>{t("data.name")}</Table.Th><Table.Th>{t("data.version")}</Table.Th><Table.Th>{t("data.rows")}</Table.Th>
                <Table.Th>{t("data.kind")}</Table.Th><Table.Th>{t("checkpoints.size")}</Table.Th><Table.Th>{t("checkpoints.made")}</Table.Th>
              </Table.Tr></Table.Thead>
              <Table.Tbody>
                {data.flatMap((one: DatasetView) => {
                  const newest = one.versions.find((version) => version.number === one.latest);
                  return [
                    <Table.Tr key={one.id}>
                      <Table.Td className="wrapped"><Anchor component="button" aria-expanded={shown === one.id} onClick={() => setShown(shown === one.id ? null : one.id)}>{one.name}</Anchor></Table.Td>
                      <Table.Td>{one.latest}</Table.Td>
                      <Table.Td className="figures">{newest?.rows ?? "–"}</Table.Td>
                      <Table.Td>{newest?.kind} · {newest?.format}</Table.Td>
                      <Table.Td className="figures">{newest ? bytesOf(newest.bytes) : "–"}</Table.Td>
                      <Table.Td>{timeOf(one.updated_at, language)}</Table.Td>
                    </Table.Tr>,
                    ...(shown === one.id ? [<Table.Tr key={`${one.id} check`}><Table.Td colSpan={6}><div className="opened"><Versions key={one.latest} dataset={one} /></div></Table.Td></Table.Tr>] : []),
                  ];
                })}
              </Table.Tbody>
            </Table>
          </Wide>
        )}
      </Found>
    </Section>
  );
}
