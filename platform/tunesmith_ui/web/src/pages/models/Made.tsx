// What trainings made: each final model, with what may be done with it next.
import { Anchor, Group, Table, Text } from "@mantine/core";
import { useTasks } from "../../api/queries";
import { hrefOf } from "../../app/router";
import { useWords } from "../../i18n";
import { Found, Section } from "../../parts/Panel";
import { timeOf } from "../../parts/words";
import { Wide } from "../../parts/Wide";

export function Made() {
  const { t, language } = useWords();
  const asked = useTasks("train", ["completed"]);
  return (
    <Section title={t("models.made")}>
      <Found asked={asked}>
        {({ data }) => {
          const made = data.filter((task) => task.model_uri);
          return made.length === 0 ? <Text size="sm" c="dimmed">{t("models.noneMade")}</Text> : (
            <Wide minWidth={640}>
              <Table verticalSpacing="xs">
                <Table.Thead><Table.Tr>
                  <Table.Th>{t("source.task")}</Table.Th><Table.Th>{t("models.base")}</Table.Th><Table.Th>{t("models.holds")}</Table.Th><Table.Th>{t("models.since")}</Table.Th><Table.Th aria-label={t("models.next")} />
                </Table.Tr></Table.Thead>
                <Table.Tbody>
                  {made.map((task) => (
                    <Table.Tr key={task.id}>
                      <Table.Th scope="row" className="named"><a href={hrefOf(["monitor", task.id])}>{task.name}</a></Table.Th>
                      <Table.Td className="wrapped">{String(task.spec["model_name_or_path"] ?? "–")}</Table.Td>
                      <Table.Td>{t(task.spec["use_lora"] && !task.spec["merge_lora_after_training"] ? "models.adapter" : "models.whole")}</Table.Td>
                      <Table.Td className="nowrap">{timeOf(task.ended_at, language)}</Table.Td>
                      <Table.Td className="nowrap">
                        <Group gap="sm" wrap="nowrap">
                          <Anchor size="sm" href={hrefOf(["prepare"], { from: task.id, way: "stage" })}>{t("models.train")}</Anchor>
                          <Anchor size="sm" href={hrefOf(["evaluate"], { task: task.id })}>{t("tab.evaluate")}</Anchor>
                          <Anchor size="sm" href={hrefOf(["package"], { task: task.id })}>{t("tab.package")}</Anchor>
                        </Group>
                      </Table.Td>
                    </Table.Tr>
                  ))}
                </Table.Tbody>
              </Table>
            </Wide>
          );
        }}
      </Found>
    </Section>
  );
}
