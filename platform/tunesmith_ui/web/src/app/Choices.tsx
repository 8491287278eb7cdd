import { ActionIcon, SegmentedControl, useComputedColorScheme, useMantineColorScheme } from "@mantine/core";
import { Group } from "@mantine/core";
import { useEffect } from "react";
import { choose, useWords, type Language } from "../i18n";
import { Icon } from "../parts/icons";

/** The language and the theme, remembered by this browser. */
export function Choices() {
  const { t, language } = useWords();
  const { setColorScheme } = useMantineColorScheme();
  const scheme = useComputedColorScheme("light");
  useEffect(() => {
    document.documentElement.lang = language === "zh" ? "zh-CN" : "en";
  }, [language]);
  return (
    <Group gap="xs" wrap="nowrap">
      <SegmentedControl size="xs" aria-label={t("choice.language")} value={language}
        data={[{ value: "en", label: "EN" }, { value: "zh", label: "中文" }]}
        onChange={(value) => choose(value as Language)} />
      <ActionIcon variant="default" size="lg" aria-label={t("choice.theme")}
        onClick={() => setColorScheme(scheme === "dark" ? "light" : "dark")}>
        <Icon name={scheme === "dark" ? "sun" : "moon"} />
      </ActionIcon>
    </Group>
  );
}
