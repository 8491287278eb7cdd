// Sends a file in pieces; what was sent before the network or the page went is not sent again.
import { Button, FileButton, Group, Progress, Stack, Text } from "@mantine/core";
import { useQuery, useQueryClient } from "@tanstack/react-query";
import { useEffect, useRef, useState } from "react";
import { useAct } from "../../api/act";
import { ApiError, call } from "../../api/http";
import type { DatasetView, UploadView } from "../../api/schema";
import { useWords } from "../../i18n";
import { Changing } from "../../parts/Changing";
import { Icon } from "../../parts/icons";
import { ErrorNote } from "../../parts/Panel";
import { bytesOf } from "../../parts/words";

const PIECE = 4 * 2 ** 20;
type Listed = { data: UploadView[] };
type Sending = { chosen: File; before: string | null };

export function Upload() {
  const { t } = useWords();
  const queries = useQueryClient();
  const [file, setFile] = useState<File | null>(null);
  const [share, setShare] = useState(0);
  /** The upload of the chosen file, once it has one; what an earlier page began is asked about. */
  const [own, setOwn] = useState<string | null>(null);
  const [found, setFound] = useState<UploadView | null>(null);
  const stop = useRef<AbortController | null>(null);
  useEffect(() => () => stop.current?.abort(), []);
  const begun = useQuery({
    queryKey: ["uploads"],
    queryFn: ({ signal }) => call<Listed>("GET", "/v1/uploads", { query: { limit: 50 }, signal }),
  });
  const send = useAct({
    mutationFn: async ({ chosen, before }: Sending) => {
      const { signal } = (stop.current = new AbortController());
      let upload = before
        ? await call<UploadView>("GET", `/v1/uploads/${before}`, { signal })
        : await call<UploadView>("POST", "/v1/uploads", { body: { file_name: chosen.name, bytes: chosen.size }, signal });
      setOwn(upload.id);
      setShare(chosen.size ? (100 * upload.offset) / chosen.size : 0);
      while (upload.offset < chosen.size) {
        upload = await call<UploadView>("PUT", `/v1/uploads/${upload.id}`, {
          query: { offset: upload.offset }, body: chosen.slice(upload.offset, upload.offset + PIECE),
          headers: { "Content-Type": "application/octet-stream" }, signal,
        });
        setShare((100 * upload.offset) / chosen.size);
      }
      await call<DatasetView>("POST", `/v1/uploads/${upload.id}:finish`, { signal });
    },
    onSuccess: () => {
      setFile(null);
      void queries.invalidateQueries({ queryKey: ["datasets"] });
    },
    onSettled: () => queries.invalidateQueries({ queryKey: ["uploads"] }),
  });
  const drop = useAct({
    mutationFn: (id: string) => call("DELETE", `/v1/uploads/${id}`),
    onSettled: () => queries.invalidateQueries({ queryKey: ["uploads"] }),
  });
  const start = (chosen: File | null) => {
    if (!chosen) return;
    const before = begun.data?.data.find((one) => one.file_name === chosen.name && one.bytes === chosen.size) ?? null;
    setFile(chosen);
    setOwn(null);
    setShare(before ? (100 * before.offset) / before.bytes : 0);
    setFound(before);
    send.reset();
    if (!before) send.mutate({ chosen, before: null });
  };
  const go = (chosen: File, before: string | null) => {
    setFound(null);
    send.mutate({ chosen, before });
  };
  const left = send.isPending ? [] : (begun.data?.data ?? []).filter((one) => one.id !== own && one.id !== found?.id);
  const canGoOn = send.error instanceof ApiError && (send.error.status === 0 || send.error.status >= 500);
  return (
    <Stack gap={4} maw={460}>
      <Group gap="sm" justify="end">
        <FileButton onChange={start} inputProps={{ "aria-label": t("data.upload") }}>
          {(props) => <Changing><Button {...props} leftSection={<Icon name="plus" size={14} />} loading={send.isPending}>{t("data.upload")}</Button></Changing>}
        </FileButton>
        {send.error && file && canGoOn && <Changing><Button variant="default" onClick={() => go(file, own)}>{t("data.resume")}</Button></Changing>}
      </Group>
      {file && <><Text size="xs" className="wrapped">{file.name} · {t("data.sent", { share: share.toFixed(0), size: bytesOf(file.size) })}</Text><Progress value={share} aria-label={file.name} /></>}
      {file && found && (
        <Group gap="xs" justify="end">
          <Text size="sm">{t("data.isSame")}</Text>
          <Changing><Button size="compact-sm" onClick={() => go(file, found.id)}>{t("data.resume")}</Button></Changing>
          <Changing><Button size="compact-sm" variant="default" onClick={() => {
            drop.mutate(found.id);
            go(file, null);
          }}>{t("data.anew")}</Button></Changing>
        </Group>
      )}
      {send.error && <ErrorNote error={send.error} />}
      {left.map((one) => (
        <Group key={one.id} gap="xs" justify="end" wrap="nowrap">
          <Text size="xs" c="dimmed" className="wrapped">{t("data.unfinished", { name: one.file_name, share: one.bytes ? Math.floor((100 * one.offset) / one.bytes) : 0 })}</Text>
          <Changing><Button size="compact-xs" variant="default" loading={drop.isPending} onClick={() => drop.mutate(one.id)}>{t("data.drop")}</Button></Changing>
        </Group>
      ))}
    </Stack>
  );
}
