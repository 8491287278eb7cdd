import { ActionIcon, Anchor, Group, Table, Text, Tooltip } from "@mantine/core";
import { useQueryClient } from "@tanstack/react-query";
import { useAct } from "../../api/act";
import { call } from "../../api/http";
import { useCheckpoints } from "../../api/queries";
import type { CheckpointView, TaskView } from "../../api/schema";
import { hrefOf } from "../../app/router";
import { useWords } from "../../i18n";
import { Changing } from "../../parts/Changing";
import { Icon } from "../../parts/icons";
import { Mark } from "../../parts/Mark";
import { ErrorNote, Found } from "../../parts/Panel";
import { bytesOf, numberOf, timeOf } from "../../parts/words";
import { Wide } from "../../parts/Wide";

export function Checkpoints({ task }: { task: TaskView }) {
  const { t, language } = useWords();
  const queries = useQueryClient();
  const asked = useCheckpoints(task.id);
  const pin = useAct({
    mutationFn: (one: CheckpointView) => one.is_pinned
      ? call<CheckpointView>("POST", `/v1/tasks/${task.id}/checkpoints/${one.step}:unpin`)
      : call<CheckpointView>("POST", `/v1/tasks/${task.id}/checkpoints/${one.step}:pin`),
    onSuccess: () => queries.invalidateQueries({ queryKey: ["checkpoints", task.id] }),
  });
  return (
    <Found asked={asked}>
      {({ data }) => data.length === 0 ? <Text size="sm" c="dimmed">{t("checkpoints.empty")}</Text> : (
        <>
          {pin.error && <ErrorNote error={pin.error} />}
          <Wide minWidth={720}>
            <Table highlightOnHover verticalSpacing="xs">
              <Table.Thead>
                <Table.Tr>
                  <Table.Th>{t("monitor.step")}</Table.Th>
                  <Table.Th>{t("metric.eval_loss")}</Table.Th>
                  <Table.Th>{t("metric.loss")}</Table.Th>
                  <Table.Th>{t("checkpoints.size")}</Table.Th>
                  <Table.Th>{t("checkpoints.made")}</Table.Th>
                  <Table.Th>{t("checkpoints.marks")}</Table.Th>
                  <Table.Th>{t("checkpoints.next")}</Table.Th>
                </Table.Tr>
              </Table.Thead>
              <Table.Tbody>
                {data.map((one) => (
                  <Table.Tr key={one.step}>
                    <Table.Td className="figures">{one.step}</Table.Td>
                    <Table.Td className="figures">{numberOf(one.metrics["eval_loss"])}</Table.Td>
                    <Table.Td className="figures">{numberOf(one.metrics["loss"])}</Table.Td>
                    <Table.Td className="figures">{bytesOf(one.bytes)}</Table.Td>
                    <Table.Td>{timeOf(one.created_at, language)}</Table.Td>
                    <Table.Td>
                      <Group gap={4}>
                        {one.is_recommended && <Mark tone="best" icon={<Icon name="star" size={12} />}>{t("checkpoints.recommended")}</Mark>}
                        {one.is_best && <Mark tone="good">{t("checkpoints.best")}</Mark>}
                        {one.is_pinned && <Mark tone="plain">{t("checkpoints.pinned")}</Mark>}
                      </Group>
                    </Table.Td>
                    <Table.Td>
                      <Group gap="sm" wrap="nowrap">
                        <Anchor size="sm" href={hrefOf(["test"], { model: `${task.id}:${one.step}` })}>{t("monitor.chat")}</Anchor>
                        <Anchor size="sm" href={hrefOf(["evaluate"], { task: task.id, step: String(one.step) })}>{t("tab.evaluate")}</Anchor>
                        <Anchor size="sm" href={hrefOf(["package"], { task: task.id, step: String(one.step) })}>{t("tab.package")}</Anchor>
                        <Anchor size="sm" href={hrefOf(["prepare"], { from: task.id, way: "stage", step: String(one.step) })}>{t("origin.stage")}</Anchor>
                        <Tooltip label={t(one.is_pinned ? "checkpoints.unpin" : "checkpoints.pin")}>
                          <Changing><ActionIcon variant={one.is_pinned ? "filled" : "default"} size="sm" loading={pin.isPending && pin.variables?.step === one.step}
                            aria-label={`${t(one.is_pinned ? "checkpoints.unpin" : "checkpoints.pin")} ${one.step}`} onClick={() => pin.mutate(one)}>
                            <Icon name="pin" size={14} />
                          </ActionIcon></Changing>
                        </Tooltip>
                      </Group>
                    </Table.Td>
                  </Table.Tr>
                ))}
              </Table.Tbody>
            </Table>
          </Wide>
        </>
      )}
    </Found>
  );
}
