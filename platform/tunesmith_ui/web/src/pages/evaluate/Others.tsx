// Which other evaluations these figures may be held against: only those that asked the same in the same way.
import { Anchor, Stack, Table, Text } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { call } from "../../api/http";
import { useTasks } from "../../api/queries";
import type { Page_EvaluationSummary_ } from "../../api/schema";
import { hrefOf } from "../../app/router";
import { useWords } from "../../i18n";
import { Mark } from "../../parts/Mark";
import { Found } from "../../parts/Panel";
import { timeOf } from "../../parts/words";
import { Wide } from "../../parts/Wide";

export function Others({ id, mark }: { id: string; mark: string }) {
  const { t, language } = useWords();
  const tasks = useTasks("evaluate");
  const asked = useQuery({
    queryKey: ["evaluations"],
    queryFn: ({ signal }) => call<Page_EvaluationSummary_>("GET", "/v1/evaluations", { query: { limit: 50 }, signal }),
  });
  return (
    <Stack gap="sm">
      <Text size="sm" className="wrapped">{t("evaluate.comparable")} <span className="code">{mark.slice(0, 12)}</span></Text>
      <Found asked={asked}>
        {({ data }) => {
          const others = data.filter((one) => one.task_id !== id);
          return others.length === 0 ? <Text size="sm" c="dimmed">{t("evaluate.noOthers")}</Text> : (
            <Wide minWidth={480}>
              <Table verticalSpacing={4}><Table.Tbody>
                {others.map((one) => (
                  <Table.Tr key={one.task_id}>
                    <Table.Td className="wrapped"><Anchor size="sm" href={hrefOf(["evaluate", one.task_id])}>{tasks.data?.data.find((task) => task.id === one.task_id)?.name ?? one.task_id}</Anchor></Table.Td>
                    <Table.Td>{timeOf(one.created_at, language)}</Table.Td>
                    <Table.Td><Mark tone={one.comparable_by === mark ? "good" : "plain"}>{t(one.comparable_by === mark ? "evaluate.isComparable" : "evaluate.neverComparable")}</Mark></Table.Td>
                  </Table.Tr>
                ))}
              </Table.Tbody></Table>
            </Wide>
          );
        }}
      </Found>
    </Stack>
  );
}
