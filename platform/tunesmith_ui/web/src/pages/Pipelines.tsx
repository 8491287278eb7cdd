import { Button, Group, Stack, Text, Title } from "@mantine/core";
import { useQuery, useQueryClient } from "@tanstack/react-query";
import { useAct } from "../api/act";
import { call } from "../api/http";
import type { Page_PipelineView_, PipelineView } from "../api/schema";
import { hrefOf } from "../app/router";
import { useWords } from "../i18n";
import { Changing } from "../parts/Changing";
import { Mark } from "../parts/Mark";
import { Empty, ErrorNote, Found, Section } from "../parts/Panel";
import { Said } from "../parts/Said";
import { StateBadge } from "../parts/State";
import { timeOf } from "../parts/words";
import { Graph } from "./pipelines/Graph";

export function Pipelines() {
  const { t } = useWords();
  const asked = useQuery<Page_PipelineView_>({
    queryKey: ["pipelines"],
    // One that another begins is told of by its first task; this is for one whose first step waits.
    refetchInterval: (known) => (known.state.data?.data.some((one) => !one.ended_at) ? 5_000 : 300_000),
    queryFn: ({ signal }) => call<Page_PipelineView_>("GET", "/v1/pipelines", { query: { limit: 50 }, signal }),
  });
  return (
    <Section title={<Title order={1} size="h4">{t("tab.pipelines")}</Title>}>
      <Found asked={asked}>
        {({ data }) => data.length === 0 ? <Empty>{t("pipelines.empty")}</Empty>
          : <Stack>{data.map((one) => <One key={one.id} pipeline={one} />)}</Stack>}
      </Found>
    </Section>
  );
}

function One({ pipeline }: { pipeline: PipelineView }) {
  const { t, language } = useWords();
  const queries = useQueryClient();
  const act = useAct({
    mutationFn: (verb: "stop" | "continue") => verb === "stop"
      ? call<PipelineView>("POST", `/v1/pipelines/${pipeline.id}:stop`) : call<PipelineView>("POST", `/v1/pipelines/${pipeline.id}:continue`),
    onSuccess: () => queries.invalidateQueries({ queryKey: ["pipelines"] }),
  });
  return (
    <div className="tile">
      <Group justify="space-between">
        <Text fw={600} className="wrapped">{pipeline.name}</Text>
        <Group gap="xs">
          <StateBadge state={pipeline.state} />
          {pipeline.state === "running" && <Changing><Button size="compact-sm" color="red" variant="light" loading={act.isPending} onClick={() => act.mutate("stop")}>{t("monitor.stop")}</Button></Changing>}
          {(pipeline.state === "failed" || pipeline.state === "stopped") && <Changing><Button size="compact-sm" variant="light" loading={act.isPending} onClick={() => act.mutate("continue")}>{t(pipeline.state === "failed" ? "pipelines.restart" : "monitor.continue")}</Button></Changing>}
        </Group>
      </Group>
      <Text size="xs" c="dimmed" className="wrapped">{timeOf(pipeline.created_at, language)} <Said>{pipeline.message ?? ""}</Said></Text>
      {act.error && <ErrorNote error={act.error} />}
      {pipeline.steps.length > 1 && <Graph steps={pipeline.steps} name={pipeline.name} />}
      <ol className="steps">
        {pipeline.steps.map((step) => (
          <li key={step.id}>
            {step.task_id ? <a href={hrefOf([step.kind === "evaluate" || step.kind === "package" ? step.kind : "monitor", step.task_id])}>{step.id}</a> : <span>{step.id}</span>} <StateBadge state={step.state} /> {step.is_reused && <Mark tone="plain">{t("pipelines.reused")}</Mark>}
            {step.needs.length > 0 && <Text size="xs" c="dimmed" className="wrapped">{t("pipelines.needs", { names: step.needs.join(", ") })}</Text>}
            {step.message && <Text size="xs" c="dimmed" className="wrapped"><Said>{step.message}</Said></Text>}
          </li>
        ))}
      </ol>
    </div>
  );
}
