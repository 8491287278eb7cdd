import { expect, test } from "vitest";
import { levelsOf } from "./levels";

test("a step stands behind all that it waits for", () => {
  const steps = [
    { id: "score", needs: ["train", "clean"] }, { id: "clean", needs: [] }, { id: "train", needs: ["clean"] }, { id: "other", needs: ["gone"] },
  ];
  expect(levelsOf(steps).map((level) => level.map((one) => one.id))).toEqual([["clean", "other"], ["train"], ["score"]]);
});
