// What is said: each question with its answers side by side, which are rated, corrected and asked for anew.
import { Alert, Button, Group, SimpleGrid, Stack, Text, Textarea } from "@mantine/core";
import { useQueryClient } from "@tanstack/react-query";
import { useAct } from "../../api/act";
import { call } from "../../api/http";
import type { AnswerView, TurnView } from "../../api/schema";
import { useWords } from "../../i18n";
import { Changing } from "../../parts/Changing";
import { Icon } from "../../parts/icons";
import { useKept } from "../../parts/kept";
import { Markdown } from "../../parts/Markdown";
import { ErrorNote } from "../../parts/Panel";
import { Said } from "../../parts/Said";
import { besides, tipOf } from "./tree";

type Given = {
  conversation: string; turns: TurnView[]; path: TurnView[]; isBusy: boolean; rates: Record<string, number>;
  onAgain: (turn: TurnView) => void; onEdit: (turn: TurnView) => void;
};

export function Thread({ conversation, turns, path, isBusy, rates, onAgain, onEdit }: Given) {
  const { t } = useWords();
  const queries = useQueryClient();
  const turnTo = useAct({
    mutationFn: (number: number) => call("PATCH", `/v1/conversations/${conversation}`, { body: { head: tipOf(turns, number) } }),
    onSuccess: () => queries.invalidateQueries({ queryKey: ["conversation", conversation] }),
  });
  return (
    <>
      {turnTo.error && <ErrorNote error={turnTo.error} />}
      {path.map((turn, i) => {
        const branches = besides(turns, turn);
        const at = branches.findIndex((one) => one.number === turn.number);
        return (
          <Stack key={turn.number} gap="xs">
            <Question text={turn.content} />
            <Group gap="xs" justify="end">
              {branches.length > 1 && (
                <Group gap={4}>
                  <Changing><Button size="compact-xs" variant="subtle" color="gray" aria-label={t("test.before")} disabled={at === 0 || isBusy} onClick={() => turnTo.mutate(branches[at - 1]!.number)}>‹</Button></Changing>
                  <Text size="xs">{at + 1} / {branches.length}</Text>
                  <Changing><Button size="compact-xs" variant="subtle" color="gray" aria-label={t("test.after")} disabled={at === branches.length - 1 || isBusy} onClick={() => turnTo.mutate(branches[at + 1]!.number)}>›</Button></Changing>
                </Group>
              )}
              <Changing><Button size="compact-xs" variant="subtle" color="gray" disabled={isBusy} onClick={() => onEdit(turn)}>{t("test.edit")}</Button></Changing>
            </Group>
            <SimpleGrid cols={{ base: 1, sm: Math.min(2, turn.answers.length), lg: turn.answers.length }} spacing="sm">
              {turn.answers.map((answer) => (
                <Answer key={answer.place} conversation={conversation} turn={turn} answer={answer} rate={rates[`${turn.number}/${answer.place}`] ?? null} />
              ))}
            </SimpleGrid>
            {i === path.length - 1 && !isBusy && (
              <Group><Changing><Button size="compact-sm" variant="default" leftSection={<Icon name="again" size={14} />} onClick={() => onAgain(turn)}>{t("test.again")}</Button></Changing></Group>
            )}
          </Stack>
        );
      })}
    </>
  );
}

export function Question({ text }: { text: string }) {
  return <div className="turn turn-user">{text}</div>;
}

export function Thought({ text }: { text: string }) {
  const { t } = useWords();
  if (!text) return null;
  return <details><summary>{t("test.thought")}</summary><Text size="sm" c="dimmed" className="wrapped">{text}</Text></details>;
}

function Answer({ conversation, turn, answer, rate }: { conversation: string; turn: TurnView; answer: AnswerView; rate: number | null }) {
  const { t } = useWords();
  const queries = useQueryClient();
  const [draft, setDraft] = useKept<string | null>(`correct/${conversation}/${turn.number}/${answer.place}`, null);
  const save = useAct({
    mutationFn: (body: { rating: AnswerView["rating"]; corrected: string | null | undefined }) =>
      call("PUT", `/v1/conversations/${conversation}/turns/${turn.number}/answers/${answer.place}/rating`, { body }),
    onSuccess: () => {
      setDraft(null);
      return queries.invalidateQueries({ queryKey: ["conversation", conversation] });
    },
  });
  const word = (rating: "better" | "worse") => (
    <Changing><Button size="compact-xs" variant={answer.rating === rating ? "filled" : "default"} aria-pressed={answer.rating === rating} loading={save.isPending}
      onClick={() => save.mutate({ rating: answer.rating === rating ? null : rating, corrected: answer.corrected })}>{t(rating === "better" ? "test.better" : "test.worse")}</Button></Changing>
  );
  const isMany = turn.answers.length > 1;
  return (
    <div className="turn turn-assistant">
      <Text size="xs" c="dimmed" className="wrapped" mb={4}>{answer.model}{isMany && turn.chosen === answer.place ? ` · ${t("test.chosen")}` : ""}</Text>
      <Thought text={answer.reasoning_content} />
      <Markdown text={answer.text || (answer.state === "answering" ? "…" : "")} />
      {answer.state !== "answering" && !answer.text && <Text size="sm" c="dimmed">{t("evaluate.blank")}</Text>}
      {answer.state === "cut" && <Alert color="orange" p="xs" mt="xs" className="wrapped">{t("test.cut")} <Said>{answer.why}</Said></Alert>}
      {answer.finish_reason === "length" && <Text size="xs" c="dimmed">{t("evaluate.cut")}</Text>}
      {answer.dropped_turns > 0 && <Text size="xs" c="dimmed">{t("test.dropped", { count: answer.dropped_turns })}</Text>}
      {answer.corrected && <div className="tile corrected"><Text size="xs" c="dimmed">{t("test.corrected")}</Text><Text size="sm" className="wrapped">{answer.corrected}</Text></div>}
      {answer.state !== "answering" && (
        <Group gap={6} mt="xs">
          {word("better")}{word("worse")}
          <Changing><Button size="compact-xs" variant="default" aria-expanded={draft !== null} onClick={() => setDraft(draft === null ? (answer.corrected ?? answer.text) : null)}>{t("test.correct")}</Button></Changing>
          <Text size="xs" c="dimmed">{t("test.tokens", { count: answer.completion_tokens })}{rate ? ` · ${t("test.rate", { rate: rate.toFixed(1) })}` : ""}</Text>
        </Group>
      )}
      {draft !== null && (
        <Stack gap="xs" mt="xs">
          <Textarea aria-label={t("test.correct")} description={t("test.correctWhat")} autosize minRows={2} maxRows={12} value={draft} onChange={(event) => setDraft(event.currentTarget.value)} />
          <Group gap="xs">
            <Changing><Button size="compact-sm" loading={save.isPending} disabled={!draft.trim()} onClick={() => save.mutate({ rating: answer.rating, corrected: draft })}>{t("save")}</Button></Changing>
            {answer.corrected && <Changing><Button size="compact-sm" variant="default" onClick={() => save.mutate({ rating: answer.rating, corrected: null })}>{t("test.uncorrect")}</Button></Changing>}
            <Button size="compact-sm" variant="default" onClick={() => setDraft(null)}>{t("cancel")}</Button>
          </Group>
        </Stack>
      )}
      {save.error && <ErrorNote error={save.error} />}
    </div>
  );
}
