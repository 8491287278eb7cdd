import { ActionIcon, Alert, Button, Group, Select, SimpleGrid, Stack, Switch, Text, Textarea, Title, Tooltip } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { useEffect, useRef, useState } from "react";
import { ask, type Told, type Turn } from "../api/chat";
import { ApiError, call } from "../api/http";
import type { FormSchema } from "../api/queries";
import { go, hrefOf, useRoute } from "../app/router";
import { useWords } from "../i18n";
import { Field } from "../parts/Field";
import { isChanged, isShown, valueOf, type Values } from "../parts/form";
import { Icon } from "../parts/icons";
import { Markdown } from "../parts/Markdown";
import { Empty, ErrorNote, Found, Section } from "../parts/Panel";

type Listed = { data: Array<{ id: string; owned_by: string; tunesmith: { task_id: string | null; step: number | null } }> };

export function Test() {
  const { t } = useWords();
  const { query } = useRoute();
  const models = useQuery({
    queryKey: ["chat-models"],
    queryFn: ({ signal }) => call<Listed>("GET", "/openai/v1/models", { signal }),
  });
  const schema = useQuery({
    queryKey: ["chat-settings"], staleTime: Infinity,
    queryFn: ({ signal }) => call<FormSchema>("GET", "/v1/chats/settings", { signal }),
  });
  const [values, setValues] = useState<Values>({});
  const names = models.data?.data.map((one) => one.id) ?? [];
  const asked = query.getAll("model").filter(Boolean);
  const columns = asked.length ? asked.slice(0, 2) : [names.find((_, i) => models.data?.data[i]?.tunesmith.task_id) ?? names[0] ?? ""];
  const choose = (at: number, model: string) => {
    const wanted = [...columns];
    wanted[at] = model;
    setColumns(wanted);
  };
  const setColumns = (wanted: string[]) => {
    window.location.hash = `${hrefOf(["test"])}?${wanted.map((one) => `model=${encodeURIComponent(one)}`).join("&")}`;
  };
  return (
    <Stack gap="md">
      <Group justify="space-between">
        <Title order={1} size="h4">{t("tab.test")}</Title>
        <Switch label={t("test.compare")} checked={columns.length > 1} disabled={names.length === 0}
          onChange={(event) => setColumns(event.currentTarget.checked ? [columns[0] ?? "", names[0] ?? ""] : columns.slice(0, 1))} />
      </Group>
      <Found asked={models}>
        {({ data }) => data.length === 0
          ? <Section><Empty action={<Button onClick={() => go(["prepare"])}>{t("monitor.prepare")}</Button>}>{t("test.empty")}</Empty></Section>
          : <Conversation names={names} columns={columns} choose={choose} values={values} schema={schema.data} />}
      </Found>
      <Section title={t("test.settings")}>
        <Found asked={schema}>
          {(found) => (
            <Stack gap="sm">
              <Textarea label={t("test.system")} value={String(valueOf(found, values, SYSTEM) ?? "")} autosize minRows={1} maxRows={8}
                onChange={(event) => setValues({ ...values, [SYSTEM]: event.currentTarget.value })} />
              <SimpleGrid cols={{ base: 1, sm: 2, lg: 3 }}>
                {Object.entries(found.properties).filter(([name]) => name !== SYSTEM && isShown(found, values, name)).map(([name, property]) => (
                  <Field key={name} name={name} property={property} value={valueOf(found, values, name)} isChanged={isChanged(found, values, name)}
                    onChange={(value) => setValues((known) => ({ ...known, [name]: value }))}
                    onReset={() => setValues(({ [name]: _, ...others }) => others)} />
                ))}
              </SimpleGrid>
            </Stack>
          )}
        </Found>
      </Section>
    </Stack>
  );
}

type Side = { turns: Turn[]; thought: string; told: Told | null; isBusy: boolean; waited: number; error: Error | null; rate: number | null };
const FRESH: Side = { turns: [], thought: "", told: null, isBusy: false, waited: 0, error: null, rate: null };

/** What the form's settings are called in a request; the system prompt is a message of its own. */
const RENAMED: Record<string, string> = { max_new_tokens: "max_tokens" };
const SYSTEM = "system_prompt";

type Given = { names: string[]; columns: string[]; choose: (at: number, model: string) => void; values: Values; schema: FormSchema | undefined };

function Conversation({ names, columns, choose, values, schema }: Given) {
  const { t } = useWords();
  const [sides, setSides] = useState<Side[]>([FRESH, FRESH]);
  const [text, setText] = useState("");
  const stops = useRef<(AbortController | null)[]>([null, null]);
  useEffect(() => () => stops.current.forEach((one) => one?.abort()), []);
  const isBusy = columns.some((_, at) => sides[at]?.isBusy);
  const change = (at: number, more: Partial<Side>) =>
    setSides((known) => known.map((side, i) => (i === at ? { ...side, ...more } : side)));
  const system = String((schema && valueOf(schema, values, SYSTEM)) ?? "");
  const settings = () => Object.fromEntries(
    Object.keys(schema?.properties ?? {})
      .filter((name) => name !== SYSTEM)
      .map((name) => [RENAMED[name] ?? name, schema && valueOf(schema, values, name)] as const)
      .filter(([, value]) => value !== null && value !== undefined && value !== ""),
  );
  const send = async (at: number, turns: Turn[]) => {
    const stop = (stops.current[at] = new AbortController());
    const begun = { at: 0 };
    let last: Told | null = null;
    change(at, { turns, told: null, thought: "", isBusy: true, error: null, waited: 0, rate: null });
    const asked = performance.now();
    // A model that is being loaded says nothing for a while: the user sees that it is waited for.
    const clock = setInterval(() => {
      if (!last?.text) change(at, { waited: (performance.now() - asked) / 1000 });
    }, 1000);
    const messages = system.trim() ? [{ role: "system", content: system }, ...turns] : turns;
    try {
      last = await ask({ model: columns[at], messages, ...settings() }, stop.signal, (told) => {
        last = told;
        if (!told.text && !told.thought) return;
        begun.at ||= performance.now();
        change(at, { told, waited: 0 });
      });
      const seconds = (performance.now() - begun.at) / 1000;
      change(at, {
        isBusy: false, told: last, turns: [...turns, { role: "assistant", content: last.text }],
        thought: last.thought, rate: last.tokens > 1 && seconds > 0 ? last.tokens / seconds : null,
      });
    } catch (error) {
      // What was said before a stop stays.
      const said = last as Told | null;
      change(at, {
        isBusy: false, told: null, error: stop.signal.aborted ? null : (error as Error),
        turns: said?.text ? [...turns, { role: "assistant", content: said.text }] : turns,
      });
    } finally {
      clearInterval(clock);
    }
  };
  const submit = () => {
    if (!text.trim() || isBusy) return;
    setText("");
    columns.forEach((_, at) => void send(at, [...sides[at]!.turns, { role: "user", content: text.trim() }]));
  };
  return (
    <Section>
      <SimpleGrid cols={{ base: 1, md: columns.length }}>
        {columns.map((model, at) => {
          const side = sides[at]!;
          const shown = side.told && side.isBusy ? [...side.turns, { role: "assistant" as const, content: side.told.text }] : side.turns;
          const options = names.includes(model) || !model ? names : [model, ...names];
          return (
            <Stack key={String(at)} gap="sm" miw={0}>
              <Group align="end" wrap="nowrap">
                <Select className="fill" label={t("test.model")} data={options} value={model || null} searchable limit={200}
                  onChange={(value) => value && choose(at, value)} />
                <Tooltip label={t("test.clear")}>
                  <ActionIcon variant="default" size="lg" aria-label={t("test.clear")} disabled={side.isBusy} onClick={() => change(at, FRESH)}><Icon name="cross" /></ActionIcon>
                </Tooltip>
              </Group>
              <div className="chat" aria-live="polite" aria-busy={side.isBusy}>
                {shown.length === 0 && <Text size="sm" c="dimmed">{t("test.ask")}</Text>}
                {shown.map((turn, i) => (
                  <div key={String(i)} className={`turn turn-${turn.role}`}>
                    {turn.role === "assistant" && i === shown.length - 1 && (side.told?.thought || side.thought) && (
                      <details><summary>{t("test.thought")}</summary><Text size="sm" c="dimmed" className="wrapped">{side.told?.thought || side.thought}</Text></details>
                    )}
                    {turn.role === "assistant" ? <Markdown text={turn.content || "…"} /> : turn.content}
                  </div>
                ))}
                {side.isBusy && side.waited > 2 && <Alert variant="light" p="xs">{t("test.starting", { seconds: Math.round(side.waited) })}</Alert>}
                {side.error && <ErrorNote error={side.error instanceof ApiError && side.error.code === "cut_off" ? new Error(t("test.cut")) : side.error} />}
              </div>
              <Group gap="xs">
                {side.isBusy && <Button size="compact-sm" color="red" variant="light" leftSection={<Icon name="stop" size={14} />} onClick={() => stops.current[at]?.abort()}>{t("test.stop")}</Button>}
                {!side.isBusy && side.turns.some((turn) => turn.role === "user") && (
                  <Button size="compact-sm" variant="default" leftSection={<Icon name="again" size={14} />} onClick={() => {
                    const until = side.turns.map((turn) => turn.role).lastIndexOf("user");
                    void send(at, side.turns.slice(0, until + 1));
                  }}>{t("test.again")}</Button>
                )}
                {side.told?.served && <Text size="xs" c="dimmed" className="wrapped">{side.told.served}</Text>}
                {side.rate !== null && <Text size="xs" c="dimmed">{t("test.rate", { rate: side.rate.toFixed(1) })}</Text>}
              </Group>
            </Stack>
          );
        })}
      </SimpleGrid>
      <form onSubmit={(event) => {
        event.preventDefault();
        submit();
      }}>
        <Group align="end" mt="md" wrap="nowrap">
          <Textarea className="fill" aria-label={t("test.message")} placeholder={t("test.message")} autosize minRows={1} maxRows={8} value={text}
            onChange={(event) => setText(event.currentTarget.value)}
            onKeyDown={(event) => {
              if (event.key === "Enter" && !event.shiftKey && !event.nativeEvent.isComposing) {
                event.preventDefault();
                submit();
              }
            }} />
          <Button type="submit" disabled={!text.trim() || isBusy || !columns[0]} leftSection={<Icon name="send" size={16} />}>{t("test.send")}</Button>
        </Group>
      </form>
    </Section>
  );
}
