import { Badge, Button, Grid, Group, Loader, SegmentedControl, SimpleGrid, Stack, Text, TextInput, Title } from "@mantine/core";
import { useDebouncedValue } from "@mantine/hooks";
import { useQuery } from "@tanstack/react-query";
import { lazy, Suspense, useEffect, useMemo, useState } from "react";
import { call } from "../api/http";
import { useDatasets, useModels, useSchema, useTask, type FormSchema } from "../api/queries";
import type { EstimateView, TaskView } from "../api/schema";
import { go, useRoute } from "../app/router";
import { useWorkspace } from "../app/workspace";
import { useWords } from "../i18n";
import { Changing, useMay } from "../parts/Changing";
import { Field } from "../parts/Field";
import { isChanged, sent, valueOf, type Values } from "../parts/form";
import { Icon } from "../parts/icons";
import { ErrorNote, Found, Section } from "../parts/Panel";
import { Said } from "../parts/Said";
import { problemsOf, useStart, type Begun } from "../parts/TaskForm";
import { differing, folderOf, fresh, given, places, useDraft, type Draft } from "./prepare/draft";
import { Estimate } from "./prepare/Estimate";
import { FirstRun } from "./prepare/FirstRun";
import { LENGTHS, Origin } from "./prepare/Origin";
import { Parameters } from "./prepare/Parameters";
import { TaskList } from "./prepare/TaskList";
import { SaveTemplate, TemplateSelect } from "./prepare/Templates";

const Yaml = lazy(() => import("./prepare/Yaml"));

export function Prepare() {
  const asked = useSchema("train");
  return <Found asked={asked}>{(schema) => <Form schema={schema} />}</Found>;
}

function Form({ schema }: { schema: FormSchema }) {
  const { t, pick } = useWords();
  const { query } = useRoute();
  const [draft, change] = useDraft();
  const models = useModels();
  const datasets = useDatasets();
  const { tasks, isKnown } = useWorkspace();
  const wanted = query.get("from");
  const asked = useTask(wanted ?? draft.from);
  const source = asked.data;
  useEffect(() => {
    // An existing task's parameters are taken once; what is changed afterwards stays.
    if (!source || source.id !== wanted || (draft.from === wanted && !query.has("way"))) return;
    const step = query.get("step");
    const way = query.get("way") === "stage" ? "stage" : query.get("way") === "continue" ? "continue" : "clone";
    change(() => ({ ...fresh(), from: source.id, way, step: step === null ? null : Number(step), values: given(schema, source.spec) }));
    go(["prepare"], { from: source.id }, true);
  }, [source, wanted, draft.from, change, schema, query]);
  const model = query.get("model");
  useEffect(() => {
    if (model === null) return;
    change((known) => ({ ...(known.from === null ? known : fresh()), values: { ...(known.from === null ? known.values : {}), model_name_or_path: model } }));
    go(["prepare"], undefined, true);
  }, [model, change]);
  const set = (name: string, value: unknown) => change((known) => ({ ...known, values: { ...known.values, [name]: value } }));
  const reset = (name: string) => change((known) => {
    const { [name]: _, ...others } = known.values;
    return { ...known, values: others };
  });
  const body = useMemo(() => ({
    kind: "train", ...(draft.name.trim() ? { name: draft.name.trim() } : {}), spec: sent(schema, { ...filled(schema, draft), ...draft.values }),
  }), [draft, schema]);
  const origin = draft.from !== null && source?.id === draft.from ? source : null;
  const isContinued = origin !== null && draft.way === "continue";
  const missing = isContinued ? [] : (schema.required ?? []).filter((name) => !body.spec[name]);
  const may = useMay(); // to ask what it would cost is refused with the start
  const [settled] = useDebouncedValue(body, 700);
  const estimate = useQuery({
    queryKey: ["estimate", settled], enabled: may && (schema.required ?? []).every((name) => settled.spec[name]), retry: false, staleTime: 60_000,
    queryFn: ({ signal }) => call<EstimateView>("POST", "/v1/tasks:estimate", { body: settled, signal }),
  });
  const errors = problemsOf(estimate.error);
  const clear = () => {
    change(fresh);
    go(["prepare"], undefined, true);
  };
  return (
    <Grid gap="md" columns={24}>
      <Grid.Col span={{ base: 24, lg: 6 }} order={{ base: 3, lg: 1 }}>
        <Section title={t("tasks.title")} aside={<Button size="compact-sm" variant="default" leftSection={<Icon name="plus" size={14} />} onClick={clear}>{t("prepare.new")}</Button>}>
          <TaskList chosen={draft.from} onDeleted={(id) => {
            if (draft.from === id) clear();
          }} />
        </Section>
      </Grid.Col>
      <Grid.Col span={{ base: 24, lg: 11 }} order={{ base: 2, lg: 2 }}>
        <Stack>
          {isKnown && !tasks.some((one) => one.kind === "train") && <FirstRun fill={(values) => change(() => ({ ...fresh(), values }))} />}
          <Section title={<Title order={1} size="h4">{t("prepare.title")}</Title>}>
            <Stack gap="sm">
              {draft.from !== null && asked.error && <ErrorNote error={asked.error} onAgain={clear} />}
              {origin && <Origin source={origin} schema={schema} draft={draft} errors={errors} change={change} />}
              {!isContinued && (
                <SimpleGrid cols={{ base: 1, sm: 2 }}>
                  <TextInput label={t("prepare.name")} description={t("prepare.nameHelp")} value={draft.name} maxLength={120}
                    placeholder={t("prepare.nameMade")} error={errors["name"] && <Said>{errors["name"]}</Said>} onChange={(event) => {
                      const name = event.currentTarget.value;
                      change((known) => ({ ...known, name }));
                    }} />
                  <TemplateSelect value={draft.template} onChange={(found) => change((known) => ({
                    ...known, template: found?.name ?? null, values: found ? { ...places(schema, known.values), ...found.parameters } : known.values,
                  }))} />
                  {basics(schema).map((name) => (
                    <Field key={name} name={name} property={schema.properties[name]!} value={valueOf(schema, { ...filled(schema, draft), ...draft.values }, name)} error={errors[name]}
                      isChanged={isChanged(schema, draft.values, name)} onChange={(value) => set(name, value)} onReset={() => reset(name)} />
                  ))}
                </SimpleGrid>
              )}
            </Stack>
          </Section>
          <Written schema={schema} draft={draft} errors={errors} change={change} isFixed={isContinued}
            offered={{
              model: (models.data?.data ?? []).filter((one) => one.state === "ready").map((one) => one.name),
              data: (datasets.data?.data ?? []).map((one) => one.name),
            }} set={set} reset={reset} />
        </Stack>
      </Grid.Col>
      <Grid.Col span={{ base: 24, lg: 7 }} order={{ base: 1, lg: 3 }}>
        <Stack className="beside">
          <Start schema={schema} draft={draft} source={origin} body={body} estimate={estimate.data}
            missing={missing.map((name) => pick(schema.properties[name]!.tunesmith.label_en, schema.properties[name]!.tunesmith.label_zh))}
            onDone={(task) => {
              change(fresh);
              go(["monitor", task.id]);
            }} />
          <Section title={t("estimate.title")}>
            {missing.length > 0 || !may
              ? <Text size="sm" c="dimmed">{t(may ? "estimate.missing" : "may.not")}</Text>
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

/** Where it publishes, filled in from the task's name until somebody chooses. */
const filled = (schema: FormSchema, draft: Draft): Values =>
  Object.fromEntries(outputs(schema).map((name) => [name, folderOf(draft.name)]).filter(([, folder]) => folder));
const outputs = (schema: FormSchema) => Object.keys(schema.properties).filter((name) => schema.properties[name]!.tunesmith.path === "output");

/** What stands beside the task's name, outside of the areas. */
const basics = (schema: FormSchema) =>
  [...outputs(schema), ...Object.keys(schema.properties).filter((name) => schema.properties[name]!.tunesmith.group === "basic")];

type WrittenProps = {
  schema: FormSchema; draft: Draft; errors: Record<string, string>; offered: { model: string[]; data: string[] }; isFixed: boolean;
  change: (change: (known: Draft) => Draft) => void; set: (name: string, value: unknown) => void; reset: (name: string) => void;
};

/** The parameters as a form or as YAML; those of a task that goes on are shown and not changed. */
function Written({ schema, draft, errors, offered, isFixed, change, set, reset }: WrittenProps) {
  const { t } = useWords();
  const [view, setView] = useState("form");
  const areas = useMemo(() => {
    const outside = new Set(basics(schema));
    return { ...schema, properties: Object.fromEntries(Object.entries(schema.properties).filter(([name]) => !outside.has(name))) };
  }, [schema]);
  const changed = Object.keys(draft.values).filter((name) => schema.properties[name] && isChanged(schema, draft.values, name));
  const placed = places(schema, draft.values);
  const shared = Object.fromEntries(Object.entries(sent(schema, draft.values)).filter(([name]) => !Object.hasOwn(placed, name)));
  const isYaml = isFixed || view === "yaml";
  return (
    <Section title={t("prepare.parameters")} aside={!isFixed && (
      <Group gap="xs">
        <Badge variant="light">{t("prepare.changed", { count: changed.length })}</Badge>
        <SegmentedControl size="xs" value={view} onChange={setView} aria-label={t("prepare.view")}
          data={[{ value: "form", label: t("prepare.form") }, { value: "yaml", label: "YAML" }]} />
        <SaveTemplate values={shared} onSaved={(template) => change((known) => ({ ...known, template }))} />
      </Group>
    )}>
      {isYaml
        ? <Suspense fallback={<Loader size="sm" />}>
            {isFixed && <Text size="sm" c="dimmed" mb="xs">{t("origin.fixed")}</Text>}
            <Yaml key={String(isFixed)} schema={schema} values={draft.values} errors={errors}
              {...(isFixed ? {} : { onChange: (values: Values) => change((known) => ({ ...known, values })) })} />
          </Suspense>
        : <Parameters schema={areas} values={draft.values} errors={errors} offered={offered} set={set} reset={reset} />}
    </Section>
  );
}

type StartProps = {
  schema: FormSchema; draft: Draft; source: TaskView | null; body: { spec: Values; name?: string }; missing: string[];
  estimate: EstimateView | undefined; onDone: (task: TaskView) => void;
};

/** Starts the task, once: warnings are asked about before, and a repeat of the same start finds the same task. */
function Start({ schema, draft, source, body, missing, estimate, onDone }: StartProps) {
  const { t } = useWords();
  const starting = useStart(onDone);
  const forecast = estimate?.fits === false ? [estimate.recommendation || t("estimate.tooLarge")] : [];
  const begin = () => {
    if (source && draft.way === "continue") return starting.again({ path: `/v1/tasks/${source.id}:continue`, body: longer(draft.values, source.spec) });
    const own = Object.keys(filled(schema, draft)).filter((name) => !Object.hasOwn(draft.values, name));
    return starting.start(body, forecast, begun(schema, draft, source, body), own);
  };
  return (
    <Section>
      <Stack gap="sm">
        <Changing><Button size="md" leftSection={<Icon name="play" size={16} />} loading={starting.isBusy} disabled={missing.length > 0} onClick={begin}>
          {t(source ? `origin.start.${draft.way}` : "prepare.start")}
        </Button></Changing>
        {missing.length > 0 && <Text size="sm" c="dimmed">{t("prepare.missing", { names: missing.join(", ") })}</Text>}
        {starting.error && <ErrorNote error={starting.error} />}
      </Stack>
      {starting.dialog}
    </Section>
  );
}

/** What is sent: a task made from another one says so, with what differs from it. */
function begun(schema: FormSchema, draft: Draft, source: TaskView | null, body: { spec: Values; name?: string }): Begun {
  if (!source) return { path: "/v1/tasks", body };
  const spec = { ...filled(schema, draft), ...differing(schema, draft.values, source.spec) };
  const named = body.name ? { name: body.name } : {};
  if (draft.way === "clone") return { path: `/v1/tasks/${source.id}:clone`, body: { ...named, spec } };
  return { path: `/v1/tasks/${source.id}:new-stage`, body: { ...named, spec, ...(draft.step === null ? {} : { step: draft.step }) } };
}

/** The length that was raised, if it was. */
function longer(values: Values, spec: Values): Values {
  return Object.fromEntries(LENGTHS.map((name) => [name, values[name]] as const).filter(([name, value]) => typeof value === "number" && value !== spec[name]));
}
