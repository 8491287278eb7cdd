// Says that the platform does not answer, what stays meanwhile, and when it is asked again.
import { Alert, Button, Group, Text } from "@mantine/core";
import { useEffect, useState } from "react";
import type { Away } from "../api/live";
import { useWords } from "../i18n";
import { Icon } from "../parts/icons";

/** A server that starts again, or a stream that is moved to another one, is nothing to be told. */
const SILENT_MS = 2000;

export function CutOff({ away, onAgain }: { away: Away; onAgain: () => void }) {
  const { t } = useWords();
  const [now, setNow] = useState(Date.now);
  useEffect(() => {
    const clock = setInterval(() => setNow(Date.now()), 500);
    return () => clearInterval(clock);
  }, []);
  if (now - away.since < SILENT_MS) return null;
  const seconds = Math.ceil((away.next - now) / 1000);
  return (
    <Alert color="yellow" mb="md" icon={<Icon name="warn" />} role="alert" className="cut-off">
      <Group justify="space-between" gap="sm">
        <Text size="sm">{t("away.said")}</Text>
        <Group gap="sm" wrap="nowrap">
          {/* Readers of screens hear the sentence once, not each second. */}
          <Text size="sm" aria-hidden>{seconds > 0 ? t("away.next", { count: seconds }) : t("away.now")}</Text>
          <Button size="compact-sm" variant="default" onClick={onAgain}>{t("away.again")}</Button>
        </Group>
      </Group>
    </Alert>
  );
}
