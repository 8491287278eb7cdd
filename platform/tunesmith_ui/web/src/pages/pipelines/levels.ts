// Steps in columns: each stands behind all that it waits for. Pure.
export type Node = { id: string; needs: readonly string[] };

export function levelsOf<Step extends Node>(steps: readonly Step[]): Step[][] {
  const by = new Map(steps.map((step) => [step.id, step]));
  const known = new Map<string, number>();
  const level = (step: Step, above: readonly string[]): number => {
    const found = known.get(step.id);
    if (found !== undefined) return found;
    const needs = step.needs.flatMap((id) => by.get(id) ?? []).filter((one) => !above.includes(one.id));
    const own = needs.length ? 1 + Math.max(...needs.map((one) => level(one, [...above, step.id]))) : 0;
    known.set(step.id, own);
    return own;
  };
  const levels: Step[][] = [];
  for (const step of steps) (levels[level(step, [])] ??= []).push(step);
  return levels.filter((one) => one !== undefined);
}
