// Conversations with models, kept by the server: a reload, another tab, another replica show the same.
import { ActionIcon, Alert, Anchor, Button, Grid, Group, Select, SimpleGrid, Stack, Text, Textarea, Title } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { useEffect, useState } from "react";
import type { Told } from "../api/pieces";
import { ApiError, call } from "../api/http";
import type { FormSchema } from "../api/queries";
import type { ConversationDetail } from "../api/schema";
import { go, hrefOf, useRoute } from "../app/router";
import { useWords } from "../i18n";
import { Changing, useMay } from "../parts/Changing";
import { Field } from "../parts/Field";
import { isChanged, isShown, valueOf, type Values } from "../parts/form";
import { Icon } from "../parts/icons";
import { useKept } from "../parts/kept";
import { Markdown } from "../parts/Markdown";
import { Empty, ErrorNote, Found, Section } from "../parts/Panel";
import { Said } from "../parts/Said";
import { useAsking, type Asked, type Live } from "./test/asking";
import { Conversations } from "./test/Conversations";
import { Question, Thought, Thread } from "./test/Thread";
import { pathTo } from "./test/tree";

type Listed = { data: Array<{ id: string; owned_by: string; tunesmith: { task_id: string | null; step: number | null } }> };
const MOST = 4;
const SYSTEM = "system_prompt";

export function Test() {
  const { t } = useWords();
  const { parts, query } = useRoute();
  const id = parts[1] ?? null;
  const models = useQuery({
    queryKey: ["chat-models"],
    queryFn: ({ signal }) => call<Listed>("GET", "/openai/v1/models", { signal }),
  });
  const schema = useQuery({
    queryKey: ["chat-settings"], staleTime: Infinity,
    queryFn: ({ signal }) => call<FormSchema>("GET", "/v1/chats/settings", { signal }),
  });
  const list = <Conversations chosen={id} />;
  const start = (
    <Anchor size="sm" href={hrefOf(["test"])}>{t("test.new")}</Anchor>
  );
  return (
    <Grid gap="md">
      <Grid.Col span={{ base: 12, lg: 3 }} order={{ base: 2, lg: 1 }}>
        <Section title={t("test.list")} aside={start}>{list}</Section>
      </Grid.Col>
      <Grid.Col span={{ base: 12, lg: 9 }} order={{ base: 1, lg: 2 }}>
        <Found asked={models}>
          {({ data }) => data.length === 0
            ? <Section title={<Title order={1} size="h5">{t("tab.test")}</Title>}><Empty action={<Button onClick={() => go(["prepare"])}>{t("monitor.prepare")}</Button>}>{t("test.empty")}</Empty></Section>
            : <Found asked={schema}>{(found) => <One names={data.map((one) => one.id)} first={(data.find((one) => one.tunesmith.task_id) ?? data[0])!.id} id={id} asked={query.getAll("model").filter(Boolean)} schema={found} />}</Found>}
        </Found>
      </Grid.Col>
    </Grid>
  );
}

type Given = { names: string[]; first: string; id: string | null; asked: string[]; schema: FormSchema };

function One({ names, first, id, asked, schema }: Given) {
  const { t } = useWords();
  const [text, setText] = useKept(`test/${id ?? ""}`, "");
  const [instead, setInstead] = useState<number | null>(null);
  const [values, setValues] = useState<Values>({});
  const { live, rates, send, stop } = useAsking((made) => show(made, columns));
  const found = useQuery<ConversationDetail>({
    queryKey: ["conversation", id], enabled: id !== null,
    // Another tab may be asking: what it is told is looked at while it comes.
    refetchInterval: (known) => (!live && known.state.data?.said.some((turn) => turn.answers.some((one) => one.state === "answering")) ? 2_000 : false),
    queryFn: ({ signal }) => call<ConversationDetail>("GET", `/v1/conversations/${id!}`, { query: { every: true }, signal }),
  });
  useEffect(() => {
    setInstead(null);
    setValues({});
  }, [id]);
  const turns = (id && found.data?.said) || [];
  const path = pathTo(turns, found.data?.head);
  const isHere = live !== null && live.conversation === id;
  // While an answer comes, it stands for the turn that the server is writing.
  const shown = isHere ? pathTo(turns, live.parent) : path;
  const before = path.at(-1)?.answers.map((one) => one.model) ?? (found.data?.model ? [found.data.model] : []);
  const columns = (asked.length ? asked : before.length ? before : [first]).slice(0, MOST);
  const show = (conversation: string | null, wanted: string[]) => {
    window.location.hash = `${hrefOf(conversation ? ["test", conversation] : ["test"])}?${wanted.map((one) => `model=${encodeURIComponent(one)}`).join("&")}`;
  };
  const settings = { ...found.data?.settings, ...values };
  const ask = (asked: Asked, question: string, parent: number | null) => send.mutate({
    conversation: id, asked, shown: question, parent, models: columns,
    settings: Object.fromEntries(Object.keys(schema.properties).map((name) => [name, valueOf(schema, settings, name)])),
  });
  const isBusy = send.isPending;
  const may = useMay();
  const submit = () => {
    if (!text.trim() || isBusy || !may) return;
    const turn = turns.find((one) => one.number === instead);
    ask(turn ? { content: text.trim(), instead_of: turn.number } : { content: text.trim() }, text.trim(), turn ? (turn.parent ?? null) : (found.data?.head ?? null));
    setText("");
    setInstead(null);
  };
  return (
    <Stack gap="md">
      <Section title={<Title order={1} size="h5" className="wrapped">{found.data?.title || t("tab.test")}</Title>}>
        <Stack gap="md">
          <Models names={names} columns={columns} isBusy={isBusy} onChange={(wanted) => show(id, wanted)} />
          <div className="chat" aria-live="polite" aria-busy={isBusy}>
            {id !== null && found.error && <ErrorNote error={found.error} onAgain={() => void found.refetch()} />}
            {shown.length === 0 && !isHere && <Text size="sm" c="dimmed">{t("test.ask")}</Text>}
            {id && <Thread conversation={id} turns={turns} path={shown} isBusy={isBusy} rates={rates}
              onAgain={(turn) => ask({ instead_of: turn.number }, turn.content, turn.parent ?? null)}
              onEdit={(turn) => {
                setInstead(turn.number);
                setText(turn.content);
              }} />}
            {isHere && <Coming live={live} />}
            {send.error && !isBusy && <ErrorNote error={send.error instanceof ApiError && send.error.code === "cut_off" ? new Error(t("test.cut")) : send.error} />}
          </div>
          <form onSubmit={(event) => {
            event.preventDefault();
            submit();
          }}>
            {instead !== null && <Group gap="xs" mb={4}><Text size="sm">{t("test.editing")}</Text><Button size="compact-xs" variant="default" onClick={() => {
              setInstead(null);
              setText("");
            }}>{t("cancel")}</Button></Group>}
            <Group align="end" wrap="nowrap">
              <Textarea className="fill" aria-label={t("test.message")} placeholder={t("test.message")} autosize minRows={1} maxRows={8} value={text}
                onChange={(event) => setText(event.currentTarget.value)}
                onKeyDown={(event) => {
                  if (event.key === "Enter" && !event.shiftKey && !event.nativeEvent.isComposing) {
                    event.preventDefault();
                    submit();
                  }
                }} />
              {isBusy ? <Button color="red" variant="light" leftSection={<Icon name="stop" size={14} />} onClick={stop}>{t("test.stop")}</Button>
                : <Changing><Button type="submit" disabled={!text.trim()} leftSection={<Icon name="send" size={16} />}>{t("test.send")}</Button></Changing>}
            </Group>
          </form>
        </Stack>
      </Section>
      <Section title={t("test.settings")}>
        <Settings schema={schema} values={settings} onChange={(more) => setValues({ ...values, ...more })} />
      </Section>
    </Stack>
  );
}

/** Who is asked: one model, or up to four side by side. */
function Models({ names, columns, isBusy, onChange }: { names: string[]; columns: string[]; isBusy: boolean; onChange: (wanted: string[]) => void }) {
  const { t } = useWords();
  const next = names.find((name) => !columns.includes(name));
  return (
    <Stack gap="xs">
      <SimpleGrid cols={{ base: 1, sm: Math.min(2, columns.length), lg: columns.length }} spacing="sm">
        {columns.map((model, at) => (
          <Group key={String(at)} align="end" gap={4} wrap="nowrap">
            <Select className="fill" label={t("test.model")} data={names.includes(model) ? names : [model, ...names]} value={model} searchable limit={200} allowDeselect={false} disabled={isBusy}
              onChange={(value) => value && onChange(columns.map((one, i) => (i === at ? value : one)))} />
            {columns.length > 1 && <ActionIcon variant="default" size="lg" disabled={isBusy} aria-label={t("test.without", { model })} onClick={() => onChange(columns.filter((_, i) => i !== at))}><Icon name="cross" /></ActionIcon>}
          </Group>
        ))}
      </SimpleGrid>
      {columns.length < MOST && next && <Group><Button size="compact-sm" variant="default" disabled={isBusy} leftSection={<Icon name="plus" size={14} />} onClick={() => onChange([...columns, next])}>{t("test.compare")}</Button></Group>}
    </Stack>
  );
}

function Coming({ live }: { live: Live }) {
  const { t } = useWords();
  return (
    <>
      <Question text={live.shown} />
      <SimpleGrid cols={{ base: 1, sm: Math.min(2, live.models.length), lg: live.models.length }} spacing="sm">
        {live.models.map((model, place) => {
          const told: Told | undefined = live.told[place];
          return (
            <div key={model} className="turn turn-assistant">
              <Text size="xs" c="dimmed" className="wrapped" mb={4}>{model}</Text>
              <Thought text={told?.thought ?? ""} />
              <Markdown text={told?.text || "…"} />
              {told?.why && <Text size="sm" c="var(--mantine-color-error)" className="wrapped"><Said>{told.why}</Said></Text>}
            </div>
          );
        })}
      </SimpleGrid>
      {live.waited > 2 && <Alert role="status" variant="light" p="xs">{t("test.starting", { seconds: Math.round(live.waited) })}</Alert>}
    </>
  );
}

function Settings({ schema, values, onChange }: { schema: FormSchema; values: Values; onChange: (more: Values) => void }) {
  const { t } = useWords();
  return (
    <Stack gap="sm">
      <Textarea label={t("test.system")} value={String(valueOf(schema, values, SYSTEM) ?? "")} autosize minRows={1} maxRows={8}
        onChange={(event) => onChange({ [SYSTEM]: event.currentTarget.value })} />
      <SimpleGrid cols={{ base: 1, sm: 2, lg: 3 }}>
        {Object.entries(schema.properties).filter(([name]) => name !== SYSTEM && isShown(schema, values, name)).map(([name, property]) => (
          <Field key={name} name={name} property={property} value={valueOf(schema, values, name)} isChanged={isChanged(schema, values, name)}
            onChange={(value) => onChange({ [name]: value })} onReset={() => onChange({ [name]: property.default ?? null })} />
        ))}
      </SimpleGrid>
    </Stack>
  );
}
