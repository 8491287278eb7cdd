// Templates: parameters that go together, taken, saved under a name, and deleted where they are the user's own.
import { ActionIcon, Button, Group, Modal, Select, Stack, Text, TextInput, Tooltip } from "@mantine/core";
import { useDisclosure } from "@mantine/hooks";
import { useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { useAct } from "../../api/act";
import { call } from "../../api/http";
import { useTemplates } from "../../api/queries";
import type { TemplateView } from "../../api/schema";
import { useWords } from "../../i18n";
import { Changing } from "../../parts/Changing";
import type { Values } from "../../parts/form";
import { Icon } from "../../parts/icons";
import { ErrorNote } from "../../parts/Panel";

export function TemplateSelect({ value, onChange }: { value: string | null; onChange: (found: TemplateView | null) => void }) {
  const { t, pick } = useWords();
  const queries = useQueryClient();
  const asked = useTemplates();
  const [isAsking, asking] = useDisclosure();
  const all = (asked.data?.data ?? []).filter((one) => one.kind === "train");
  const chosen = all.find((one) => one.name === value);
  const said = chosen && pick(chosen.description, chosen.description_zh || chosen.description);
  const remove = useAct({
    mutationFn: (name: string) => call<undefined>("DELETE", `/v1/templates/${encodeURIComponent(name)}`),
    onSuccess: () => {
      void queries.invalidateQueries({ queryKey: ["templates"] });
      asking.close();
      onChange(null);
    },
  });
  return (
    <>
      <Group align="start" wrap="nowrap" gap="xs">
        <Select className="fill" label={t("prepare.template")} description={said || t("prepare.templateHelp")} clearable searchable value={chosen ? value : null}
          data={all.map((one) => one.name)} onChange={(name) => onChange(all.find((one) => one.name === name) ?? null)} />
        {chosen && !chosen.builtin && (
          <Tooltip label={t("template.delete")}>
            <Changing><ActionIcon mt={28} variant="subtle" color="gray" aria-label={t("template.delete")} onClick={asking.open}><Icon name="bin" size={15} /></ActionIcon></Changing>
          </Tooltip>
        )}
      </Group>
      <Modal opened={isAsking} onClose={asking.close} title={t("template.delete")} closeButtonProps={{ "aria-label": t("close") }}>
        <Stack>
          <Text className="wrapped">{t("template.deleteWhat", { name: value ?? "" })}</Text>
          {remove.error && <ErrorNote error={remove.error} />}
          <Group justify="end">
            <Button variant="default" onClick={asking.close}>{t("cancel")}</Button>
            <Changing><Button color="red" loading={remove.isPending} onClick={() => value && remove.mutate(value)}>{t("template.delete")}</Button></Changing>
          </Group>
        </Stack>
      </Modal>
    </>
  );
}

/** Saves what was chosen under a name; under one that is there it takes that template's place, once that was said. */
export function SaveTemplate({ values, onSaved }: { values: Values; onSaved: (name: string) => void }) {
  const { t } = useWords();
  const queries = useQueryClient();
  const [isOpen, open] = useDisclosure();
  const [name, setName] = useState("");
  const known = useTemplates().data?.data.find((one) => one.name === name.trim());
  const save = useAct({
    mutationFn: () => known
      ? call<TemplateView>("PATCH", `/v1/templates/${encodeURIComponent(known.name)}`, { body: { parameters: values } })
      : call<TemplateView>("POST", "/v1/templates", { body: { name: name.trim(), kind: "train", parameters: values } }),
    onSuccess: (found) => {
      void queries.invalidateQueries({ queryKey: ["templates"] });
      open.close();
      onSaved(found.name);
    },
  });
  return (
    <>
      <Changing><Button size="compact-sm" variant="default" disabled={Object.keys(values).length === 0} onClick={open.open}>{t("prepare.saveTemplate")}</Button></Changing>
      <Modal opened={isOpen} onClose={open.close} title={t("prepare.saveTemplate")} closeButtonProps={{ "aria-label": t("close") }}>
        <form onSubmit={(event) => {
          event.preventDefault();
          save.mutate();
        }}>
          <Stack>
            <TextInput label={t("prepare.templateName")} value={name} data-autofocus maxLength={120} onChange={(event) => setName(event.currentTarget.value)}
              description={known ? t(known.builtin ? "template.builtin" : "template.replaces") : undefined} />
            <Text size="sm" c="dimmed">{t("prepare.templateWhat")}</Text>
            {save.error && <ErrorNote error={save.error} />}
            <Changing><Button type="submit" disabled={!name.trim() || known?.builtin} loading={save.isPending}>{t("save")}</Button></Changing>
          </Stack>
        </form>
      </Modal>
    </>
  );
}
