import { Alert, Anchor, Button, Group, Progress, Stack, Switch, Table, TagsInput, Text } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { addressOf, call } from "../api/http";
import { useCheckpoints, useTask } from "../api/queries";
import type * as t from "../api/schema";
import { go, useRoute } from "../app/router";
import { useWords } from "../i18n";
import { Icon } from "../parts/icons";
import { Mark } from "../parts/Mark";
import { Found, Section } from "../parts/Panel";
import { TaskSelect } from "../parts/Source";
import { TaskForm } from "../parts/TaskForm";
import { TaskPage, TaskSection } from "../parts/Tasks";
import { numberOf } from "../parts/words";

export function Evaluate({ id }: { id: string | null }) {
  const { t } = useWords();
  return (
    <TaskPage kind="evaluate" chosen={id} title={t("evaluate.list")} make={t("evaluate.new")} empty={t("evaluate.none")}>
      {id ? <One key={id} id={id} /> : <New />}
    </TaskPage>
  );
}

function New() {
  const words = useWords();
  const { query } = useRoute();
  const [task, setTask] = useState<string | null>(query.get("task"));
  const [steps, setSteps] = useState<string[]>(query.get("step") ? [query.get("step")!] : ["all"]);
  const [hasBase, setBase] = useState(true);
  const checkpoints = useCheckpoints(task);
  const known = (checkpoints.data?.data ?? []).map((one) => String(one.step));
  const fixed = {
    task_id: task, include_base: hasBase, model_name_or_path: null, checkpoint: null,
    checkpoints: steps.map((one) => (/^\d+$/.test(one) ? Number(one) : one)),
  };
  return (
    <Section title={words.t("evaluate.new")}>
      <Stack gap="sm">
        <TaskSelect value={task} onChange={setTask} />
        <TagsInput label={words.t("evaluate.checkpoints")} description={words.t("evaluate.checkpointsHelp")} data={["all", "final", ...known]} value={steps} onChange={setSteps} />
        <Switch label={words.t("evaluate.base")} checked={hasBase} onChange={(event) => setBase(event.currentTarget.checked)} />
        <TaskForm kind="evaluate" fixed={fixed} isReady={task !== null && steps.length > 0} onDone={(made) => go(["evaluate", made.id])} />
      </Stack>
    </Section>
  );
}

function One({ id }: { id: string }) {
  const words = useWords();
  const asked = useTask(id, true);
  const view = useQuery({
    queryKey: ["evaluation", id], refetchInterval: asked.data?.ended_at ? false : 3_000,
    queryFn: ({ signal }) => call<t.EvaluationView>("GET", `/v1/tasks/${id}/evaluation`, { signal }),
  });
  return (
    <Found asked={asked}>
      {(task) => (
        <Stack>
          <TaskSection task={task}>
            <Found asked={view}>
              {(found) => (
                <Stack gap="xs">
                  {found.candidates.map((one) => (
                    <div key={one.candidate}>
                      <Group justify="space-between"><Text size="sm" className="wrapped">{one.label}</Text><Text size="sm" className="figures">{one.answered} / {one.total}</Text></Group>
                      <Progress value={one.total ? (100 * one.answered) / one.total : 0} aria-label={one.label} />
                    </div>
                  ))}
                  {found.is_partial && <Alert color="orange" p="xs">{words.t("evaluate.partial")}</Alert>}
                </Stack>
              )}
            </Found>
          </TaskSection>
          {view.data?.uri && <Result id={id} />}
        </Stack>
      )}
    </Found>
  );
}

function Result({ id }: { id: string }) {
  const words = useWords();
  const asked = useQuery({
    queryKey: ["evaluation-result", id], staleTime: Infinity,
    queryFn: ({ signal }) => call<t.EvaluationResult>("GET", `/v1/tasks/${id}/evaluation/result`, { signal }),
  });
  return (
    <Found asked={asked}>
      {(found) => {
        const compared = found.comparison;
        const scores = [...new Set(found.candidates.flatMap((one) => Object.keys(one.means)))].sort();
        const sentence = compared?.sentence;
        return (
          <>
            <Section title={words.t("evaluate.scores")} aside={<Group gap="sm">
              <Anchor size="sm" href={addressOf(`/v1/tasks/${id}/evaluation/report`, { language: words.language })} target="_blank" rel="noopener">{words.t("evaluate.report")}</Anchor>
              <Anchor size="sm" href={addressOf(`/v1/tasks/${id}/evaluation/scores.csv`)} download>CSV</Anchor>
            </Group>}>
              <Stack gap="sm">
                {sentence && <Alert icon={<Icon name="star" />} variant="light" className="wrapped">{words.pick(sentence.en, sentence.zh)}</Alert>}
                <Table.ScrollContainer minWidth={520}>
                  <Table verticalSpacing="xs">
                    <Table.Thead><Table.Tr>
                      <Table.Th>{words.t("evaluate.candidate")}</Table.Th>
                      {compared && <Table.Th>{compared.score} (95 %)</Table.Th>}
                      {scores.filter((name) => name !== compared?.score).map((name) => <Table.Th key={name}>{name}</Table.Th>)}
                    </Table.Tr></Table.Thead>
                    <Table.Tbody>
                      {found.candidates.map((one) => {
                        const estimate = compared?.estimates[one.candidate.key];
                        return (
                          <Table.Tr key={one.candidate.key}>
                            <Table.Td><span className="wrapped">{one.candidate.label}</span> {compared?.recommended === one.candidate.key && <Mark tone="best">{words.t("checkpoints.recommended")}</Mark>}</Table.Td>
                            {compared && <Table.Td className="figures">{estimate ? `${numberOf(estimate.mean)} (${numberOf(estimate.low)} – ${numberOf(estimate.high)})` : "–"}</Table.Td>}
                            {scores.filter((name) => name !== compared?.score).map((name) => <Table.Td key={name} className="figures">{numberOf(one.means[name])}</Table.Td>)}
                          </Table.Tr>
                        );
                      })}
                    </Table.Tbody>
                  </Table>
                </Table.ScrollContainer>
                {found.warnings.map((one) => <Text key={one.en} size="xs" c="dimmed" className="wrapped">{words.pick(one.en, one.zh)}</Text>)}
              </Stack>
            </Section>
            <Section title={words.t("evaluate.answers")}><Answers found={found} /></Section>
          </>
        );
      }}
    </Found>
  );
}

/** Answers side by side, as text. */
function Answers({ found }: { found: t.EvaluationResult }) {
  const words = useWords();
  const [count, setCount] = useState(10);
  return (
    <Stack gap="sm">
      {found.samples.slice(0, count).map((sample) => (
        <details key={sample.id} className="fold">
          <summary className="wrapped">{sample.turns.at(-1)?.content.slice(0, 160)}</summary>
          <Stack gap="xs">
            <div><Text size="xs" c="dimmed">{words.t("evaluate.expected")}</Text><Text size="sm" className="wrapped">{sample.reference}</Text></div>
            {found.candidates.map((one) => (
              <div key={one.candidate.key}>
                <Text size="xs" c="dimmed" className="wrapped">{one.candidate.label}</Text>
                <Text size="sm" className="wrapped">{one.answers.find((answer) => answer.sample_id === sample.id)?.text ?? "–"}</Text>
              </div>
            ))}
          </Stack>
        </details>
      ))}
      {count < found.samples.length && <Group><Button variant="default" onClick={() => setCount(count + 20)}>{words.t("more")}</Button></Group>}
    </Stack>
  );
}
