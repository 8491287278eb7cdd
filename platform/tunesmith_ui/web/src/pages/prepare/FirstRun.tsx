// In a workspace without trainings: the way to the first one, the demo's, in three steps.
import { Button, Group, Stack, Text } from "@mantine/core";
import { useQueryClient } from "@tanstack/react-query";
import type { ReactNode } from "react";
import { useAct } from "../../api/act";
import { useDatasets, useModels } from "../../api/queries";
import { hrefOf } from "../../app/router";
import { useWords } from "../../i18n";
import { Changing } from "../../parts/Changing";
import type { Values } from "../../parts/form";
import { Icon } from "../../parts/icons";
import { ErrorNote, Section } from "../../parts/Panel";

const EXAMPLE = "ember_train";
const SMALL = "HuggingFaceTB/SmolLM2-135M-Instruct";

export function FirstRun({ fill }: { fill: (values: Values) => void }) {
  const { t } = useWords();
  const queries = useQueryClient();
  const models = useModels().data?.data ?? [];
  const datasets = useDatasets().data?.data ?? [];
  const ready = models.filter((one) => one.state === "ready");
  const model = ready.find((one) => one.name.startsWith("SmolLM2")) ?? ready[0];
  const data = datasets.find((one) => one.name === EXAMPLE);
  const take = useAct({
    mutationFn: async () => {
      const { sendExample, SETTINGS } = await import("./example"); // with its rows, for who wants them
      if (!data) await sendExample();
      return SETTINGS;
    },
    onSuccess: (settings) => {
      void queries.invalidateQueries({ queryKey: ["datasets"] });
      if (model) fill({ model_name_or_path: model.name, train_file: EXAMPLE, ...settings });
    },
  });
  return (
    <Section title={t("first.title")}>
      <Stack gap="sm">
        <Step isDone={model !== undefined} said={model ? t("first.hasModel", { name: model.name }) : t("first.noModel")}>
          {!model && <Group><Button size="compact-sm" component="a" href={hrefOf(["models"], { pull: SMALL })}>{t("first.pull")}</Button></Group>}
        </Step>
        <Step isDone={data !== undefined} said={t("first.example")}>
          <Group><Changing><Button size="compact-sm" disabled={!model} loading={take.isPending} onClick={() => take.mutate()}>{t("first.take")}</Button></Changing></Group>
        </Step>
        <Step isDone={false} said={t("first.start")} />
        {take.error && <ErrorNote error={take.error} />}
      </Stack>
    </Section>
  );
}

function Step({ isDone, said, children }: { isDone: boolean; said: string; children?: ReactNode }) {
  return (
    <Group align="start" wrap="nowrap" gap="xs">
      <Icon name={isDone ? "check" : "clock"} size={16} />
      <Stack gap={4} className="fill"><Text size="sm" className="wrapped">{said}</Text>{children}</Stack>
    </Group>
  );
}
