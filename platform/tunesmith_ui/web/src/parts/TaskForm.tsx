// A task of any kind, drawn from its kind's schema: what the page fixes is given, the rest stands in the form.
import { Button, Group, Modal, Stack, Text } from "@mantine/core";
import { useDisclosure } from "@mantine/hooks";
import { useQueryClient } from "@tanstack/react-query";
import { useRef, useState, type ReactNode } from "react";
import { useAct } from "../api/act";
import { ApiError, call } from "../api/http";
import { useDatasets, useModels, useSchema, type FormSchema } from "../api/queries";
import type { TaskCheck, TaskView } from "../api/schema";
import { useWords } from "../i18n";
import { Parameters } from "../pages/prepare/Parameters";
import { Changing } from "./Changing";
import { sent, type Values } from "./form";
import { Icon, type IconName } from "./icons";
import { useKept } from "./kept";
import { ErrorNote, Found } from "./Panel";
import { Said } from "./Said";

/** What the server says is wrong, by parameter. */
export function problemsOf(error: Error | null): Record<string, string> {
  if (!(error instanceof ApiError)) return {};
  return Object.fromEntries(
    error.problems.filter((one) => one.field).map((one) => [
      one.field!.replace(/^spec\./, "").replace(/[.[].*$/, ""), one.hint ? `${one.message} ${one.hint}` : one.message,
    ]),
  );
}

/** Also where the page is no secure context, as on a plain address of one's own network. */
export function randomKey(): string {
  return [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** What makes a task: a new one, or one from a task that is there. */
export type Begun = {
  path: "/v1/tasks" | `/v1/tasks/${string}:clone` | `/v1/tasks/${string}:new-stage` | `/v1/tasks/${string}:continue`;
  body: Record<string, unknown>;
};

/** Starts tasks, each once: a repeat of the same start finds the same task. */
export function useSubmit(onDone: (task: TaskView) => void) {
  const queries = useQueryClient();
  const key = useRef({ of: "", key: "" });
  const submit = useAct({
    mutationFn: (begun: Begun) => {
      const of = JSON.stringify(begun);
      if (key.current.of !== of) key.current = { of, key: randomKey() };
      return call<TaskView>("POST", begun.path, { body: begun.body, headers: { "Idempotency-Key": key.current.key } });
    },
    onSuccess: (task) => {
      void queries.invalidateQueries({ queryKey: ["tasks"] });
      void queries.invalidateQueries({ queryKey: ["task", task.id] });
      onDone(task);
    },
  });
  return { ...submit, wasSent: (begun: Begun) => key.current.of === JSON.stringify(begun) };
}

/**
 * Asks what a start would say, and says it before it starts; with further warnings that the page knows, and without
 * what is said of parameters that the page filled in itself. What was sent before is sent again as it is: its answer may
 * have been lost, and then it finds its task, of which a check would say that it stands in the way.
 */
export function useStart(onDone: (task: TaskView) => void) {
  const [warnings, setWarnings] = useState<string[]>([]);
  const [asked, setAsked] = useState<Begun | null>(null);
  const submit = useSubmit(onDone);
  const check = useAct({
    mutationFn: ({ body }: { body: Record<string, unknown>; more: string[]; begun: Begun; filled: string[] }) => call<TaskCheck>("POST", "/v1/tasks:check", { body }),
    onSuccess: (found, { more, begun, filled }) => {
      const all = [...found.notices.filter((one) => !filled.includes(one.field)).map((one) => `${one.field}: ${one.message}`), ...more];
      setWarnings(all);
      if (all.length) setAsked(begun);
      else submit.mutate(begun);
    },
  });
  return {
    isBusy: check.isPending || submit.isPending,
    error: check.error ?? submit.error,
    start: (body: Record<string, unknown>, more: string[] = [], begun: Begun = { path: "/v1/tasks", body }, filled: string[] = []) =>
      submit.wasSent(begun) ? submit.mutate(begun) : check.mutate({ body, more, begun, filled }),
    /** Starts what needs no check: a task that is there already. */
    again: (begun: Begun) => submit.mutate(begun),
    dialog: <Warnings warnings={asked ? warnings : []} onCancel={() => setAsked(null)} onStart={() => {
      if (asked) submit.mutate(asked);
      setAsked(null);
    }} />,
  };
}

function Warnings({ warnings, onCancel, onStart }: { warnings: string[]; onCancel: () => void; onStart: () => void }) {
  const { t } = useWords();
  return (
    <Modal opened={warnings.length > 0} onClose={onCancel} title={t("prepare.warnings")} closeButtonProps={{ "aria-label": t("close") }}>
      <Stack>
        {warnings.map((text) => <Text key={text} size="sm" className="wrapped"><Icon name="warn" size={14} /> <Said>{text}</Said></Text>)}
        <Group justify="end">
          <Button variant="default" onClick={onCancel}>{t("cancel")}</Button>
          <Changing><Button onClick={onStart} data-autofocus>{t("prepare.anyway")}</Button></Changing>
        </Group>
      </Stack>
    </Modal>
  );
}

export type Drawing = { schema: FormSchema; values: Values; errors: Record<string, string>; set: (name: string, value: unknown) => void; reset: (name: string) => void };
/** `draw` draws the parameters of `drawn` in a way of its own; the form then leaves them out. */
type Props = {
  kind: string; fixed: Values; first?: Values; isReady: boolean; onDone: (task: TaskView) => void;
  drawn?: readonly string[]; draw?: (given: Drawing) => ReactNode;
  /** What the button says, and shows, where that is not "Start". */
  label?: string; icon?: IconName;
};

export function TaskForm({ kind, fixed, first = {}, isReady, onDone, drawn = [], draw, label, icon = "play" }: Props) {
  const { t } = useWords();
  const asked = useSchema(kind);
  const models = useModels();
  const datasets = useDatasets();
  const [values, setValues] = useKept<Values>(`form/${kind}/${JSON.stringify(first)}`, first);
  const [isOpen, fold] = useDisclosure(Object.keys(values).some((name) => !drawn.includes(name)));
  const starting = useStart((task) => {
    setValues(first);
    onDone(task);
  });
  return (
    <Found asked={asked}>
      {(schema) => {
        const errors = problemsOf(starting.error);
        const rest = without(schema, (name) => Object.hasOwn(fixed, name));
        const set = (name: string, value: unknown) => setValues((known) => ({ ...known, [name]: value }));
        const reset = (name: string) => setValues(({ [name]: _, ...others }) => others);
        return (
          <Stack gap="sm">
            {draw?.({ schema: rest, values, errors, set, reset })}
            <Group>
              <Changing><Button leftSection={<Icon name={icon} size={16} />} loading={starting.isBusy} disabled={!isReady}
                onClick={() => starting.start({ kind, spec: { ...fixedOf(fixed), ...sent(rest, values) } })}>{label ?? t("prepare.start")}</Button></Changing>
              <Button variant="subtle" onClick={fold.toggle} aria-expanded={isOpen}>{t("prepare.parameters")}</Button>
            </Group>
            {starting.error && <ErrorNote error={starting.error} />}
            {isOpen && (
              <Parameters schema={rest} hidden={drawn} values={values} errors={errors}
                offered={{ model: (models.data?.data ?? []).map((one) => one.name), data: (datasets.data?.data ?? []).map((one) => one.name) }}
                set={set} reset={reset} />
            )}
            {starting.dialog}
          </Stack>
        );
      }}
    </Found>
  );
}

function without(schema: FormSchema, isOut: (name: string) => boolean): FormSchema {
  return { ...schema, properties: Object.fromEntries(Object.entries(schema.properties).filter(([name]) => !isOut(name))) };
}

function fixedOf(fixed: Values): Values {
  return Object.fromEntries(Object.entries(fixed).filter(([, value]) => value !== null && value !== ""));
}
