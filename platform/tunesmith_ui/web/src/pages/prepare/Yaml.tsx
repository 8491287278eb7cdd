// The parameters as YAML: what is written is taken as it is typed, and what is wrong with it is said below.
import { Stack, Text, Textarea } from "@mantine/core";
import { useState } from "react";
import { stringify } from "yaml";
import type { FormSchema } from "../../api/queries";
import { useWords } from "../../i18n";
import type { Values } from "../../parts/form";
import { read } from "./readYaml";

type Props = { schema: FormSchema; values: Values; errors: Record<string, string>; onChange?: (values: Values) => void };

export default function Yaml({ schema, values, errors, onChange }: Props) {
  const { t } = useWords();
  const [text, setText] = useState(() => (Object.keys(values).length ? stringify(values, { lineWidth: 0 }) : ""));
  const found = read(schema, text);
  const said = "error" in found
    ? [`${t("yaml.bad")} ${found.error}`]
    : [...found.unknown.map((name) => t("yaml.unknown", { name })), ...Object.entries(errors).map(([name, message]) => `${name}: ${message}`)];
  return (
    <Stack gap="xs">
      <Textarea autosize minRows={8} maxRows={30} aria-label={t("yaml.label")} value={text} readOnly={!onChange} spellCheck={false}
        classNames={{ input: "code" }} description={onChange && t("yaml.how")} error={said.length ? said.map((one) => <span key={one} className="wrapped">{one}<br /></span>) : undefined}
        onChange={(event) => {
          const written = event.currentTarget.value;
          setText(written);
          const now = read(schema, written);
          if (!("error" in now)) onChange?.(now.values);
        }} />
      {text === "" && <Text size="xs" c="dimmed">{t("yaml.empty")}</Text>}
    </Stack>
  );
}
