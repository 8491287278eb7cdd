// One base model: what its files say, which tasks start from it, and what may be done with it.
import { Button, Group, List, Modal, Stack, Table, Text } from "@mantine/core";
import { useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { useAct } from "../../api/act";
import { call } from "../../api/http";
import type { ModelView } from "../../api/schema";
import { hrefOf } from "../../app/router";
import { useWords, type Word } from "../../i18n";
import { Changing } from "../../parts/Changing";
import { Icon } from "../../parts/icons";
import { Mark, type Tone } from "../../parts/Mark";
import { ErrorNote } from "../../parts/Panel";
import { Said } from "../../parts/Said";
import { bytesOf, countOf } from "../../parts/words";

const TONES: Record<string, Tone> = { ready: "good", refused: "bad", missing: "warn" };

export function Model({ model }: { model: ModelView }) {
  const { t } = useWords();
  const { facts, problem } = model;
  const rows: [string, string | null | undefined][] = [
    [t("models.hub"), model.hub_id && (model.revision ? `${model.hub_id} @ ${model.revision.slice(0, 12)}` : model.hub_id)],
    [t("models.architecture"), facts?.architecture],
    [t("models.parameters"), facts && `${countOf(facts.parameters)} · ${facts.dtype}`],
    [t("checkpoints.size"), bytesOf(model.disk_bytes)],
    [t("models.context"), facts && (facts.context_length ? t("models.tokens", { count: facts.context_length }) : "–")],
    [t("models.template"), facts && t(facts.has_chat_template ? "yes" : "models.noTemplate")],
    [t("models.license"), facts && (facts.license ?? t("models.noLicense"))],
    [t("models.path"), model.path],
    ["SHA-256", facts && (model.sha256 ?? t("models.summing"))],
    [t("models.used"), model.task_count ? t("models.tasks", { count: model.task_count }) : t("models.unused")],
  ];
  return (
    <article className="tile">
      <Stack gap={6}>
        <Group justify="space-between" wrap="nowrap" align="start" gap="xs">
          <Text fw={600} className="wrapped fill">{model.name}</Text>
          <Mark tone={TONES[model.state] ?? "plain"}>{t(`model.${model.state}` as Word)}</Mark>
        </Group>
        {problem && <Text size="sm" c="var(--mantine-color-error)" className="wrapped"><Said>{`${problem.message} ${problem.hint ?? ""}`}</Said></Text>}
        {facts?.other_ids && <Text size="sm" className="wrapped"><Icon name="warn" size={14} /> <Said>{facts.other_ids}</Said></Text>}
        <Table verticalSpacing={2} horizontalSpacing={0} withRowBorders={false} layout="fixed">
          <Table.Tbody>
            {rows.filter(([, value]) => value).map(([label, value]) => (
              <Table.Tr key={label}><Table.Th scope="row" w={130} className="label"><Text size="sm" c="dimmed">{label}</Text></Table.Th><Table.Td className="wrapped"><Text size="sm">{value}</Text></Table.Td></Table.Tr>
            ))}
          </Table.Tbody>
        </Table>
        <Group gap="xs">
          {model.state === "ready" && <Button size="compact-sm" component="a" href={hrefOf(["prepare"], { model: model.name })} leftSection={<Icon name="slider" size={14} />}>{t("models.train")}</Button>}
          {model.state === "ready" && <Button size="compact-sm" variant="default" component="a" href={hrefOf(["test"], { model: model.name })}>{t("monitor.chat")}</Button>}
          <Remove model={model} />
        </Group>
      </Stack>
    </article>
  );
}

/** Says what goes and what stays before anything goes. */
function Remove({ model }: { model: ModelView }) {
  const { t } = useWords();
  const queries = useQueryClient();
  const [isAsked, setAsked] = useState(false);
  const remove = useAct({
    mutationFn: () => call<undefined>("DELETE", `/v1/models/${model.id}`),
    onSuccess: () => queries.invalidateQueries({ queryKey: ["models"] }),
  });
  // What lies in the models folder is found again as long as it lies there, and no model's files are deleted.
  const isFoundAgain = model.is_found && model.state !== "missing";
  return (
    <>
      <Changing><Button size="compact-sm" variant="subtle" color="red" aria-label={`${t("models.remove")}: ${model.name}`} onClick={() => setAsked(true)}>{t("models.remove")}</Button></Changing>
      <Modal opened={isAsked} onClose={() => setAsked(false)} title={t("models.removeTitle")} closeButtonProps={{ "aria-label": t("close") }}>
        <Stack gap="sm">
          <Text fw={600} className="wrapped">{model.name}</Text>
          {isFoundAgain ? (
            <>
              <Text size="sm">{t("models.foundAgain")}</Text>
              <Text size="sm" className="wrapped code">{model.path}</Text>
            </>
          ) : (
            <>
              <div><Text size="sm" fw={600}>{t("tasks.goes")}</Text><List size="sm"><List.Item>{t("models.entry")}</List.Item></List></div>
              <div>
                <Text size="sm" fw={600}>{t("tasks.stays")}</Text>
                <List size="sm">
                  {model.state !== "missing" && <List.Item className="wrapped">{t("models.files", { size: bytesOf(model.disk_bytes), path: model.path })}</List.Item>}
                  <List.Item>{t("models.itsTasks", { count: model.task_count })}</List.Item>
                </List>
              </div>
            </>
          )}
          {remove.error && <ErrorNote error={remove.error} />}
          <Group justify="end">
            <Button variant="default" onClick={() => setAsked(false)} data-autofocus>{t(isFoundAgain ? "close" : "cancel")}</Button>
            {!isFoundAgain && <Changing><Button color="red" loading={remove.isPending} onClick={() => remove.mutate()}>{t("models.remove")}</Button></Changing>}
          </Group>
        </Stack>
      </Modal>
    </>
  );
}
