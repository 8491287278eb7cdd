import { Anchor, Group, Progress, Stack, Table, Text } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { addressOf, call } from "../api/http";
import { useTask } from "../api/queries";
import type * as t from "../api/schema";
import { go, useRoute } from "../app/router";
import { useWords, type Word } from "../i18n";
import { Mark, type Tone } from "../parts/Mark";
import { Found, Section } from "../parts/Panel";
import { Source } from "../parts/Source";
import { TaskForm } from "../parts/TaskForm";
import { TaskPage, TaskSection } from "../parts/Tasks";
import { Said } from "../parts/Said";
import { bytesOf, numberOf } from "../parts/words";
import { Wide } from "../parts/Wide";
import { Log } from "./monitor/Log";
import { Choices, DRAWN } from "./package/Choices";

const TONES: Record<string, Tone> = { proven: "good", not_proven: "warn", failed: "bad" };

export function Package({ id }: { id: string | null }) {
  const { t } = useWords();
  return (
    <TaskPage kind="package" chosen={id} title={t("package.list")} make={t("package.new")} empty={t("package.none")}>
      {id ? <One key={id} id={id} /> : <New />}
    </TaskPage>
  );
}

function New() {
  const words = useWords();
  const { query } = useRoute();
  const [task, step] = [query.get("task"), query.get("step")];
  const fixed = { task_id: task, checkpoint: step === null ? null : Number(step), model_name_or_path: null } satisfies Partial<t.PackageTaskRequest["spec"]>;
  return (
    <Section title={words.t("package.new")}>
      <Stack gap="sm">
        <Source task={task} step={step} onTask={(id) => go(["package"], id ? { task: id } : {}, true)}
          onStep={(chosen) => go(["package"], { ...(task ? { task } : {}), ...(chosen ? { step: chosen } : {}) }, true)} />
        <TaskForm kind="package" fixed={fixed} first={{ preset: "merge_and_quantize" }} isReady={task !== null} drawn={DRAWN}
          draw={(given) => <Choices {...given} task={task} step={step} />} onDone={(made) => go(["package", made.id])} />
      </Stack>
    </Section>
  );
}

function One({ id }: { id: string }) {
  const words = useWords();
  const asked = useTask(id, true);
  const isDone = asked.data?.state === "completed";
  const files = useQuery({
    queryKey: ["package", id], enabled: isDone,
    queryFn: ({ signal }) => call<t.PackageView>("GET", `/v1/tasks/${id}/package`, { signal }),
  });
  return (
    <Found asked={asked}>
      {(task) => (
        <TaskSection task={task}>
          {!task.ended_at && <Progress value={task.progress.percent} animated aria-label={words.t("monitor.progress")} />}
          {isDone && (
            <Found asked={files}>
              {(found) => (
                <Wide minWidth={560}>
                  <Table verticalSpacing="xs">
                    <Table.Thead><Table.Tr>
                      <Table.Th>{words.t("package.file")}</Table.Th><Table.Th>{words.t("package.type")}</Table.Th><Table.Th>{words.t("checkpoints.size")}</Table.Th>
                      <Table.Th>KL</Table.Th><Table.Th>{words.t("package.proof")}</Table.Th>
                    </Table.Tr></Table.Thead>
                    <Table.Tbody>
                      {found.files.map((file) => (
                        <Table.Tr key={file.name}>
                          <Table.Td>{file.verdict === "failed" ? <span className="wrapped">{file.name}</span>
                            : <Anchor className="wrapped" size="sm" download href={addressOf(`/v1/tasks/${id}/package/files/${encodeURIComponent(file.name)}`)}>{file.name}</Anchor>}</Table.Td>
                          <Table.Td>{file.type}</Table.Td>
                          <Table.Td className="figures">{bytesOf(file.bytes)}</Table.Td>
                          <Table.Td className="figures">{numberOf(file.kl_mean)}</Table.Td>
                          <Table.Td><Mark tone={TONES[file.verdict] ?? "plain"}>{words.t(`verdict.${file.verdict}` as Word)}</Mark>
                            <Text size="xs" c="dimmed" className="wrapped"><Said>{file.sentence[words.language] ?? ""}</Said></Text>
                            <Proof file={file} /></Table.Td>
                        </Table.Tr>
                      ))}
                    </Table.Tbody>
                  </Table>
                  {found.others.length > 0 && (
                    <Group gap="md" mt="sm">{found.others.map((one) => (
                      <Anchor key={one.name} size="sm" className="wrapped" download href={addressOf(`/v1/tasks/${id}/package/files/${encodeURIComponent(one.name)}`)}>{one.name} ({bytesOf(one.bytes)})</Anchor>
                    ))}</Group>
                  )}
                </Wide>
              )}
            </Found>
          )}
          <details className="fold">
            <summary>{words.t("monitor.log")}</summary>
            <Log id={id} live={null} isLive={!task.ended_at} />
          </details>
        </TaskSection>
      )}
    </Found>
  );
}

/** What the proof measured, and where the file's parts are. */
function Proof({ file }: { file: t.PackagedFileView }) {
  const { t: word } = useWords();
  const facts = [
    [word("package.klMost"), numberOf(file.kl_p99)], [word("package.same"), file.top1 === null || file.top1 === undefined ? "–" : `${numberOf(100 * file.top1)} %`],
    [word("monitor.speed"), numberOf(file.tokens_per_second)], [word("package.on"), file.measured_on ?? "–"],
    [word("package.fallbacks"), Object.entries(file.fallbacks).map(([name, count]) => `${name}: ${count}`).join(", ") || "–"], ["SHA-256", file.sha256],
  ];
  return (
    <details><summary><Text span size="xs">{word("package.report")}</Text></summary>
      {facts.map(([name, value]) => <Text key={name} size="xs" className="wrapped">{name}: {value}</Text>)}
    </details>
  );
}
