// All parameters, in the areas and folds that the schema names; a search shows what it finds, wherever it is.
import { Accordion, Badge, Button, Group, SimpleGrid, Stack, Switch, Text, TextInput } from "@mantine/core";
import { useState, type ReactNode } from "react";
import type { FormSchema } from "../../api/queries";
import { useWords } from "../../i18n";
import { Field } from "../../parts/Field";
import { isChanged, isFound, isShown, valueOf, type Values } from "../../parts/form";
import { Icon } from "../../parts/icons";
import { Beside, useLinear } from "./Beside";

type Props = {
  schema: FormSchema; values: Values; errors: Record<string, string>; offered: { model: string[]; data: string[] };
  set: (name: string, value: unknown) => void; reset: (name: string) => void;
  /** Parameters that the page draws elsewhere. */
  hidden?: readonly string[];
};

export function Parameters({ schema, values, errors, offered, set, reset, hidden = [] }: Props) {
  const { t, pick } = useWords();
  const [text, setText] = useState("");
  const [isChangedOnly, setChangedOnly] = useState(false);
  const [open, setOpen] = useState<string[]>(["basic", "data"]);
  const names = Object.keys(schema.properties).filter((name) => !hidden.includes(name) && isShown(schema, values, name));
  const targets = ["all-linear", "auto", ...useLinear(values)];
  const isSearched = text.trim() !== "" || isChangedOnly;
  const found = names.filter((name) =>
    (!text.trim() || isFound(name, schema.properties[name]!, text)) && (!isChangedOnly || isChanged(schema, values, name)));
  const field = (name: string) => {
    const property = schema.properties[name]!;
    const { path, help_en } = property.tunesmith;
    // What names a file may be chosen by the name of a data set, or of a model where it says that it may be one.
    const choices = path === "unless_name" ? offered.data : path === "if_exists" && /model/i.test(help_en) ? offered.model
      : name === "target_modules" ? targets : undefined;
    return (
      <Field key={name} name={name} property={property} value={valueOf(schema, values, name)} isChanged={isChanged(schema, values, name)}
        error={errors[name]} {...(choices ? { offered: choices } : {})}
        beside={<Beside name={name} schema={schema} values={values} set={set} />} onChange={(value) => set(name, value)} onReset={() => reset(name)} />
    );
  };
  const grid = (list: string[]) => <SimpleGrid cols={{ base: 1, sm: 2 }} spacing="md" verticalSpacing="md">{list.map(field)}</SimpleGrid>;
  return (
    <Stack gap="sm">
      <Group>
        <TextInput className="fill" aria-label={t("form.search")} placeholder={t("form.search")} leftSection={<Icon name="search" size={14} />}
          value={text} onChange={(event) => setText(event.currentTarget.value)} />
        <Switch label={t("form.changedOnly")} checked={isChangedOnly} onChange={(event) => setChangedOnly(event.currentTarget.checked)} />
        {isSearched && <Button variant="subtle" size="compact-sm" onClick={() => {
          setText("");
          setChangedOnly(false);
        }}>{t("form.clear")}</Button>}
      </Group>
      {isSearched ? (found.length ? grid(found) : <Text size="sm" c="dimmed">{t("form.none")}</Text>) : (
        <Accordion multiple variant="separated" value={open} onChange={setOpen}>
          {schema.groups.map((group) => {
            const own = names.filter((name) => schema.properties[name]!.tunesmith.group === group.name);
            if (!own.length) return null;
            const changed = own.filter((name) => isChanged(schema, values, name)).length;
            const wrong = own.filter((name) => errors[name]).length;
            return (
              <Accordion.Item key={group.name} value={group.name}>
                <Accordion.Control>
                  <Group gap="xs">
                    <Text fw={600}>{pick(group.label_en, group.label_zh)}</Text>
                    {changed > 0 && <Badge size="sm" variant="light">{t("form.changed", { count: changed })}</Badge>}
                    {wrong > 0 && <Badge size="sm" color="red">{t("form.wrong", { count: wrong })}</Badge>}
                  </Group>
                </Accordion.Control>
                <Accordion.Panel>
                  {open.includes(group.name) && (
                    <Stack>
                      {schema.folds.map((fold) => {
                        const inner = own.filter((name) => schema.properties[name]!.tunesmith.fold === fold.name);
                        if (!inner.length) return null;
                        if (fold.name === "none") return <div key={fold.name}>{grid(inner)}</div>;
                        const isOpen = inner.some((name) => errors[name]);
                        return (
                          <Fold key={fold.name} title={`${pick(fold.label_en, fold.label_zh)} (${inner.length})`} isOpen={isOpen}>{() => grid(inner)}</Fold>
                        );
                      })}
                    </Stack>
                  )}
                </Accordion.Panel>
              </Accordion.Item>
            );
          })}
        </Accordion>
      )}
    </Stack>
  );
}

/** What is folded is made when it is first opened: most of it never is, and all of it would keep the page waiting. */
function Fold({ title, isOpen, children }: { title: string; isOpen: boolean; children: () => ReactNode }) {
  const [isMade, setMade] = useState(isOpen);
  return (
    <details className="fold" open={isOpen || undefined} onToggle={(event) => event.currentTarget.open && setMade(true)}>
      <summary>{title}</summary>
      {(isMade || isOpen) && children()}
    </details>
  );
}
