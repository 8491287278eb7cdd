// A conversation is a tree of turns: what was asked anew stands beside what was there. Pure.
import type { TurnView } from "../../api/schema";

/** The turns from the first to a head. */
export function pathTo(turns: readonly TurnView[], head: number | null | undefined): TurnView[] {
  const by = new Map(turns.map((turn) => [turn.number, turn]));
  const path: TurnView[] = [];
  for (let turn = head ? by.get(head) : undefined; turn; turn = turn.parent ? by.get(turn.parent) : undefined) path.unshift(turn);
  return path;
}

/** The turns that were asked in a turn's place, itself among them, the oldest first. */
export function besides(turns: readonly TurnView[], turn: TurnView): TurnView[] {
  return turns.filter((one) => (one.parent ?? null) === (turn.parent ?? null)).sort((a, b) => a.number - b.number);
}

/** Where a branch ends that was gone on with last. */
export function tipOf(turns: readonly TurnView[], number: number): number {
  const next = turns.filter((one) => one.parent === number).sort((a, b) => b.number - a.number)[0];
  return next ? tipOf(turns, next.number) : number;
}
