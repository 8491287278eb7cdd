// The conversations that are kept: open, rename, export, delete; and a data set of what was rated in them.
import { ActionIcon, Anchor, Button, Group, Menu, Modal, Stack, Text, TextInput } from "@mantine/core";
import { useQuery, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { useAct } from "../../api/act";
import { addressOf, call } from "../../api/http";
import type { ConversationView, Page_ConversationView_, RatedDataset } from "../../api/schema";
import { go, hrefOf } from "../../app/router";
import { useWords } from "../../i18n";
import { Changing } from "../../parts/Changing";
import { Icon } from "../../parts/icons";
import { ErrorNote, Found } from "../../parts/Panel";
import { timeOf } from "../../parts/words";

type Acted = { kind: "rename" | "delete"; one: ConversationView };

export function Conversations({ chosen }: { chosen: string | null }) {
  const { t, language } = useWords();
  const [search, setSearch] = useState("");
  const [acted, setActed] = useState<Acted | null>(null);
  const asked = useQuery({
    queryKey: ["conversations", search],
    queryFn: ({ signal }) => call<Page_ConversationView_>("GET", "/v1/conversations", { query: { limit: 200, search }, signal }),
  });
  return (
    <Stack gap="sm">
      <TextInput size="xs" aria-label={t("test.search")} placeholder={t("test.search")} value={search} onChange={(event) => setSearch(event.currentTarget.value)} />
      <Found asked={asked}>
        {({ data }) => data.length === 0 ? <Text size="sm" c="dimmed">{t("test.none")}</Text> : (
          <div className="list">
            {data.map((one) => (
              <Group key={one.id} gap={4} wrap="nowrap">
                <a className="row fill" href={hrefOf(["test", one.id])} aria-current={one.id === chosen ? "true" : undefined}>
                  <Text span size="sm" className="wrapped">{one.title || t("test.untitled")}<br /><Text span size="xs" c="dimmed">{timeOf(one.updated_at, language)}</Text></Text>
                </a>
                <Menu position="bottom-end" withinPortal>
                  <Menu.Target><ActionIcon variant="subtle" color="gray" aria-label={`${t("monitor.more")}: ${one.title || t("test.untitled")}`}><Icon name="more" /></ActionIcon></Menu.Target>
                  <Menu.Dropdown>
                    <Changing><Menu.Item onClick={() => setActed({ kind: "rename", one })}>{t("test.rename")}</Menu.Item></Changing>
                    <Menu.Item component="a" download href={addressOf(`/v1/conversations/${one.id}/export`, { form: "json" })}>{t("test.exportAll")}</Menu.Item>
                    <Menu.Item component="a" download href={addressOf(`/v1/conversations/${one.id}/export`, { form: "jsonl" })}>{t("test.exportRow")}</Menu.Item>
                    <Changing><Menu.Item color="red" onClick={() => setActed({ kind: "delete", one })}>{t("test.delete")}</Menu.Item></Changing>
                  </Menu.Dropdown>
                </Menu>
              </Group>
            ))}
          </div>
        )}
      </Found>
      <Anchor size="xs" download href={addressOf("/v1/conversations:export", { form: "jsonl" })}>{t("test.exportEvery")}</Anchor>
      <Rated />
      {acted && <Act key={acted.one.id} acted={acted} onDone={() => setActed(null)} chosen={chosen} />}
    </Stack>
  );
}

function Act({ acted, chosen, onDone }: { acted: Acted; chosen: string | null; onDone: () => void }) {
  const { t } = useWords();
  const queries = useQueryClient();
  const [title, setTitle] = useState(acted.one.title);
  const { id } = acted.one;
  const act = useAct({
    mutationFn: () => acted.kind === "rename"
      ? call("PATCH", `/v1/conversations/${id}`, { body: { title } }) : call("DELETE", `/v1/conversations/${id}`),
    onSuccess: () => {
      void queries.invalidateQueries({ queryKey: ["conversations"] });
      if (acted.kind === "delete" && id === chosen) go(["test"]);
      onDone();
    },
  });
  return (
    <Modal opened onClose={onDone} title={t(acted.kind === "rename" ? "test.rename" : "test.deleteTitle")} closeButtonProps={{ "aria-label": t("close") }}>
      <form onSubmit={(event) => {
        event.preventDefault();
        act.mutate();
      }}>
        <Stack>
          {acted.kind === "rename" ? <TextInput label={t("test.name")} value={title} data-autofocus maxLength={200} onChange={(event) => setTitle(event.currentTarget.value)} />
            : <><Text size="sm" className="wrapped">{acted.one.title}</Text><Text size="sm" c="dimmed">{t("test.deleteWhat")}</Text></>}
          {act.error && <ErrorNote error={act.error} />}
          <Group justify="end">
            <Button variant="default" onClick={onDone}>{t("cancel")}</Button>
            <Changing><Button type="submit" loading={act.isPending} color={acted.kind === "delete" ? "red" : ""} disabled={acted.kind === "rename" && !title.trim()}>{t(acted.kind === "rename" ? "save" : "test.delete")}</Button></Changing>
          </Group>
        </Stack>
      </form>
    </Modal>
  );
}

/** What was rated, as the next version of a data set: a training learns from it. */
function Rated() {
  const { t } = useWords();
  const queries = useQueryClient();
  const [name, setName] = useState("");
  const make = useAct({
    mutationFn: () => call<RatedDataset>("POST", "/v1/conversations:dataset", { body: { name } }),
    onSuccess: () => queries.invalidateQueries({ queryKey: ["datasets"] }),
  });
  return (
    <details className="fold">
      <summary>{t("test.rated")}</summary>
      <form onSubmit={(event) => {
        event.preventDefault();
        make.mutate();
      }}>
        <Stack gap="xs">
          <TextInput size="xs" label={t("evaluate.set")} description={t("test.ratedWhat")} value={name} onChange={(event) => setName(event.currentTarget.value)} />
          <Changing><Button size="compact-sm" type="submit" variant="default" disabled={!name.trim()} loading={make.isPending}>{t("test.ratedMake")}</Button></Changing>
          {make.data && <Text size="sm" role="status" className="wrapped">{t("test.ratedMade", { version: make.data.version, count: make.data.rows })}</Text>}
          {make.error && <ErrorNote error={make.error} />}
        </Stack>
      </form>
    </details>
  );
}
