import { expect, test } from "vitest";
import { once } from "./act";

test("what is pressed again before its answer is begun once, and something else meanwhile too", () => {
  const begun: unknown[] = [];
  const { begin, done } = once<{ step: number } | undefined>((given) => begun.push(given));
  for (const given of [undefined, undefined, { step: 1 }, { step: 2 }, { step: 1 }]) begin(given);
  expect(begun).toEqual([undefined, { step: 1 }, { step: 2 }]);
  done({ step: 1 });
  begin({ step: 1 });
  begin(undefined);
  expect(begun).toHaveLength(4);
});
