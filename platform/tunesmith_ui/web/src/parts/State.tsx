import { Badge } from "@mantine/core";
import { useWords, type Word } from "../i18n";
import { Icon, type IconName } from "./icons";

const ICONS: Record<string, IconName> = {
  pending: "clock", running: "play", stopping: "pause", stopped: "stop", completed: "check", failed: "cross",
};

/** A task's state by word, icon and colour, alike everywhere. */
export function StateBadge({ state }: { state: string }) {
  const { t } = useWords();
  return (
    <Badge className={`state state-${state}`} variant="light" leftSection={<Icon name={ICONS[state] ?? "clock"} size={12} />}>
      {t(`state.${state}` as Word)}
    </Badge>
  );
}
