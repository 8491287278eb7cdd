import { Anchor, Button, FileButton, Group, Progress, Stack, Table, Text, Title } from "@mantine/core";
import { useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { call } from "../api/http";
import { useDatasets } from "../api/queries";
import type { DatasetView, UploadView } from "../api/schema";
import { useWords } from "../i18n";
import { Icon } from "../parts/icons";
import { Empty, ErrorNote, Found, Section } from "../parts/Panel";
import { bytesOf, timeOf } from "../parts/words";
import { Check } from "./data/Check";

const PIECE = 4 * 2 ** 20;

export function Data() {
  const { t, language } = useWords();
  const asked = useDatasets();
  const [shown, setShown] = useState<string | null>(null);
  return (
    <Section title={<Title order={1} size="h4">{t("tab.data")}</Title>} aside={<Upload />}>
      <Found asked={asked}>
        {({ data }) => data.length === 0 ? <Empty>{t("data.empty")}</Empty> : (
          <Table.ScrollContainer minWidth={620}>
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
                    ...(shown === one.id ? [<Table.Tr key={`${one.id} check`}><Table.Td colSpan={6}><Check file={one.name} /></Table.Td></Table.Tr>] : []),
                  ];
                })}
              </Table.Tbody>
            </Table>
          </Table.ScrollContainer>
        )}
      </Found>
    </Section>
  );
}

/** Sends a file in pieces; what was sent before the network went is not sent again. */
function Upload() {
  const { t } = useWords();
  const queries = useQueryClient();
  const [file, setFile] = useState<File | null>(null);
  const [share, setShare] = useState(0);
  const [error, setError] = useState<Error | null>(null);
  const [begun, setBegun] = useState<UploadView | null>(null);
  const send = async (chosen: File, before: UploadView | null) => {
    setFile(chosen);
    setError(null);
    try {
      let upload = before
        ? await call<UploadView>("GET", `/v1/uploads/${before.id}`)
        : await call<UploadView>("POST", "/v1/uploads", { body: { file_name: chosen.name, bytes: chosen.size } });
      setBegun(upload);
      while (upload.offset < chosen.size) {
        upload = await call<UploadView>("PUT", `/v1/uploads/${upload.id}`, {
          query: { offset: upload.offset }, body: chosen.slice(upload.offset, upload.offset + PIECE),
          headers: { "Content-Type": "application/octet-stream" },
        });
        setShare((100 * upload.offset) / chosen.size);
      }
      await call<DatasetView>("POST", `/v1/uploads/${upload.id}:finish`);
      setBegun(null);
      setFile(null);
      await queries.invalidateQueries({ queryKey: ["datasets"] });
    } catch (found) {
      setError(found as Error);
    }
  };
  return (
    <Stack gap={4} maw={420}>
      <Group gap="sm">
        <FileButton onChange={(chosen) => chosen && void send(chosen, null)} inputProps={{ "aria-label": t("data.upload") }}>
          {(props) => <Button {...props} leftSection={<Icon name="plus" size={14} />} loading={file !== null && error === null}>{t("data.upload")}</Button>}
        </FileButton>
        {error && file && <Button variant="default" onClick={() => void send(file, begun)}>{t("data.resume")}</Button>}
      </Group>
      {file && <><Text size="xs" className="wrapped">{file.name}</Text><Progress value={share} aria-label={file.name} /></>}
      {error && <ErrorNote error={error} />}
    </Stack>
  );
}
