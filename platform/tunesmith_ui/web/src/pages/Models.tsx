// Base models that are here or on their way, and what trainings made of them.
import { Alert, SimpleGrid, Stack, Text, Title } from "@mantine/core";
import { useModels } from "../api/queries";
import { useRoute } from "../app/router";
import { useWords } from "../i18n";
import { Found, Section } from "../parts/Panel";
import { Said } from "../parts/Said";
import { Model } from "./models/Model";
import { Made } from "./models/Made";
import { OnTheirWay, Pull } from "./models/Pull";

export function Models() {
  const { t } = useWords();
  const { query } = useRoute();
  const asked = useModels();
  const wanted = query.get("pull") ?? "";
  return (
    <Stack>
      <Section title={<Title order={1} size="h4">{t("tab.models")}</Title>}>
        <Found asked={asked}>
          {({ data }) => data.length === 0 ? <Text c="dimmed"><Said>{t("models.empty")}</Said></Text> : (
            <SimpleGrid cols={{ base: 1, lg: 2 }}>{data.map((one) => <Model key={one.id} model={one} />)}</SimpleGrid>
          )}
        </Found>
      </Section>
      <Section title={t("models.pull")}>
        <Stack gap="sm">
          <OnTheirWay />
          <Pull key={wanted} wanted={wanted} />
          <Alert role="note" variant="light" color="gray" p="xs"><Text size="sm"><Said>{t("models.everybody")}</Said></Text></Alert>
        </Stack>
      </Section>
      <Made />
    </Stack>
  );
}
