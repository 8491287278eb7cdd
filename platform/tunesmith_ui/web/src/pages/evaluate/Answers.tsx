// Answers side by side, as text: those first on which the candidates differ most.
import { Button, Group, SegmentedControl, SimpleGrid, Stack, Text } from "@mantine/core";
import { useMemo, useState } from "react";
import type * as t from "../../api/schema";
import { useWords } from "../../i18n";
import { numberOf } from "../../parts/words";
import { sideBySide, type Asked } from "./scores";

const FIRST = 10;
const MORE = 20;

export function Answers({ found, score, label }: { found: t.EvaluationResult; score: string; label: (name: string) => string }) {
  const { t: word } = useWords();
  const [order, setOrder] = useState("difference");
  const [count, setCount] = useState(FIRST);
  const rows = useMemo(() => sideBySide(found, score), [found, score]);
  const sorted = useMemo(() => (order === "file" ? rows : [...rows].sort((a, b) => b.spread - a.spread)), [rows, order]);
  if (found.sorts) return <Text size="sm" c="dimmed">{word("evaluate.sorts")}</Text>;
  return (
    <Stack gap="sm">
      <Group gap="sm">
        <SegmentedControl size="xs" aria-label={word("evaluate.order")} value={order} onChange={setOrder}
          data={[{ value: "difference", label: word("evaluate.byDifference") }, { value: "file", label: word("evaluate.byFile") }]} />
        <Text size="sm" c="dimmed">{label(score)}</Text>
      </Group>
      {sorted.slice(0, count).map((one, i) => <One key={one.sample.id} one={one} candidates={found.candidates} isOpen={i === 0} />)}
      {count < sorted.length && <Group><Button variant="default" onClick={() => setCount(count + MORE)}>{word("more")}</Button></Group>}
    </Stack>
  );
}

function One({ one, candidates, isOpen }: { one: Asked; candidates: readonly t.CandidateResult[]; isOpen: boolean }) {
  const { t: word } = useWords();
  return (
    <details className="fold answer" open={isOpen}>
      <summary className="wrapped">{one.sample.turns.at(-1)?.content.slice(0, 160)} <Text span size="xs" c="dimmed" className="figures">{one.scores.map(numberOf).join(" · ")}</Text></summary>
      <Stack gap="xs" mt="xs">
        {one.sample.turns.slice(0, -1).map((turn, i) => <Text key={String(i)} size="sm" c="dimmed" className="wrapped">{turn.role}: {turn.content}</Text>)}
        {(one.sample.turns.at(-1)?.content.length ?? 0) > 160 && <Text size="sm" className="wrapped">{one.sample.turns.at(-1)?.content}</Text>}
        <div><Text size="xs" c="dimmed">{word("evaluate.expected")}</Text><Text size="sm" className="wrapped">{one.sample.reference}</Text></div>
        <SimpleGrid cols={{ base: 1, sm: 2, xl: Math.min(3, candidates.length) }} spacing="xs">
          {candidates.map(({ candidate }, i) => (
            <div key={candidate.key} className="tile">
              <Group justify="space-between" wrap="nowrap" gap="xs" align="start">
                <Text size="xs" c="dimmed" className="wrapped">{candidate.label}</Text><Text size="xs" className="figure">{numberOf(one.scores[i])}</Text>
              </Group>
              <Text size="sm" className="wrapped">{one.answers[i]?.text.trim() || word("evaluate.blank")}</Text>
              {one.answers[i]?.finish_reason === "length" && <Text size="xs" c="dimmed">{word("evaluate.cut")}</Text>}
            </div>
          ))}
        </SimpleGrid>
      </Stack>
    </details>
  );
}
