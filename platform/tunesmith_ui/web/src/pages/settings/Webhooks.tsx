// Who is told over HTTP of what happens to tasks. A webhook's secret is shown once, when it is made.
import { Button, Group, Modal, MultiSelect, Select, SimpleGrid, Stack, Table, Text, TextInput } from "@mantine/core";
import { useQuery, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { useAct } from "../../api/act";
import { ApiError, call } from "../../api/http";
import type { AddedWebhook, DeliveryView, NoticeEvent, Page_WebhookView_, WebhookView } from "../../api/schema";
import { useWords, type Word } from "../../i18n";
import { Changing } from "../../parts/Changing";
import { Mark } from "../../parts/Mark";
import { ErrorNote, Found, Section } from "../../parts/Panel";
import { Said } from "../../parts/Said";
import { Secret } from "../../parts/Secret";
import { problemsOf } from "../../parts/TaskForm";
import { timeOf } from "../../parts/words";
import { Wide } from "../../parts/Wide";

const EVENTS: NoticeEvent[] = ["finished", "failed", "stopped", "quota_low", "warning"];

export function Webhooks() {
  const { t } = useWords();
  const asked = useQuery({
    queryKey: ["webhooks"], retry: false,
    queryFn: ({ signal }) => call<Page_WebhookView_>("GET", "/v1/webhooks", { query: { limit: 100 }, signal }),
  });
  const isRefused = asked.error instanceof ApiError && asked.error.status === 403;
  return (
    <Section title={t("settings.webhooks")}>
      {isRefused ? <Text size="sm" c="dimmed">{t("settings.adminOnly")}</Text> : (
        <Stack gap="sm">
          <Found asked={asked}>
            {({ data }) => data.length === 0 ? <Text size="sm" c="dimmed">{t("settings.noWebhooks")}</Text> : (
              <Wide minWidth={620}>
                <Table verticalSpacing="xs"><Table.Tbody>{data.map((one) => <One key={one.id} one={one} />)}</Table.Tbody></Table>
              </Wide>
            )}
          </Found>
          <Add />
        </Stack>
      )}
    </Section>
  );
}

function One({ one }: { one: WebhookView }) {
  const { t, language } = useWords();
  const queries = useQueryClient();
  const [isAsked, setAsked] = useState(false);
  const attempt = useAct({ mutationFn: () => call<DeliveryView>("POST", `/v1/webhooks/${one.id}:test`) });
  const remove = useAct({
    mutationFn: () => call("DELETE", `/v1/webhooks/${one.id}`),
    onSuccess: () => queries.invalidateQueries({ queryKey: ["webhooks"] }),
  });
  const told = attempt.data;
  return (
    <Table.Tr>
      <Table.Td>
        <Text size="sm" className="wrapped">{one.url}</Text>
        <Text size="xs" c="dimmed">{one.events.map((event) => t(`event.${event}` as Word)).join(", ")} · {timeOf(one.created_at, language)}</Text>
        {told && <Text size="xs" role="status" className="wrapped"><Mark tone={told.state === "delivered" ? "good" : "warn"}>{t(told.state === "delivered" ? "settings.delivered" : "settings.notDelivered")}</Mark> {told.status} {told.message}</Text>}
        {(attempt.error ?? remove.error) && <ErrorNote error={(attempt.error ?? remove.error)!} />}
      </Table.Td>
      <Table.Td className="nowrap">
        <Group gap="xs" wrap="nowrap">
          <Changing><Button size="compact-sm" variant="default" loading={attempt.isPending} onClick={() => attempt.mutate()}>{t("settings.test")}</Button></Changing>
          <Changing><Button size="compact-sm" variant="light" color="red" onClick={() => setAsked(true)}>{t("test.delete")}</Button></Changing>
        </Group>
        <Modal opened={isAsked} onClose={() => setAsked(false)} title={t("settings.removeWebhook")} closeButtonProps={{ "aria-label": t("close") }}>
          <Stack>
            <Text size="sm" className="wrapped">{one.url}</Text>
            <Group justify="end">
              <Button variant="default" onClick={() => setAsked(false)}>{t("cancel")}</Button>
              <Changing><Button color="red" loading={remove.isPending} onClick={() => remove.mutate()}>{t("test.delete")}</Button></Changing>
            </Group>
          </Stack>
        </Modal>
      </Table.Td>
    </Table.Tr>
  );
}

function Add() {
  const { t, language } = useWords();
  const queries = useQueryClient();
  const [url, setUrl] = useState("");
  const [events, setEvents] = useState<string[]>(EVENTS);
  const [spoken, setSpoken] = useState<string>(language);
  const add = useAct({
    mutationFn: () => call<AddedWebhook>("POST", "/v1/webhooks", { body: { url: url.trim(), events, language: spoken } }),
    onSuccess: () => {
      setUrl("");
      return queries.invalidateQueries({ queryKey: ["webhooks"] });
    },
  });
  const problems = problemsOf(add.error);
  return (
    <form onSubmit={(event) => {
      event.preventDefault();
      add.mutate();
    }}>
      <Stack gap="sm">
        <SimpleGrid cols={{ base: 1, md: 3 }}>
          <TextInput label={t("settings.url")} placeholder="https://" value={url} error={problems.url && <Said>{problems.url}</Said>} onChange={(event) => setUrl(event.currentTarget.value)} />
          <MultiSelect label={t("settings.events")} value={events} error={problems.events && <Said>{problems.events}</Said>} onChange={setEvents} data={EVENTS.map((value) => ({ value, label: t(`event.${value}` as Word) }))} />
          <Select label={t("choice.language")} value={spoken} allowDeselect={false} onChange={(value) => setSpoken(value ?? "en")} data={[{ value: "en", label: "English" }, { value: "zh", label: "中文" }]} />
        </SimpleGrid>
        <Group><Changing><Button type="submit" variant="default" loading={add.isPending} disabled={!url.trim() || events.length === 0}>{t("settings.addWebhook")}</Button></Changing></Group>
        {add.error && Object.keys(problems).length === 0 && <ErrorNote error={add.error} />}
        {add.data && <Secret title={t("settings.secret")} note={t("settings.secretOnce")} secret={add.data.secret} onClose={() => add.reset()} />}
      </Stack>
    </form>
  );
}
