import { describe, expect, it } from "vitest";
import type { About, FormProperty, FormSchema } from "../api/queries";
import { holds, isChanged, isFound, isShown, sent, untouched, valueOf } from "./form";
import { extended, joined, stepsOf } from "./lines";

const about = (more: Partial<About>): About => ({
  kind: "number", group: "training", fold: "none", required: false, label_en: "Rate", label_zh: "学习率", help_en: "How far.",
  help_zh: "步长。", ui_min: null, ui_max: null, choices: null, ...more,
});
const property = (fallback: unknown, more: Partial<About> = {}): FormProperty => ({ default: fallback, description: "", tunesmith: about(more) });
const schema: FormSchema = {
  title: "T", groups: [], folds: [], required: ["file"],
  properties: {
    use_lora: property(true),
    r: property(16, { visible_when: [{ field: "use_lora", op: "in", value: [true] }] }),
    rate: property(2e-4, { aliases: ["lr"], default_when: [{ value: 2e-5, when: [{ field: "use_lora", op: "in", value: [false] }] }] }),
    eval: property("no", { offered_when: [{ field: "share", op: "gt", value: 0 }] }),
    share: property(0),
    file: property(null),
  },
};

describe("form", () => {
  it("takes the default that fits, and never over a given value", () => {
    expect(valueOf(schema, {}, "rate")).toBe(2e-4);
    expect(valueOf(schema, { use_lora: false }, "rate")).toBe(2e-5);
    expect(valueOf(schema, { use_lora: false, rate: 1e-3 }, "rate")).toBe(1e-3);
    expect(untouched(schema, { use_lora: false, rate: 1e-3 }, "rate")).toBe(2e-5);
  });
  it("shows what has an effect and is offered", () => {
    expect(isShown(schema, {}, "r")).toBe(true);
    expect(isShown(schema, { use_lora: false }, "r")).toBe(false);
    expect(isShown(schema, {}, "eval")).toBe(false);
    expect(isShown(schema, { share: 0.1 }, "eval")).toBe(true);
  });
  it("marks what differs from its default", () => {
    expect(isChanged(schema, { r: 16 }, "r")).toBe(false);
    expect(isChanged(schema, { r: 8 }, "r")).toBe(true);
  });
  it("sends what was given and has an effect", () => {
    expect(sent(schema, { r: 8, use_lora: false, file: "a", share: "" })).toEqual({ use_lora: false, file: "a" });
  });
  it("finds by other names and in both languages", () => {
    for (const text of ["lr", "学习", "HOW FAR", "rat"]) expect(isFound("rate", schema.properties["rate"]!, text)).toBe(true);
    expect(isFound("rate", schema.properties["rate"]!, "dropout")).toBe(false);
  });
  it("knows every comparison", () => {
    expect(holds({ field: "a", op: "contains", value: "x" }, ["x", "y"])).toBe(true);
    expect(holds({ field: "a", op: "ge", value: 2 }, 2)).toBe(true);
    expect(holds({ field: "a", op: "le", value: 2 }, 3)).toBe(false);
    expect(holds({ field: "a", op: "not_in", value: [null] }, null)).toBe(false);
  });
});

describe("lines", () => {
  it("puts curves on shared places", () => {
    expect(joined([{ label: "a", x: [1, 3], y: [10, 30] }, { label: "b", x: [2, 3], y: [5, 6] }]))
      .toEqual([[1, 2, 3], [10, null, 30], [null, 5, 6]]);
  });
  it("adds only what is newer, once", () => {
    const line = { label: "a", x: [1, 2], y: [4, 3] };
    expect(extended(line, [{ step: 2, value: 9 }, { step: 3, value: 2 }])).toEqual({ label: "a", x: [1, 2, 3], y: [4, 3, 2] });
    expect(extended(line, [])).toBe(line);
  });
  it("finds the steps of what was zoomed into, over any axis, with a neighbour at each end", () => {
    const curve = { x: [0, 10, 20, 30, 40], step: [1, 5, 9, 13, 17] };
    expect(stepsOf([curve], [9, 22])).toEqual([1, 13]);
    expect(stepsOf([curve], [12, 13])).toEqual([5, 9]);
    expect(stepsOf([], [0, 1])).toBeNull();
  });
});
