// The samples of a data set, to add to and take from. An edit is one request, and makes the data set's next version.
import { Button, Group, Select, SimpleGrid, Stack, Table, TagsInput, Text, Textarea, TextInput } from "@mantine/core";
import { useQuery, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { useAct } from "../../api/act";
import { call } from "../../api/http";
import { useDatasets } from "../../api/queries";
import type * as t from "../../api/schema";
import { useWords } from "../../i18n";
import { Changing, useMay } from "../../parts/Changing";
import { useKept } from "../../parts/kept";
import { ErrorNote, Found, Section } from "../../parts/Panel";
import { Said } from "../../parts/Said";
import { Wide } from "../../parts/Wide";

const SHOWN = 200;
const NEW = "";
type Draft = Pick<t.NewSample, "prompt" | "completion"> & { split: "train" | "validation"; keywords: string[] };
const EMPTY: Draft = { prompt: "", completion: "", split: "validation", keywords: [] };

export function Samples() {
  const { t } = useWords();
  const datasets = useDatasets();
  const [chosen, setChosen] = useKept<string>("samples/set", NEW);
  const [fresh, setFresh] = useKept("samples", "");
  const [saved, setSaved] = useState("");
  const known = datasets.data?.data ?? [];
  const name = chosen || fresh.trim();
  return (
    <Section title={t("evaluate.samples")}>
      <Stack gap="sm">
        <Text size="sm" c="dimmed">{t("evaluate.samplesHelp")}</Text>
        <SimpleGrid cols={{ base: 1, sm: 2 }}>
          <Select label={t("evaluate.set")} value={chosen} allowDeselect={false} searchable
            data={[{ value: NEW, label: t("evaluate.setMake") }, ...known.map((one) => ({ value: one.name, label: `${one.name}@${one.latest}` }))]}
            onChange={(value) => setChosen(value ?? NEW)} />
          {chosen === NEW && <TextInput label={t("evaluate.setNew")} value={fresh} onChange={(event) => setFresh(event.currentTarget.value)} />}
        </SimpleGrid>
        {saved && <Text size="sm" role="status">{t("evaluate.saved", { version: saved })}</Text>}
        <Editor key={chosen} name={name} isNew={chosen === NEW} version={known.find((one) => one.name === chosen)?.latest ?? 0} onSaved={(made) => {
          setSaved(made.version);
          setChosen(made.dataset.name);
          setFresh("");
        }} />
      </Stack>
    </Section>
  );
}

type Given = { name: string; isNew: boolean; version: number; onSaved: (made: t.SamplesEdited) => void };

function Editor({ name, isNew, version, onSaved }: Given) {
  const { t: word, language } = useWords();
  const queries = useQueryClient();
  const [added, setAdded] = useKept<t.NewSample[]>(`samples/${isNew ? "" : name}/added`, []);
  const [removed, setRemoved] = useKept<string[]>(`samples/${isNew ? "" : name}/removed`, []);
  const may = useMay(); // a file's rows are read for who may use them
  const asked = useQuery({
    queryKey: ["samples", name, version], enabled: !isNew && may, retry: false,
    queryFn: ({ signal }) => call<t.SampleCheck>("POST", "/v1/evaluations/samples:check", { body: { file: `${name}@${version}`, first: SHOWN }, signal }),
  });
  const ours = useAct({
    mutationFn: () => call<Record<"train" | "validation", t.NewSample[]>>("GET", "/v1/evaluations/samples", { query: { language } }),
    onSuccess: (found) => setAdded([
      ...found.validation.map((one) => ({ ...one, split: "validation" as const })), ...found.train.map((one) => ({ ...one, split: "train" as const })),
    ]),
  });
  // The version that was looked at goes with the edit: what somebody else saved meanwhile is not overwritten.
  const save = useAct({
    mutationFn: () => call<t.SamplesEdited>("POST", "/v1/evaluations/samples:edit", { body: { dataset: name, add: added, remove: removed, if_version: version } }),
    onSuccess: async (made) => {
      setAdded([]);
      setRemoved([]);
      await queries.invalidateQueries({ queryKey: ["datasets"] });
      onSaved(made);
    },
    onError: () => queries.invalidateQueries({ queryKey: ["datasets"] }),
  });
  return (
    <Stack gap="sm">
      <Add onAdd={(sample) => setAdded((known) => [...known, sample])} />
      {isNew && added.length === 0 && <Group><Button variant="default" size="compact-sm" loading={ours.isPending} onClick={() => ours.mutate()}>{word("evaluate.ours")}</Button></Group>}
      {(added.length > 0 || removed.length > 0) && (
        <Group gap="sm">
          <Changing><Button disabled={!name} loading={save.isPending} onClick={() => save.mutate()}>{word("save")}</Button></Changing>
          <Text size="sm">{word("evaluate.edits", { added: added.length, removed: removed.length })}</Text>
        </Group>
      )}
      {(save.error ?? ours.error) && <ErrorNote error={(save.error ?? ours.error)!} />}
      <Rows rows={added.map((one, i) => ({
        key: `new ${i}`, split: one.split ?? "validation", prompt: one.prompt ?? one.messages?.at(-2)?.content ?? "", reference: one.completion ?? one.messages?.at(-1)?.content ?? "",
        isOut: false, act: () => setAdded((known) => known.filter((_, at) => at !== i)),
      }))} />
      {!isNew && !may && <Text size="sm" c="dimmed">{word("check.notMay")}</Text>}
      {!isNew && may && (
        <Found asked={asked}>
          {(found) => (
            <Stack gap="xs">
              <Text size="sm">{word("evaluate.counts", { validation: found.counts.validation ?? 0, train: found.counts.train ?? 0 })}</Text>
              {found.problems.map((one) => <Text key={`${one.field} ${one.message}`} size="sm" c="var(--mantine-color-error)" className="wrapped">{one.field}: <Said>{`${one.message} ${one.hint ?? ""}`}</Said></Text>)}
              <Rows rows={found.samples.map((one) => ({
                key: one.id, split: one.split, prompt: one.turns.at(-1)?.content ?? "", reference: one.reference, isOut: removed.includes(one.id),
                act: () => setRemoved((known) => (known.includes(one.id) ? known.filter((id) => id !== one.id) : [...known, one.id])),
              }))} />
              {found.more > 0 && <Text size="sm" c="dimmed">{word("evaluate.moreSamples", { count: found.more })}</Text>}
            </Stack>
          )}
        </Found>
      )}
    </Stack>
  );
}

type Row = { key: string; split: string; prompt: string; reference: string; isOut: boolean; act: () => void };

function Rows({ rows }: { rows: Row[] }) {
  const { t } = useWords();
  if (rows.length === 0) return null;
  return (
    <Wide minWidth={620}>
      <Table verticalSpacing={4}>
        <Table.Thead><Table.Tr><Table.Th>{t("evaluate.question")}</Table.Th><Table.Th>{t("evaluate.expected")}</Table.Th><Table.Th>{t("evaluate.split")}</Table.Th><Table.Th /></Table.Tr></Table.Thead>
        <Table.Tbody>
          {rows.map((row) => (
            <Table.Tr key={row.key} className={row.isOut ? "struck" : undefined}>
              <Table.Td className="wrapped">{row.prompt}</Table.Td><Table.Td className="wrapped">{row.reference}</Table.Td>
              <Table.Td>{t(row.split === "train" ? "evaluate.train" : "evaluate.validation")}</Table.Td>
              <Table.Td className="nowrap"><Button size="compact-xs" variant="subtle" color={row.isOut ? "gray" : "red"} onClick={row.act}>{t(row.isOut ? "evaluate.keep" : "evaluate.remove")}</Button></Table.Td>
            </Table.Tr>
          ))}
        </Table.Tbody>
      </Table>
    </Wide>
  );
}

function Add({ onAdd }: { onAdd: (sample: t.NewSample) => void }) {
  const { t: word } = useWords();
  const [draft, setDraft] = useKept<Draft>("samples/draft", EMPTY);
  const isWhole = Boolean(draft.prompt?.trim() && draft.completion?.trim());
  return (
    <form onSubmit={(event) => {
      event.preventDefault();
      onAdd({ split: draft.split, prompt: draft.prompt!, completion: draft.completion!, ...(draft.keywords.length ? { keywords: draft.keywords } : {}) });
      setDraft({ ...EMPTY, split: draft.split });
    }}>
      <SimpleGrid cols={{ base: 1, sm: 2 }}>
        <Textarea label={word("evaluate.question")} autosize minRows={2} maxRows={8} value={draft.prompt ?? ""} onChange={(event) => setDraft({ ...draft, prompt: event.currentTarget.value })} />
        <Textarea label={word("evaluate.expected")} autosize minRows={2} maxRows={8} value={draft.completion ?? ""} onChange={(event) => setDraft({ ...draft, completion: event.currentTarget.value })} />
        <TagsInput label={word("evaluate.keywords")} value={draft.keywords} onChange={(keywords) => setDraft({ ...draft, keywords })} />
        <Select label={word("evaluate.split")} allowDeselect={false} value={draft.split} onChange={(split) => setDraft({ ...draft, split: split === "train" ? "train" : "validation" })}
          data={[{ value: "validation", label: word("evaluate.validation") }, { value: "train", label: word("evaluate.train") }]} />
      </SimpleGrid>
      <Changing><Button mt="sm" type="submit" variant="default" disabled={!isWhole}>{word("evaluate.add")}</Button></Changing>
    </form>
  );
}
