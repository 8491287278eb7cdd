import { expect, test } from "vitest";
import { take, type Told } from "../../api/pieces";
import type { TurnView } from "../../api/schema";
import { besides, pathTo, tipOf } from "./tree";

const turn = (number: number, parent: number | null): TurnView =>
  ({ number, parent, content: `q${number}`, settings: {}, answers: [], chosen: 0, created_at: "" });
// 1 -> 2 -> 4, and 3 beside 2, from which 5 follows.
const turns = [turn(1, null), turn(2, 1), turn(3, 1), turn(4, 2), turn(5, 3)];

test("what is said is the way to the head", () => {
  expect(pathTo(turns, 5).map((one) => one.number)).toEqual([1, 3, 5]);
  expect(pathTo(turns, null)).toEqual([]);
  expect(pathTo(turns, 9)).toEqual([]);
});

test("what was asked anew stands beside, and its branch is gone on with where it ended", () => {
  expect(besides(turns, turns[2]!).map((one) => one.number)).toEqual([2, 3]);
  expect(besides(turns, turns[0]!).map((one) => one.number)).toEqual([1]);
  expect(tipOf(turns, 2)).toBe(4);
  expect(tipOf(turns, 1)).toBe(5);
});

test("pieces are laid onto the answer whose place they name", () => {
  const told: Told[] = [];
  take(told, { choices: [{ index: 1, delta: { content: "b" } }] });
  take(told, { choices: [{ delta: { reasoning_content: "hm" } }] });
  take(told, { choices: [{ index: 1, delta: { content: "c" } }] });
  take(told, { choices: [{ index: 0, delta: {} }], tunesmith: { error: { message: "gone" } } });
  take(told, { choices: [] });
  expect(told.map((one) => [one.text, one.thought, one.why])).toEqual([["", "hm", "gone"], ["bc", "", ""]]);
});
