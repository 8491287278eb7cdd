// Which rows of the data a step took: a spike leads to its rows.
import { Button, Group, NumberInput, Stack, Text } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { call } from "../../api/http";
import type { StepRows, TaskView } from "../../api/schema";
import { useWords } from "../../i18n";
import { Found } from "../../parts/Panel";

export function Rows({ task }: { task: TaskView }) {
  const { t } = useWords();
  const [text, setText] = useState<string | number>("");
  const [step, setStep] = useState<number | null>(null);
  const asked = useQuery({
    queryKey: ["rows", task.id, step], enabled: step !== null, retry: false,
    queryFn: ({ signal }) => call<StepRows>("GET", `/v1/tasks/${task.id}/rows`, { query: { step }, signal }),
  });
  return (
    <Stack gap={4}>
      <form onSubmit={(event) => {
        event.preventDefault();
        setStep(typeof text === "number" ? text : null);
      }}>
        <Group align="end" gap="xs">
          <NumberInput label={t("rows.step")} value={text} onChange={setText} min={1} allowDecimal={false} w={190} />
          <Button type="submit" variant="default" disabled={text === ""}>{t("rows.show")}</Button>
        </Group>
      </form>
      {step !== null && (
        <Found asked={asked}>
          {(found) => (
            <Text size="sm" className="wrapped">{t("rows.said", { step: found.step, epoch: found.epoch + 1, file: found.file })} <b className="figures">{found.rows.join(", ")}</b></Text>
          )}
        </Found>
      )}
    </Stack>
  );
}
