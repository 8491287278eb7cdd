// What an evaluation found: which candidate to take, by which figures, and what each answered.
import { Alert, Anchor, Group, Select, SimpleGrid, Stack, Table, Text } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { addressOf, call } from "../../api/http";
import type * as t from "../../api/schema";
import { useWords } from "../../i18n";
import { Icon } from "../../parts/icons";
import { Mark } from "../../parts/Mark";
import { ErrorNote, Found, Section } from "../../parts/Panel";
import { Said } from "../../parts/Said";
import { numberOf } from "../../parts/words";
import { Wide } from "../../parts/Wide";
import { Answers } from "./Answers";
import { Others } from "./Others";
import { Bars, colourOf, Radar } from "./Plots";
import { namesOf, radarScores } from "./scores";

const MOST_RINGS = 6;

export function Result({ id }: { id: string }) {
  const asked = useQuery({
    queryKey: ["evaluation-result", id], staleTime: Infinity,
    queryFn: ({ signal }) => call<t.EvaluationResult>("GET", `/v1/tasks/${id}/evaluation/result`, { signal }),
  });
  const scores = useQuery({
    queryKey: ["evaluation-scores"], staleTime: Infinity,
    queryFn: ({ signal }) => call<t.Page_ScoreView_>("GET", "/v1/evaluations/scores", { signal }),
  });
  return <Found asked={asked}>{(found) => <Whole id={id} found={found} known={scores.data?.data ?? []} />}</Found>;
}

function Whole({ id, found, known }: { id: string; found: t.EvaluationResult; known: t.ScoreView[] }) {
  const words = useWords();
  const own = found.comparison?.score ?? "composite";
  const [score, setScore] = useState(own);
  // By another score the server compares once more, intervals and all; nothing of it is kept.
  const other = useQuery({
    queryKey: ["evaluation-recomputed", id, score], enabled: score !== own, staleTime: Infinity, retry: false,
    queryFn: ({ signal }) => call<t.EvaluationResult>("POST", `/v1/tasks/${id}/evaluation:recompute`, { body: { score }, signal }),
  });
  const compared = score === own ? found.comparison : other.data?.comparison;
  const names = namesOf(found);
  const info = (name: string) => known.find((one) => one.name === name);
  const label = (name: string) => {
    const about = info(name);
    return about ? words.pick(about.label.en, about.label.zh) : name;
  };
  const answered = names.filter((name) => found.candidates.some((one) => one.answers.some((answer) => answer.scores[name] !== undefined)));
  return (
    <>
      <Section title={words.t("evaluate.scores")} aside={<Group gap="sm">
        <Anchor size="sm" href={addressOf(`/v1/tasks/${id}/evaluation/report`, { language: words.language })} target="_blank" rel="noopener">{words.t("evaluate.report")}</Anchor>
        <Anchor size="sm" href={addressOf(`/v1/tasks/${id}/evaluation/candidates.csv`)} download>{words.t("evaluate.scoresCsv")}</Anchor>
        <Anchor size="sm" href={addressOf(`/v1/tasks/${id}/evaluation/answers.csv`)} download>{words.t("evaluate.answersCsv")}</Anchor>
      </Group>}>
        <Stack gap="md">
          {answered.length > 1 && (
            <Select maw={520} label={words.t("evaluate.by")} description={about(words, info(score))} value={score} allowDeselect={false}
              data={[...new Set([own, ...answered])].map((name) => ({ value: name, label: label(name) }))} onChange={(value) => value && setScore(value)} />
          )}
          {other.error && score !== own && <ErrorNote error={other.error} onAgain={() => void other.refetch()} />}
          {compared?.sentence && <Alert icon={<Icon name="star" />} variant="light" className="wrapped"><Said>{words.pick(compared.sentence.en, compared.sentence.zh)}</Said></Alert>}
          <Scores found={found} compared={compared ?? null} score={score} names={names} label={label} recommended={compared?.recommended ?? null} />
          <Charts found={found} compared={compared ?? null} known={known} label={label} score={score} />
          {found.warnings.map((one) => <Text key={one.en} size="xs" c="dimmed" className="wrapped"><Said>{words.pick(one.en, one.zh)}</Said></Text>)}
        </Stack>
      </Section>
      <Section title={words.t("evaluate.answers")}>
        <Answers found={found} score={answered.includes(score) ? score : (answered[0] ?? score)} label={label} />
      </Section>
      <Section title={words.t("evaluate.others")}><Others id={id} mark={found.comparable_by} /></Section>
    </>
  );
}

function about(words: ReturnType<typeof useWords>, known: t.ScoreView | undefined): string {
  if (!known) return "";
  const text = words.pick(known.about.en, known.about.zh);
  return known.better === "lower" ? `${text} ${words.t("evaluate.lower")}` : text;
}

type Shown = { found: t.EvaluationResult; compared: t.tunesmith__evaluation__results__Comparison | null; score: string; label: (name: string) => string };

function Scores({ found, compared, score, names, label, recommended }: Shown & { names: string[]; recommended: string | null }) {
  const { t: word } = useWords();
  const rest = names.filter((name) => name !== score);
  return (
    <Wide minWidth={640}>
      <Table verticalSpacing="xs">
        <Table.Thead><Table.Tr>
          <Table.Th>{word("evaluate.candidate")}</Table.Th>
          <Table.Th>{label(score)} (95 %)</Table.Th>
          {rest.map((name) => <Table.Th key={name}>{label(name)}</Table.Th>)}
        </Table.Tr></Table.Thead>
        <Table.Tbody>
          {found.candidates.map((one) => {
            const estimate = compared?.estimates[one.candidate.key];
            return (
              <Table.Tr key={one.candidate.key}>
                <Table.Th scope="row" className="named">{one.candidate.label} {recommended === one.candidate.key && <Mark tone="best">{word("checkpoints.recommended")}</Mark>}</Table.Th>
                <Table.Td className="figures">{estimate ? `${numberOf(estimate.mean)} (${numberOf(estimate.low)} – ${numberOf(estimate.high)})` : numberOf(one.means[score])}</Table.Td>
                {rest.map((name) => <Table.Td key={name} className="figures">{numberOf(one.means[name])}</Table.Td>)}
              </Table.Tr>
            );
          })}
        </Table.Tbody>
      </Table>
    </Wide>
  );
}

function Charts({ found, compared, known, label, score }: Shown & { known: t.ScoreView[] }) {
  const { t: word } = useWords();
  const bars = found.candidates.flatMap(({ candidate }, i) => {
    const estimate = compared?.estimates[candidate.key];
    return estimate ? [{ key: candidate.key, label: candidate.label, colour: colourOf(i), ...estimate }] : [];
  });
  const axes = radarScores(found, known);
  const rings = found.candidates.map(({ candidate, means }, i) => ({
    key: candidate.key, label: candidate.label, colour: colourOf(i), values: axes.map((name) => means[name]),
  }));
  const isLower = known.find((one) => one.name === score)?.better === "lower";
  return (
    <SimpleGrid cols={{ base: 1, md: axes.length > 2 ? 2 : 1 }}>
      {bars.length > 0 && <Bars title={label(score)} bars={bars} better={word(isLower ? "evaluate.intervalsLower" : "evaluate.intervals")} />}
      {axes.length > 2 && <Radar title={word("evaluate.radar")} axes={axes.map(label)} rings={rings.slice(0, MOST_RINGS)} />}
    </SimpleGrid>
  );
}
