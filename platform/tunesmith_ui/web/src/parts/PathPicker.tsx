// Files and folders of the platform's machine, as far as tasks may use them: one folder at a time, as the server lists it.
import { ActionIcon, Button, Group, Modal, Stack, Text, Tooltip } from "@mantine/core";
import { useDisclosure } from "@mantine/hooks";
import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { call } from "../api/http";
import type { FolderView } from "../api/schema";
import { useWords } from "../i18n";
import { Icon } from "./icons";
import { Mark } from "./Mark";
import { Found } from "./Panel";
import { bytesOf } from "./words";

type Props = { label: string; value: string; onChoose: (path: string) => void };

/** A button beside a path; what is chosen is written into the field. */
export function PathPicker({ label, value, onChoose }: Props) {
  const { t } = useWords();
  const [isOpen, open] = useDisclosure();
  return (
    <>
      <Tooltip label={t("picker.open")}>
        <ActionIcon variant="subtle" color="gray" size="sm" aria-label={`${t("picker.open")}: ${label}`} onClick={open.open}><Icon name="folder" size={16} /></ActionIcon>
      </Tooltip>
      <Modal opened={isOpen} onClose={open.close} title={label} size="lg" closeButtonProps={{ "aria-label": t("close") }}>
        {isOpen && <Browse start={folderOf(value)} onChoose={(path) => {
          onChoose(path);
          open.close();
        }} />}
      </Modal>
    </>
  );
}

/** Where a path lies; the allowed folders themselves where it is none. */
export function folderOf(value: string): string | null {
  return value.startsWith("/") ? value.replace(/\/[^/]*$/, "") || null : null;
}

function Browse({ start, onChoose }: { start: string | null; onChoose: (path: string) => void }) {
  const { t } = useWords();
  const [path, setPath] = useState(start);
  const asked = useQuery({
    queryKey: ["folder", path], retry: false,
    queryFn: ({ signal }) => call<FolderView>("GET", "/v1/system/folder", { query: { path }, signal }),
  });
  return (
    <Stack gap="xs">
      <Group gap="xs" wrap="nowrap" justify="space-between">
        <Text size="sm" className="wrapped fill">{path ?? t("picker.roots")}</Text>
        {path !== null && (
          <Button size="compact-sm" variant="default" leftSection={<Icon name="up" size={14} />} onClick={() => setPath(asked.data?.parent ?? null)}>{t("picker.up")}</Button>
        )}
      </Group>
      <Found asked={asked}>
        {(found) => (
          <>
            <div className="list">
              {found.entries.map((entry) => (
                <button key={entry.path} type="button" className="row pick" onClick={() => (entry.is_folder ? setPath(entry.path) : onChoose(entry.path))}>
                  <Icon name={entry.is_folder ? "folder" : "file"} size={16} />
                  <span className="wrapped fill">{entry.name}</span>
                  {entry.is_model && <Mark tone="plain">{t("source.model")}</Mark>}
                  {entry.bytes != null && <Text span size="xs" c="dimmed" className="figures">{bytesOf(entry.bytes)}</Text>}
                </button>
              ))}
            </div>
            {found.entries.length === 0 && <Text size="sm" c="dimmed">{t("picker.empty")}</Text>}
            {found.has_more && <Text size="sm" c="dimmed">{t("picker.more")}</Text>}
            {found.path !== null && (
              <Group justify="end"><Button onClick={() => found.path && onChoose(found.path)}>{t("picker.folder")}</Button></Group>
            )}
          </>
        )}
      </Found>
    </Stack>
  );
}
