import { expect, test } from "vitest";
import type * as t from "../../api/schema";
import { namesOf, placeAt, radarScores, sideBySide } from "./scores";

const sample = (id: string): t.Sample => ({ id, split: "validation", row: 1, turns: [{ role: "user", content: id }], reference: "r", checks: [] });
const answer = (id: string, scores: Record<string, number>, repeat = 0): t.Answer =>
  ({ sample_id: id, repeat, text: `${id} ${repeat}`, tokens: 1, finish_reason: "stop", reference_tokens: 0, scores, skipped: {} });
const candidate = (key: string, answers: t.Answer[], means: Record<string, number>): t.CandidateResult =>
  ({ candidate: { key, label: key, step: 0, uri: "", is_base: false, sha256: "" }, answers, seen: [], means, seconds: 0, benchmarks: [] });
const found = {
  samples: [sample("a"), sample("b"), sample("c")],
  candidates: [
    candidate("base", [answer("a", { composite: 0.2 }), answer("a", { composite: 0.4 }, 1), answer("b", { composite: 0.5 })], { composite: 0.4, perplexity: 90, mine: 4, f1: 0.1 }),
    candidate("one", [answer("a", { composite: 0.4 }), answer("b", { composite: 0.9 }), answer("c", {})], { composite: 0.6, perplexity: 2, mine: 0.5, f1: 0.9 }),
  ],
} as unknown as t.EvaluationResult;

test("answers stand side by side with what they differ by", () => {
  const rows = sideBySide(found, "composite");
  expect(rows.map((row) => row.spread.toFixed(2))).toEqual(["0.10", "0.40", "0.00"]);
  expect(rows[0]!.scores[0]).toBeCloseTo(0.3); // asked twice: the mean
  expect(rows[2]!.answers[0]).toBeUndefined();
  expect(rows[2]!.scores).toEqual([null, null]);
});

test("a radar shows only what lies between 0 and 1 with more being better", () => {
  const known = [
    { name: "composite", low: 0, high: 1, better: "higher" }, { name: "perplexity", low: 1, high: null, better: "lower" },
  ] as unknown as t.ScoreView[];
  expect(namesOf(found)).toEqual(["composite", "f1", "mine", "perplexity"]);
  expect(radarScores(found, known)).toEqual(["composite", "f1"]);
});

test("a radar begins at the top and goes clockwise", () => {
  const near = (place: [number, number]) => place.map((value) => Math.round(value) + 0);
  expect(near(placeAt(0, 4, 1, 100))).toEqual([0, -100]);
  expect(near(placeAt(1, 4, 0.5, 100))).toEqual([50, 0]);
});
