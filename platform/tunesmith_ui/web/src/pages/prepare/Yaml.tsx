// The parameters as YAML: what is written is taken as it is typed, and what is wrong with it is said at its line.
import { Stack, Text, Textarea } from "@mantine/core";
import { useRef, useState } from "react";
import { stringify } from "yaml";
import type { FormSchema } from "../../api/queries";
import { useWords } from "../../i18n";
import type { Values } from "../../parts/form";
import { Said } from "../../parts/Said";
import { read, type Wrong } from "./readYaml";

type Props = { schema: FormSchema; values: Values; errors: Record<string, string>; onChange?: (values: Values) => void };

export default function Yaml({ schema, values, errors, onChange }: Props) {
  const { t } = useWords();
  const [text, setText] = useState(() => (Object.keys(values).length ? stringify(values, { lineWidth: 0 }) : ""));
  const field = useRef<HTMLTextAreaElement>(null);
  const gutter = useRef<HTMLDivElement>(null);
  const found = read(schema, text);
  const wrong: Wrong[] = "error" in found
    ? [{ line: found.line, message: `${t("yaml.bad")} ${found.error}` }]
    : [
        ...found.unknown.map((name) => ({ line: found.lines[name] ?? 1, message: t("yaml.unknown", { name }) })),
        // What is missing stands in no line.
        ...Object.entries(errors).map(([name, message]) => ({ line: found.lines[name] ?? 0, message: `${name}: ${message}` })),
      ].sort((a, b) => a.line - b.line);
  const lines = new Set(wrong.map((one) => one.line));
  const show = (line: number) => {
    const before = text.split("\n").slice(0, line - 1).reduce((sum, one) => sum + one.length + 1, 0);
    field.current?.focus();
    field.current?.setSelectionRange(before, before + (text.split("\n")[line - 1]?.length ?? 0));
  };
  return (
    <Stack gap="xs">
      <div className="yaml">
        <div className="yaml-lines" ref={gutter} aria-hidden="true">
          {text.split("\n").map((_, at) => <div key={at} className={lines.has(at + 1) ? "yaml-wrong" : undefined}>{at + 1}</div>)}
        </div>
        <Textarea ref={field} className="fill" autosize minRows={8} maxRows={30} wrap="off" aria-label={t("yaml.label")} aria-invalid={wrong.length > 0} value={text}
          readOnly={!onChange} spellCheck={false} classNames={{ input: "code yaml-text" }} onScroll={(event) => {
            if (gutter.current) gutter.current.scrollTop = event.currentTarget.scrollTop;
          }} onChange={(event) => {
            const written = event.currentTarget.value;
            setText(written);
            const now = read(schema, written);
            if (!("error" in now)) onChange?.(now.values);
          }} />
      </div>
      <div role="status">
        {wrong.map((one) => (
          <Text key={`${one.line}${one.message}`} size="sm" c="var(--mantine-color-error)" className="wrapped">
            {one.line > 0 && <><button type="button" className="line-link" onClick={() => show(one.line)}>{t("yaml.line", { line: one.line })}</button> </>}
            <Said>{one.message}</Said>
          </Text>
        ))}
      </div>
      {onChange && <Text size="xs" c="dimmed">{t("yaml.how")}</Text>}
      {text === "" && <Text size="xs" c="dimmed">{t("yaml.empty")}</Text>}
    </Stack>
  );
}
