import { Badge, Button, Group, Menu, Modal, Progress, Select, SimpleGrid, Stack, Text, Tooltip } from "@mantine/core";
import { useDisclosure } from "@mantine/hooks";
import { useQueryClient } from "@tanstack/react-query";
import { useCallback, useEffect, useRef, useState } from "react";
import { useAct } from "../api/act";
import type { Streamed } from "../api/events";
import { call } from "../api/http";
import { useStream } from "../api/live";
import { useTask } from "../api/queries";
import type { EventView, TaskView } from "../api/schema";
import { go, goOn, hrefOf } from "../app/router";
import { useWorkspace } from "../app/workspace";
import { useWords, type Word } from "../i18n";
import { Changing } from "../parts/Changing";
import { inStudio } from "../parts/hints";
import { Icon } from "../parts/icons";
import type { Point } from "../parts/lines";
import { Empty, ErrorNote, Found, Section } from "../parts/Panel";
import { Said } from "../parts/Said";
import { StateBadge } from "../parts/State";
import { numberOf, secondsOf, timeOf } from "../parts/words";
import { Autopsy } from "./monitor/Autopsy";
import { Checkpoints } from "./monitor/Checkpoints";
import { Curves } from "./monitor/Curves";
import { Log, type LogLine } from "./monitor/Log";

const KINDS = [
  "metrics", "progress", "log", "checkpoint", "checkpoint_removed", "state", "warning", "training_started", "phase",
  "finished", "samples",
] as const;
const ENDED = new Set(["completed", "failed", "stopped"]);
const MAX_LINES = 5000;
/** Of one series, as they came: five minutes at two a second. What is older the server's curves hold, asked for every ten seconds. */
const MAX_POINTS = 600;

export type Live = { points: Record<string, Point[]>; lines: LogLine[]; progress: Partial<TaskView["progress"]>; warnings: string[] };

export function Monitor({ id }: { id: string | null }) {
  const { t } = useWords();
  const { tasks, isKnown } = useWorkspace();
  const trainings = tasks.filter((task) => task.kind === "train");
  const first = (trainings.find((task) => task.state === "running") ?? trainings[0])?.id;
  useEffect(() => {
    if (id === null && first) goOn("monitor", ["monitor", first]);
  }, [id, first]);
  const options = tasks
    .filter((task) => task.kind === "train" || task.id === id)
    .map((task) => ({ value: task.id, label: `${task.name} · ${t(`state.${task.state}` as Word)}` }));
  return (
    <Stack gap="md">
      <Group align="end" justify="space-between">
        <Select label={t("monitor.task")} data={options} value={id} searchable w={460} maw="100%" className="grow"
          nothingFoundMessage={t("monitor.noTask")} placeholder={t("monitor.choose")}
          onChange={(value) => value && go(["monitor", value])} />
      </Group>
      {id === null && isKnown && trainings.length === 0 && (
        <Section><Empty action={<Button component="a" href={hrefOf(["prepare"])} leftSection={<Icon name="slider" />}>{t("monitor.prepare")}</Button>}>
          {t("monitor.empty")}
        </Empty></Section>
      )}
      {id !== null && <Task key={id} id={id} />}
    </Stack>
  );
}

function Task({ id }: { id: string }) {
  const { tasks } = useWorkspace();
  const line = tasks.find((task) => task.id === id);
  const isOver = ENDED.has(line?.state ?? "");
  const asked = useTask(id, !isOver);
  return <Found asked={asked}>{(task) => <Shown task={task} />}</Found>;
}

/** What has come of a running task since the page asked for it, twice a second at the most. */
function useLive(task: TaskView): Live {
  const queries = useQueryClient();
  const [live, setLive] = useState<Live>({ points: {}, lines: [], progress: {}, warnings: [] });
  const held = useRef<Live>(live);
  const timer = useRef<ReturnType<typeof setTimeout> | undefined>(undefined);
  useEffect(() => () => clearTimeout(timer.current), []);
  const hear = useCallback((event: Streamed) => {
    const { n, time, payload } = JSON.parse(event.data) as EventView;
    const known = held.current;
    switch (payload.kind) {
      case "metrics": {
        const points = { ...known.points };
        for (const [name, value] of Object.entries(payload.values)) {
          points[name] = [...(points[name] ?? []), { step: payload.step, value }].slice(-MAX_POINTS);
        }
        const { loss, tokens_per_second } = payload.values;
        const more = { ...(loss === undefined ? {} : { loss }), ...(tokens_per_second === undefined ? {} : { tokens_per_second }) };
        held.current = { ...known, points, progress: { ...known.progress, ...more, step: payload.step } };
        break;
      }
      case "progress":
        held.current = {
          ...known,
          progress: {
            ...known.progress, step: payload.step, total_steps: payload.total_steps, epoch: payload.epoch,
            seconds_left: payload.seconds_left ?? null,
            percent: payload.total_steps ? (100 * payload.step) / payload.total_steps : 0,
          },
        };
        break;
      case "log":
        held.current = {
          ...known,
          lines: [...known.lines, { n, time, level: payload.level, source: payload.source, message: payload.message }].slice(-MAX_LINES),
        };
        break;
      case "warning":
        held.current = { ...known, warnings: [...known.warnings, payload.message] };
        break;
      case "checkpoint":
      case "checkpoint_removed":
        void queries.invalidateQueries({ queryKey: ["checkpoints", task.id] });
        break;
      default:
        void queries.invalidateQueries({ queryKey: ["task", task.id] });
    }
    timer.current ??= setTimeout(() => {
      timer.current = undefined;
      setLive(held.current);
    }, 500);
  }, [queries, task.id]);
  // A task that is over has nothing to say any more.
  const start = useRef(task.events);
  useStream(ENDED.has(task.state) ? null : `/v1/tasks/${task.id}/stream`, KINDS, start.current, hear);
  return live;
}

function Shown({ task }: { task: TaskView }) {
  const { t, language } = useWords();
  const live = useLive(task);
  const isOver = ENDED.has(task.state);
  const progress = isOver ? task.progress : { ...task.progress, ...live.progress };
  const rate = live.points["learning_rate"]?.at(-1)?.value;
  const percent = Math.min(100, progress.percent ?? 0);
  return (
    <Stack gap="md">
      <Section title={<span className="wrapped">{task.name}</span>} aside={<Actions task={task} />}>
        <Stack gap="sm">
          <Group gap="xs">
            <StateBadge state={task.state} />
            {task.health === "recovering" && <Badge color="orange">{t("monitor.recovering")}</Badge>}
            <Text size="sm" c="dimmed" className="wrapped"><Said>{task.message}</Said></Text>
            {task.activity && <Text size="sm" c="dimmed">{language === "zh" ? task.activity.text_zh : task.activity.text_en}</Text>}
          </Group>
          <Progress value={percent} size="lg" aria-label={t("monitor.progress")} animated={task.state === "running"}
            striped={task.state === "running"} />
          <SimpleGrid cols={{ base: 2, sm: 3, lg: 6 }}>
            <Tile word="monitor.step" value={`${progress.step ?? 0} / ${progress.total_steps || "–"}`} more={`${percent.toFixed(0)} %`} />
            <Tile word="monitor.left" value={isOver ? "–" : secondsOf(progress.seconds_left)} more={task.started_at ? timeOf(task.started_at, language) : ""} />
            <Tile word="monitor.loss" value={numberOf(progress.loss)} />
            <Tile word="monitor.rate" value={numberOf(rate)} />
            <Tile word="monitor.speed" value={numberOf(progress.tokens_per_second)} />
            <Tile word="monitor.epoch" value={numberOf(progress.epoch)} more={t("monitor.attempt", { n: task.attempt })} />
          </SimpleGrid>
          {live.warnings.slice(-3).map((message) => (
            <Text key={message} size="sm" className="wrapped log-warning"><Icon name="warn" size={14} /> <Said>{message}</Said></Text>
          ))}
        </Stack>
      </Section>
      {task.state === "failed" && <Section title={t("autopsy.title")}><Autopsy id={task.id} /></Section>}
      <Section title={t("monitor.curves")}><Curves task={task} live={live.points} isLive={!isOver} /></Section>
      <Section title={t("monitor.checkpoints")}><Checkpoints task={task} /></Section>
      <Section title={t("monitor.log")}><Log id={task.id} live={live.lines} isLive={!isOver} /></Section>
    </Stack>
  );
}

function Tile({ word, value, more }: { word: Word; value: string; more?: string }) {
  const { t } = useWords();
  return (
    <div className="tile">
      <Text size="xs" c="dimmed">{t(word)}</Text>
      <Text fw={600} className="figures">{value}</Text>
      {more && <Text size="xs" c="dimmed" truncate>{more}</Text>}
    </div>
  );
}

function Actions({ task }: { task: TaskView }) {
  const { t } = useWords();
  const queries = useQueryClient();
  const [isAsking, asking] = useDisclosure();
  const act = useAct({
    mutationFn: async (verb: "stop" | "save" | "continue") => {
      if (verb === "stop") await call("POST", `/v1/tasks/${task.id}:stop`);
      else if (verb === "save") await call("POST", `/v1/tasks/${task.id}/checkpoints:save`);
      else await call("POST", `/v1/tasks/${task.id}:continue`, { body: null });
    },
    onSuccess: () => queries.invalidateQueries({ queryKey: ["task", task.id] }),
  });
  const isRunning = task.state === "running";
  return (
    <Stack gap="xs" align="end">
      <Group gap="xs">
        {isRunning && (
          <Changing><Button size="compact-sm" variant="default" leftSection={<Icon name="save" size={14} />} loading={act.isPending && act.variables === "save"}
            onClick={() => act.mutate("save")}>{t("monitor.save")}</Button></Changing>
        )}
        {(isRunning || task.state === "pending") && (
          <Changing><Button size="compact-sm" color="red" variant="light" leftSection={<Icon name="stop" size={14} />} onClick={asking.open}>{t("monitor.stop")}</Button></Changing>
        )}
        {(task.state === "stopped" || task.state === "failed") && (
          <Changing><Button size="compact-sm" variant="light" leftSection={<Icon name="again" size={14} />} loading={act.isPending}
            onClick={() => act.mutate("continue")}>{t("monitor.continue")}</Button></Changing>
        )}
        <Menu>
          <Menu.Target><Button size="compact-sm" variant="default">{t("monitor.more")}</Button></Menu.Target>
          <Menu.Dropdown>
            <Menu.Item component="a" href={hrefOf(["prepare"], { from: task.id })}>{t("monitor.clone")}</Menu.Item>
            {task.ended_at !== null && <Menu.Item component="a" href={hrefOf(["prepare"], { from: task.id, way: "continue" })}>{t("monitor.longer")}</Menu.Item>}
            <Menu.Item component="a" href={hrefOf(["test"], { model: task.id })}>{t("monitor.chat")}</Menu.Item>
            <Menu.Item component="a" href={hrefOf(["evaluate"], { task: task.id })}>{t("tab.evaluate")}</Menu.Item>
            <Menu.Item component="a" href={hrefOf(["package"], { task: task.id })}>{t("tab.package")}</Menu.Item>
          </Menu.Dropdown>
        </Menu>
      </Group>
      {act.isSuccess && act.variables === "save" && <Text size="xs" c="dimmed">{t("monitor.saveAsked")}</Text>}
      {act.error && <ErrorNote error={act.error} />}
      <Modal opened={isAsking} onClose={asking.close} title={t("monitor.stopTitle")} closeButtonProps={{ "aria-label": t("close") }}>
        <Stack>
          <Text>{t("monitor.stopWhat")}</Text>
          <Group justify="end">
            <Button variant="default" onClick={asking.close}>{t("cancel")}</Button>
            <Changing><Button color="red" onClick={() => {
              act.mutate("stop");
              asking.close();
            }}>{t("monitor.stop")}</Button></Changing>
          </Group>
        </Stack>
      </Modal>
      {task.queue_place && <Tooltip label={inStudio(task.message, t)}><Badge>{t("monitor.place", { n: task.queue_place })}</Badge></Tooltip>}
    </Stack>
  );
}
