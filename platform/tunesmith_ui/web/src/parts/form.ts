// What a form is drawn from: the served schema says which parameter is there, when it has an effect and what its value
// is where nobody has given one. Pure; knows no component and names no parameter.
import type { Condition, FormProperty, FormSchema } from "../api/queries";

export type Values = Record<string, unknown>;

/** A parameter's value: the given one, else the first default whose conditions hold, else the plain default. */
export function valueOf(schema: FormSchema, given: Values, name: string, asked: readonly string[] = []): unknown {
  if (Object.hasOwn(given, name)) return given[name];
  const property = schema.properties[name];
  return property ? defaultOf(schema, given, name, property, asked) : null;
}

function defaultOf(schema: FormSchema, given: Values, name: string, property: FormProperty, asked: readonly string[]): unknown {
  if (!asked.includes(name)) {
    for (const one of property.tunesmith.default_when ?? []) {
      if (one.when.every((condition) => holds(condition, valueOf(schema, given, condition.field, [...asked, name])))) {
        return one.value;
      }
    }
  }
  return property.default ?? null;
}

/** A parameter's value where the user has not touched it. */
export function untouched(schema: FormSchema, given: Values, name: string): unknown {
  const { [name]: _, ...others } = given;
  return valueOf(schema, others, name);
}

export function same(a: unknown, b: unknown): boolean {
  return a === b || JSON.stringify(a) === JSON.stringify(b);
}

export function holds({ op, value }: Condition, actual: unknown): boolean {
  const list = Array.isArray(value) ? value : [value];
  switch (op) {
    case "in": return list.some((one) => same(one, actual));
    case "not_in": return !list.some((one) => same(one, actual));
    case "contains": return Array.isArray(actual) ? actual.some((one) => same(one, value)) : String(actual ?? "").includes(String(value));
    case "ge": return Number(actual) >= Number(value);
    case "le": return Number(actual) <= Number(value);
    case "gt": return Number(actual) > Number(value);
    default: return true; // of a newer server: better shown than lost
  }
}

/** Whether the form shows a parameter: it has an effect, and one of the occasions to offer it is there. */
export function isShown(schema: FormSchema, given: Values, name: string): boolean {
  const about = schema.properties[name]!.tunesmith;
  const true_ = (condition: Condition) => holds(condition, valueOf(schema, given, condition.field));
  return (about.visible_when ?? []).every(true_) && (!about.offered_when?.length || about.offered_when.some(true_));
}

export function isChanged(schema: FormSchema, given: Values, name: string): boolean {
  return Object.hasOwn(given, name) && !same(given[name], untouched(schema, given, name));
}

/** What is sent: only what was given and has an effect; an empty text is none. */
export function sent(schema: FormSchema, given: Values): Values {
  return Object.fromEntries(
    Object.entries(given).filter(([name, value]) =>
      schema.properties[name] && value !== "" && (isShown(schema, given, name) || schema.required?.includes(name))),
  );
}

/** Whether a parameter is found by a text: in its name, its other names, its labels and its help. */
export function isFound(name: string, property: FormProperty, text: string): boolean {
  const about = property.tunesmith;
  const wanted = text.trim().toLowerCase();
  return [name, about.label_en, about.label_zh, about.help_en, about.help_zh, ...(about.aliases ?? [])]
    .some((one) => one.toLowerCase().includes(wanted));
}
