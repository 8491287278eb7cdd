// Parameters as they are written by hand, in YAML: by their names, or the other names that they go by.
import { parse } from "yaml";
import type { FormSchema } from "../../api/queries";
import type { Values } from "../../parts/form";

/** What a text holds, or why it holds no parameters. */
export function read(schema: FormSchema, text: string): { values: Values; unknown: string[] } | { error: string } {
  try {
    const found: unknown = parse(text) ?? {};
    if (typeof found !== "object" || Array.isArray(found)) return { error: "" };
    const names = new Map(Object.entries(schema.properties).flatMap(([name, { tunesmith }]) => [name, ...(tunesmith.aliases ?? [])].map((one) => [one, name] as const)));
    const entries = Object.entries(found as Values);
    return {
      values: Object.fromEntries(entries.filter(([name]) => names.has(name)).map(([name, value]) => [names.get(name)!, value])),
      unknown: entries.map(([name]) => name).filter((name) => !names.has(name)),
    };
  } catch (error) {
    return { error: error instanceof Error ? error.message : "" };
  }
}
