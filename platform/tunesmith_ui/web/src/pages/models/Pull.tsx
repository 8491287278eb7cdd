// Models on their way from a hub: tasks of the platform, so a page that leaves changes nothing.
import { ActionIcon, Button, Group, Progress, SimpleGrid, Stack, Text } from "@mantine/core";
import { useQueryClient } from "@tanstack/react-query";
import { useEffect, useState } from "react";
import { useAct } from "../../api/act";
import { call } from "../../api/http";
import { useTask } from "../../api/queries";
import { hrefOf } from "../../app/router";
import { useWorkspace, type TaskLine } from "../../app/workspace";
import { useWords } from "../../i18n";
import { Changing } from "../../parts/Changing";
import { Field } from "../../parts/Field";
import { isChanged, valueOf } from "../../parts/form";
import { Icon } from "../../parts/icons";
import { ErrorNote } from "../../parts/Panel";
import { Said } from "../../parts/Said";
import { StateBadge } from "../../parts/State";
import { TaskForm } from "../../parts/TaskForm";
import { bytesOf, secondsOf } from "../../parts/words";

const DRAWN = ["repo_id", "revision"] as const;

/** Asks for a model of a hub. */
export function Pull({ wanted }: { wanted: string }) {
  const { t } = useWords();
  const [made, setMade] = useState(0);
  return (
    <TaskForm key={made} kind="pull" fixed={{}} first={wanted && !made ? { repo_id: wanted } : {}} isReady label={t("models.begin")} icon="download"
      onDone={() => setMade((known) => known + 1)} drawn={DRAWN} draw={({ schema, values, errors, set, reset }) => (
        <SimpleGrid cols={{ base: 1, sm: 2 }}>
          {DRAWN.map((name) => (
            <Field key={name} name={name} property={schema.properties[name]!} value={valueOf(schema, values, name)} error={errors[name]}
              isChanged={isChanged(schema, values, name)} onChange={(value) => set(name, value)} onReset={() => reset(name)} />
          ))}
        </SimpleGrid>
      )} />
  );
}

/** Pulls that wait or run, and those that failed until somebody has taken note. */
export function OnTheirWay() {
  const queries = useQueryClient();
  const { tasks } = useWorkspace();
  const pulls = tasks.filter((task) => task.kind === "pull");
  const done = pulls.filter((task) => task.state === "completed").length;
  useEffect(() => {
    void queries.invalidateQueries({ queryKey: ["models"] }); // one more is there
  }, [done, queries]);
  const shown = pulls.filter((task) => task.state !== "completed" && task.state !== "stopped");
  return shown.length === 0 ? null : <Stack gap="xs">{shown.map((task) => <One key={task.id} task={task} />)}</Stack>;
}

function One({ task }: { task: TaskLine }) {
  const { t } = useWords();
  const asked = useTask(task.id, task.state !== "failed");
  const { percent, seconds_left } = task.progress;
  const stop = useAct({ mutationFn: () => call("POST", `/v1/tasks/${task.id}:stop`) });
  const forget = useAct({ mutationFn: () => call("DELETE", `/v1/tasks/${task.id}`) });
  const isFailed = task.state === "failed";
  const hasBegun = percent > 0;
  const spec = asked.data?.spec;
  const name = [spec?.["repo_id"] ?? task.name, spec?.["revision"]].filter(Boolean).join(" @ ");
  const total = asked.data?.activity?.total;
  return (
    <div className="tile">
      <Stack gap={6}>
        <Group justify="space-between" wrap="nowrap" gap="xs">
          <a className="row-link fill wrapped" href={hrefOf(["monitor", task.id])}>{name}</a>
          <StateBadge state={task.state} />
          {isFailed
            ? <Changing><ActionIcon variant="subtle" color="gray" aria-label={`${t("models.noted")}: ${name}`} loading={forget.isPending} onClick={() => forget.mutate()}><Icon name="cross" size={15} /></ActionIcon></Changing>
            : <Changing><Button size="compact-sm" variant="default" aria-label={`${t("cancel")}: ${name}`} loading={stop.isPending} disabled={task.state === "stopping"} onClick={() => stop.mutate()}>{t("cancel")}</Button></Changing>}
        </Group>
        {!isFailed && <Progress value={hasBegun ? percent : 100} color={hasBegun ? "indigo" : "gray"} animated={task.state === "running"} aria-label={name} />}
        {!isFailed && (
          <Text size="xs" c="dimmed" className="wrapped">
            {!hasBegun ? t(task.state === "pending" ? "models.waits" : "models.asking") : total ? t("models.share", { share: Math.floor(percent), size: bytesOf(total) }) : `${Math.floor(percent)} %`}{seconds_left ? ` · ${t("models.left", { time: secondsOf(seconds_left) })}` : ""}
          </Text>
        )}
        {isFailed && asked.data?.message && <Text size="sm" c="var(--mantine-color-error)" className="wrapped"><Said>{asked.data.message}</Said></Text>}
        {(stop.error ?? forget.error) && <ErrorNote error={(stop.error ?? forget.error)!} />}
      </Stack>
    </div>
  );
}
