// Parameters as they are written by hand, in YAML: by their names, or the other names that they go by. Pure.
import { isMap, isScalar, LineCounter, parseDocument } from "yaml";
import type { FormSchema } from "../../api/queries";
import type { Values } from "../../parts/form";

/** What is wrong in a line; lines count from one. */
export type Wrong = { line: number; message: string };
export type Written = { values: Values; unknown: string[]; lines: Record<string, number> };

/** What a text holds and in which lines, or where and why it holds no parameters. */
export function read(schema: FormSchema, text: string): Written | { error: string; line: number } {
  const counter = new LineCounter();
  const document = parseDocument(text, { lineCounter: counter, prettyErrors: false });
  const lineOf = (place: number) => counter.linePos(place).line;
  const [first] = document.errors;
  if (first) return { error: first.message, line: lineOf(first.pos[0]) };
  if (document.contents === null) return { values: {}, unknown: [], lines: {} };
  if (!isMap(document.contents)) return { error: "", line: 1 };
  const names = new Map(Object.entries(schema.properties).flatMap(([name, { tunesmith }]) => [name, ...(tunesmith.aliases ?? [])].map((one) => [one, name] as const)));
  const found = document.toJS() as Values;
  const written: Written = { values: {}, unknown: [], lines: {} };
  for (const { key } of document.contents.items) {
    const word = isScalar(key) ? String(key.value) : String(key);
    const name = names.get(word);
    written.lines[name ?? word] = lineOf((isScalar(key) && key.range?.[0]) || 0);
    if (name) written.values[name] = found[word];
    else written.unknown.push(word);
  }
  return written;
}
