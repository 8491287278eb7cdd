// What is being prepared: new, or made from a task that is there. Kept for the tab, so that a reload loses nothing.
import { useEffect, useState } from "react";
import type { FormSchema } from "../../api/queries";
import { isChanged, isShown, same, valueOf, type Values } from "../../parts/form";

const DRAFT = "tunesmith-draft";

/** What a start makes of the task that was chosen: a new one with its parameters, a new one from its weights, or itself. */
export type Way = "clone" | "stage" | "continue";
export type Draft = {
  name: string; template: string | null;
  /** The task it is made from, how, and from which of its checkpoints (the newest when null). */
  from: string | null; way: Way; step: number | null;
  values: Values;
};
export const NEW: Draft = { name: "", template: null, from: null, way: "clone", step: null, values: {} };

/** A new one, named by the moment until somebody names it. */
export function fresh(): Draft {
  const now = new Date();
  const two = (value: number) => String(value).padStart(2, "0");
  const day = `${now.getFullYear()}${two(now.getMonth() + 1)}${two(now.getDate())}`;
  return { ...NEW, name: `train_${day}_${two(now.getHours())}${two(now.getMinutes())}${two(now.getSeconds())}` };
}

/** The folder that a task publishes in where nobody has chosen one: named as the task is. */
export function folderOf(name: string): string {
  return name.trim().replace(/[^\p{L}\p{N}._-]+/gu, "-").replace(/^[-.]+|[-.]+$/g, "");
}

export function useDraft(): [Draft, (change: (known: Draft) => Draft) => void] {
  const [draft, setDraft] = useState<Draft>(() => {
    try {
      return { ...fresh(), ...(JSON.parse(sessionStorage.getItem(DRAFT) ?? "{}") as Partial<Draft>) };
    } catch {
      return fresh();
    }
  });
  useEffect(() => sessionStorage.setItem(DRAFT, JSON.stringify(draft)), [draft]);
  return [draft, setDraft];
}

/** Of a task's frozen parameters those that were chosen, so that what is shown as changed is; not what is that task's alone. */
export function given(schema: FormSchema, spec: Values): Values {
  const all = Object.fromEntries(
    Object.entries(spec).filter(([name, value]) => schema.properties[name] && value !== null && !schema.properties[name]!.tunesmith.not_copied),
  );
  return Object.fromEntries(Object.entries(all).filter(([name]) => isChanged(schema, all, name) || schema.required?.includes(name)));
}

/** What belongs to this task, and no template takes away or holds: its files and folders. */
export function places(schema: FormSchema, values: Values): Values {
  return Object.fromEntries(Object.entries(values).filter(([name]) => schema.properties[name]?.tunesmith.not_in_templates));
}

/** In what a form differs from the task it was made from, also where a value went back to its default. */
export function differing(schema: FormSchema, values: Values, spec: Values): Values {
  return Object.fromEntries(
    Object.keys(schema.properties)
      .filter((name) => isShown(schema, values, name) && (!schema.properties[name]!.tunesmith.not_copied || Object.hasOwn(values, name)))
      .map((name) => [name, valueOf(schema, values, name)] as const)
      .filter(([name, value]) => !same(value === "" ? null : value, spec[name] ?? null)),
  );
}
