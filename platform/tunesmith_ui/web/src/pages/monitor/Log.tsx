import { Anchor, Checkbox, Group, MultiSelect, Text, TextInput } from "@mantine/core";
import { useDebouncedValue } from "@mantine/hooks";
import { keepPreviousData, useQuery } from "@tanstack/react-query";
import { useEffect, useRef, useState } from "react";
import { addressOf, call } from "../../api/http";
import type { LogView, Page_LogView_ } from "../../api/schema";
import { useWords } from "../../i18n";
import { Icon } from "../../parts/icons";
import { ErrorNote } from "../../parts/Panel";

export type LogLine = Pick<LogView, "n" | "time" | "level" | "source" | "message">;
const LEVELS = ["debug", "info", "warning", "error"];

type Given = { id: string; live: LogLine[] | null; isLive: boolean };

/**
 * A task's log: its last lines and what comes; or what a search finds in all of it. Text, never HTML.
 * Where no stream brings what comes (`live` is null), it is asked for while the task is alive.
 */
export function Log({ id, live, isLive }: Given) {
  const { t } = useWords();
  const [levels, setLevels] = useState<string[]>([]);
  const [text, setText] = useState("");
  const [wanted] = useDebouncedValue(text.trim(), 300);
  const [isFollowed, setFollowed] = useState(true);
  const box = useRef<HTMLDivElement>(null);
  const asked = useQuery({
    queryKey: ["log", id, levels, wanted], placeholderData: keepPreviousData, refetchInterval: isLive && !live ? 5_000 : false,
    queryFn: ({ signal }) => wanted
      ? call<Page_LogView_>("GET", `/v1/tasks/${id}/logs:search`, { query: { q: wanted, level: levels, limit: 500 }, signal })
      : call<Page_LogView_>("GET", `/v1/tasks/${id}/logs`, { query: { tail: 500, level: levels }, signal }),
  });
  const known = asked.data?.data ?? [];
  const last = known.at(-1)?.n ?? 0;
  const newer = (live ?? []).filter((line) => line.n > last
    && (levels.length === 0 || levels.includes(line.level))
    && (!wanted || line.message.toLowerCase().includes(wanted.toLowerCase())));
  const lines = [...known, ...newer].slice(-1500);
  const end = lines.at(-1)?.n;
  useEffect(() => {
    if (isFollowed && box.current) box.current.scrollTop = box.current.scrollHeight;
  }, [end, isFollowed]);
  return (
    <>
      <Group mb="xs" gap="sm">
        <TextInput aria-label={t("log.search")} placeholder={t("log.search")} value={text} size="xs" leftSection={<Icon name="search" size={14} />}
          onChange={(event) => setText(event.currentTarget.value)} />
        <MultiSelect aria-label={t("log.levels")} placeholder={levels.length ? "" : t("log.levels")} data={LEVELS} value={levels} size="xs" w={220} onChange={setLevels} />
        <Checkbox size="xs" label={t("log.follow")} checked={isFollowed} onChange={(event) => setFollowed(event.currentTarget.checked)} />
        <Anchor size="sm" href={addressOf(`/v1/tasks/${id}/logs:download`)} download>{t("log.download")}</Anchor>
      </Group>
      {asked.error && <ErrorNote error={asked.error} onAgain={() => void asked.refetch()} />}
      <div className="log" ref={box} tabIndex={0} role="log" aria-label={t("monitor.log")}>
        {lines.map((line) => (
          <div key={line.n} className={`log-line log-${line.level}`}>
            <span className="log-time">{line.time.slice(11, 19)}</span>
            <span className="log-source">{line.source}</span>
            <span>{line.message}</span>
          </div>
        ))}
        {lines.length === 0 && !asked.isPending && <Text size="sm" c="dimmed">{t("log.empty")}</Text>}
      </div>
    </>
  );
}
