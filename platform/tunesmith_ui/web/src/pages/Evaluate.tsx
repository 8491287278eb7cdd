import { Alert, Anchor, Group, Progress, Stack, Switch, TagsInput, Text } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { call } from "../api/http";
import { useCheckpoints, useTask } from "../api/queries";
import type * as t from "../api/schema";
import { go, hrefOf, useRoute } from "../app/router";
import { useWords } from "../i18n";
import { Found, Section } from "../parts/Panel";
import { TaskSelect } from "../parts/Source";
import { TaskForm } from "../parts/TaskForm";
import { TaskPage, TaskSection } from "../parts/Tasks";
import { Result } from "./evaluate/Result";
import { Samples } from "./evaluate/Samples";

/** Stands where a task's id does: the editor of samples. */
const SAMPLES = "samples";

export function Evaluate({ id }: { id: string | null }) {
  const { t } = useWords();
  return (
    <TaskPage kind="evaluate" chosen={id} title={t("evaluate.list")} make={t("evaluate.new")} empty={t("evaluate.none")}>
      {id === SAMPLES ? <Samples /> : id ? <One key={id} id={id} /> : <New />}
    </TaskPage>
  );
}

function New() {
  const words = useWords();
  const { query } = useRoute();
  const task = query.get("task");
  const steps = (query.get("step") ?? "all").split(",").filter(Boolean);
  const choose = (id: string | null, chosen: string[]) => go(["evaluate"], { ...(id ? { task: id } : {}), step: chosen.join(",") }, true);
  const [hasBase, setBase] = useState(true);
  const checkpoints = useCheckpoints(task);
  const known = (checkpoints.data?.data ?? []).map((one) => String(one.step));
  const fixed = {
    task_id: task, include_base: hasBase, model_name_or_path: null, checkpoint: null, checkpoints: steps,
  } satisfies Partial<t.EvaluateTaskRequest["spec"]>;
  return (
    <Section title={words.t("evaluate.new")} aside={<Anchor size="sm" href={hrefOf(["evaluate", SAMPLES])}>{words.t("evaluate.editSamples")}</Anchor>}>
      <Stack gap="sm">
        <TaskSelect value={task} onChange={(id) => choose(id, ["all"])} />
        <TagsInput label={words.t("evaluate.checkpoints")} description={words.t("evaluate.checkpointsHelp")} data={["all", "final", ...known]} value={steps} onChange={(chosen) => choose(task, chosen)} />
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
    queryKey: ["evaluation", id], enabled: asked.data !== undefined, refetchInterval: asked.data?.ended_at ? false : 3_000,
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
                  {!task.ended_at && found.candidates.map((one) => (
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
