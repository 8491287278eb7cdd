import { Alert, Badge, Button, Grid, Group, Modal, Select, Stack, Text, TextInput, Title } from "@mantine/core";
import { useDebouncedValue, useDisclosure } from "@mantine/hooks";
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { useEffect, useMemo, useState } from "react";
import { call } from "../api/http";
import { useDatasets, useModels, useSchema, useTask, useTemplates, type FormSchema } from "../api/queries";
import type { EstimateView, TaskView, TemplateView } from "../api/schema";
import { go, useRoute } from "../app/router";
import { useWorkspace } from "../app/workspace";
import { useWords } from "../i18n";
import { isChanged, sent, type Values } from "../parts/form";
import { Icon } from "../parts/icons";
import { ErrorNote, Found, Section } from "../parts/Panel";
import { problemsOf, useStart } from "../parts/TaskForm";
import { Estimate } from "./prepare/Estimate";
import { Parameters } from "./prepare/Parameters";

const DRAFT = "tunesmith-draft";

type Draft = { name: string; template: string | null; from: string | null; values: Values };
const NEW: Draft = { name: "", template: null, from: null, values: {} };

/** What was being prepared, so that a reload or another tab's page loses nothing. It goes with the tab. */
function useDraft(): [Draft, (change: (known: Draft) => Draft) => void] {
  const [draft, setDraft] = useState<Draft>(() => {
    try {
      return { ...NEW, ...(JSON.parse(sessionStorage.getItem(DRAFT) ?? "{}") as Partial<Draft>) };
    } catch {
      return NEW;
    }
  });
  useEffect(() => sessionStorage.setItem(DRAFT, JSON.stringify(draft)), [draft]);
  return [draft, setDraft];
}

export function Prepare() {
  const asked = useSchema("train");
  return <Found asked={asked}>{(schema) => <Form schema={schema} />}</Found>;
}

function Form({ schema }: { schema: FormSchema }) {
  const { t, language } = useWords();
  const { query } = useRoute();
  const [draft, change] = useDraft();
  const templates = useTemplates();
  const models = useModels();
  const datasets = useDatasets();
  const { tasks } = useWorkspace();
  const wanted = query.get("from");
  const source = useTask(wanted !== draft.from ? wanted : null);
  useEffect(() => {
    // An existing task's parameters are taken once; what is changed afterwards stays.
    if (source.data && source.data.id === wanted && draft.from !== wanted) {
      const { data } = source;
      change(() => ({ name: "", template: null, from: data.id, values: given(schema, data.spec) }));
    }
  }, [source, wanted, draft.from, change, schema]);
  const set = (name: string, value: unknown) => change((known) => ({ ...known, values: { ...known.values, [name]: value } }));
  const reset = (name: string) => change((known) => {
    const { [name]: _, ...others } = known.values;
    return { ...known, values: others };
  });
  const body = useMemo(() => ({
    kind: "train", ...(draft.name.trim() ? { name: draft.name.trim() } : {}), spec: sent(schema, draft.values),
  }), [draft.name, draft.values, schema]);
  const missing = (schema.required ?? []).filter((name) => !body.spec[name]);
  const [settled] = useDebouncedValue(body, 700);
  const estimate = useQuery({
    queryKey: ["estimate", settled], enabled: missing.length === 0, retry: false, staleTime: 60_000,
    queryFn: ({ signal }) => call<EstimateView>("POST", "/v1/tasks:estimate", { body: settled, signal }),
  });
  const errors = problemsOf(estimate.error);
  const changed = Object.keys(draft.values).filter((name) => schema.properties[name] && isChanged(schema, draft.values, name));
  const offered = {
    model: (models.data?.data ?? []).filter((one) => one.state === "ready").map((one) => one.name),
    data: (datasets.data?.data ?? []).map((one) => one.name),
  };
  return (
    <Grid gap="md">
      <Grid.Col span={{ base: 12, lg: 8 }} order={{ base: 2, lg: 1 }}>
        <Stack>
          <Section title={<Title order={1} size="h4">{t("prepare.title")}</Title>}
            aside={<Button size="compact-sm" variant="default" leftSection={<Icon name="plus" size={14} />} onClick={() => {
              change(() => NEW);
              go(["prepare"], undefined, true);
            }}>{t("prepare.new")}</Button>}>
            <Stack gap="sm">
              {draft.from && <Alert variant="light" p="xs">{t("prepare.cloned", { name: tasks.find((one) => one.id === draft.from)?.name ?? draft.from })}</Alert>}
              <Grid gap="sm">
                <Grid.Col span={{ base: 12, sm: 6 }}>
                  <TextInput label={t("prepare.name")} description={t("prepare.nameHelp")} value={draft.name} maxLength={120}
                    placeholder={t("prepare.nameMade")} onChange={(event) => {
                      const name = event.currentTarget.value;
                      change((known) => ({ ...known, name }));
                    }} error={errors["name"]} />
                </Grid.Col>
                <Grid.Col span={{ base: 12, sm: 6 }}>
                  <Select label={t("prepare.template")} description={t("prepare.templateHelp")} clearable searchable value={draft.template}
                    data={(templates.data?.data ?? []).filter((one) => one.kind === "train").map((one) => one.name)}
                    onChange={(name) => {
                      const found = templates.data?.data.find((one) => one.name === name);
                      change((known) => ({ ...known, template: name, values: found ? { ...kept(known.values), ...found.parameters } : known.values }));
                    }} />
                  {describe(templates.data?.data, draft.template, language)}
                </Grid.Col>
              </Grid>
            </Stack>
          </Section>
          <Section title={t("prepare.parameters")} aside={<Group gap="xs">
            <Badge variant="light">{t("prepare.changed", { count: changed.length })}</Badge>
            <SaveTemplate values={body.spec} />
          </Group>}>
            <Parameters schema={schema} values={draft.values} errors={errors} offered={offered} set={set} reset={reset} />
          </Section>
        </Stack>
      </Grid.Col>
      <Grid.Col span={{ base: 12, lg: 4 }} order={{ base: 1, lg: 2 }}>
        <Stack className="beside">
          <Start body={body} missing={missing.map((name) => (language === "zh" ? schema.properties[name]!.tunesmith.label_zh : schema.properties[name]!.tunesmith.label_en))}
            estimate={estimate.data} onDone={(task) => {
              change(() => NEW);
              go(["monitor", task.id]);
            }} />
          <Section title={t("estimate.title")}>
            {missing.length > 0
              ? <Text size="sm" c="dimmed">{t("estimate.missing")}</Text>
              : <>
                  {estimate.error && <ErrorNote error={estimate.error} onAgain={() => void estimate.refetch()} />}
                  {estimate.isFetching && <Text size="sm" c="dimmed" aria-live="polite">{t("estimate.asking")}</Text>}
                  {estimate.data && !estimate.error && <Estimate found={estimate.data} apply={(more) => change((known) => ({ ...known, values: { ...known.values, ...more } }))} />}
                </>}
          </Section>
        </Stack>
      </Grid.Col>
    </Grid>
  );
}

/** Of a task's frozen parameters those that differ from their defaults, so that what is shown as changed is. */
function given(schema: FormSchema, spec: Record<string, unknown>): Values {
  const all = Object.fromEntries(Object.entries(spec).filter(([name, value]) => schema.properties[name] && value !== null));
  return Object.fromEntries(Object.entries(all).filter(([name]) => isChanged(schema, all, name) || schema.required?.includes(name)));
}

/** What belongs to this task, and no template takes away. */
function kept(values: Values): Values {
  return Object.fromEntries(Object.entries(values).filter(([name]) => ["model_name_or_path", "train_file", "eval_file"].includes(name)));
}

function describe(found: TemplateView[] | undefined, name: string | null, language: string) {
  const one = found?.find((template) => template.name === name);
  const text = one && (language === "zh" ? one.description_zh || one.description : one.description);
  return text ? <Text size="xs" c="dimmed" mt={4} className="wrapped">{text}</Text> : null;
}

type StartProps = { body: { spec: Values }; missing: string[]; estimate: EstimateView | undefined; onDone: (task: TaskView) => void };

/** Starts the task, once: warnings are asked about before, and a repeat of the same start finds the same task. */
function Start({ body, missing, estimate, onDone }: StartProps) {
  const { t } = useWords();
  const starting = useStart(onDone);
  const forecast = estimate?.fits === false ? [estimate.recommendation || t("estimate.tooLarge")] : [];
  return (
    <Section>
      <Stack gap="sm">
        <Button size="md" leftSection={<Icon name="play" size={16} />} loading={starting.isBusy} disabled={missing.length > 0}
          onClick={() => starting.start(body, forecast)}>{t("prepare.start")}</Button>
        {missing.length > 0 && <Text size="sm" c="dimmed">{t("prepare.missing", { names: missing.join(", ") })}</Text>}
        {starting.error && <ErrorNote error={starting.error} />}
      </Stack>
      {starting.dialog}
    </Section>
  );
}

function SaveTemplate({ values }: { values: Values }) {
  const { t } = useWords();
  const queries = useQueryClient();
  const [isOpen, open] = useDisclosure();
  const [name, setName] = useState("");
  const save = useMutation({
    mutationFn: () => call<TemplateView>("POST", "/v1/templates", { body: { name: name.trim(), kind: "train", parameters: values } }),
    onSuccess: () => {
      void queries.invalidateQueries({ queryKey: ["templates"] });
      open.close();
    },
  });
  return (
    <>
      <Button size="compact-sm" variant="default" disabled={Object.keys(values).length === 0} onClick={open.open}>{t("prepare.saveTemplate")}</Button>
      <Modal opened={isOpen} onClose={open.close} title={t("prepare.saveTemplate")} closeButtonProps={{ "aria-label": t("close") }}>
        <form onSubmit={(event) => {
          event.preventDefault();
          save.mutate();
        }}>
          <Stack>
            <TextInput label={t("prepare.templateName")} value={name} data-autofocus onChange={(event) => setName(event.currentTarget.value)} />
            <Text size="sm" c="dimmed">{t("prepare.templateWhat")}</Text>
            {save.error && <ErrorNote error={save.error} />}
            <Button type="submit" disabled={!name.trim()} loading={save.isPending}>{t("save")}</Button>
          </Stack>
        </form>
      </Modal>
    </>
  );
}

