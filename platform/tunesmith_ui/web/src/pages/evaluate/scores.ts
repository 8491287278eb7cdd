// An evaluation's figures, as its page shows them. Pure.
import type * as t from "../../api/schema";

/** What differs between candidates on one sample, by one score. */
export type Asked = { sample: t.Sample; answers: (t.Answer | undefined)[]; scores: (number | null)[]; spread: number };

/** Every sample with its answers side by side. Asked several times, a candidate's first answer and its mean are shown. */
export function sideBySide(found: t.EvaluationResult, score: string): Asked[] {
  const by = found.candidates.map((one) => {
    const answers = new Map<string, t.Answer[]>();
    for (const answer of one.answers) answers.set(answer.sample_id, [...(answers.get(answer.sample_id) ?? []), answer]);
    return answers;
  });
  return found.samples.map((sample) => {
    const all = by.map((answers) => answers.get(sample.id) ?? []);
    const scores = all.map((answers) => meanOf(answers.map((one) => one.scores[score])));
    const known = scores.filter((value) => value !== null);
    return { sample, answers: all.map((answers) => answers[0]), scores, spread: known.length > 1 ? Math.max(...known) - Math.min(...known) : 0 };
  });
}

function meanOf(values: (number | undefined)[]): number | null {
  const known = values.filter((value): value is number => value !== undefined && Number.isFinite(value));
  return known.length ? known.reduce((sum, value) => sum + value, 0) / known.length : null;
}

/** Scores that lie between 0 and 1 and of which more is better: those that one radar can show together. */
export function radarScores(found: t.EvaluationResult, known: readonly t.ScoreView[]): string[] {
  const info = new Map(known.map((one) => [one.name, one]));
  return namesOf(found).filter((name) => {
    const about = info.get(name);
    const isUnit = about ? about.low === 0 && about.high === 1 && about.better === "higher" : true;
    return isUnit && found.candidates.every((one) => within(one.means[name]));
  });
}

function within(value: number | undefined): boolean {
  return value === undefined || (value >= 0 && value <= 1);
}

/** The names of all scores: the composite first. */
export function namesOf(found: t.EvaluationResult): string[] {
  const names = [...new Set(found.candidates.flatMap((one) => Object.keys(one.means)))].sort();
  return [...names.filter((name) => name === "composite"), ...names.filter((name) => name !== "composite")];
}

/** A place on a circle whose first place is at the top. */
export function placeAt(index: number, count: number, share: number, radius: number): [number, number] {
  const angle = (2 * Math.PI * index) / count - Math.PI / 2;
  return [radius * share * Math.cos(angle), radius * share * Math.sin(angle)];
}
