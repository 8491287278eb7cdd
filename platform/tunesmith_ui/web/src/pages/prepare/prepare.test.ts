import { describe, expect, it } from "vitest";
import type { About, FormProperty, FormSchema } from "../../api/queries";
import { effectiveBatch } from "./batch";
import { differing, folderOf, given, places } from "./draft";
import { read } from "./readYaml";

const property = (fallback: unknown, more: Partial<About> = {}): FormProperty => ({
  default: fallback, description: "",
  tunesmith: {
    kind: "number", group: "training", fold: "none", required: false, label_en: "", label_zh: "", help_en: "", help_zh: "",
    ui_min: null, ui_max: null, choices: null, ...more,
  },
});
const schema: FormSchema = {
  title: "T", groups: [], folds: [], required: ["model"],
  properties: {
    model: property(null, { not_in_templates: true }),
    out: property(null, { not_copied: true, not_in_templates: true }),
    rate: property(2e-4, { aliases: ["lr"] }),
    use_lora: property(true),
    r: property(16, { visible_when: [{ field: "use_lora", op: "in", value: [true] }] }),
  },
};
const spec = { model: "/m", out: "/old", rate: 1e-3, use_lora: true, r: 16 };

describe("what a task is made from", () => {
  it("takes what was chosen, and not what is that task's alone", () => {
    expect(given(schema, spec)).toEqual({ model: "/m", rate: 1e-3 });
  });
  it("says in what it differs, also where a value went back to its default", () => {
    expect(differing(schema, given(schema, spec), spec)).toEqual({});
    expect(differing(schema, { model: "/m" }, spec)).toEqual({ rate: 2e-4 });
    expect(differing(schema, { model: "/m", rate: 1e-3, out: "/new" }, spec)).toEqual({ out: "/new" });
    expect(differing(schema, { model: "/m", rate: 1e-3, use_lora: false, r: 8 }, spec)).toEqual({ use_lora: false });
  });
  it("keeps files and folders from templates", () => {
    expect(places(schema, { model: "/m", out: "/new", rate: 1 })).toEqual({ model: "/m", out: "/new" });
  });
});

describe("parameters as YAML", () => {
  it("reads names as they may be written, and says which it does not know", () => {
    expect(read(schema, "lr: 1e-5\nmodel: /m\nrnk: 3")).toEqual({
      values: { rate: 1e-5, model: "/m" }, unknown: ["rnk"], lines: { rate: 1, model: 2, rnk: 3 },
    });
    expect(read(schema, "")).toEqual({ values: {}, unknown: [], lines: {} });
  });
  it("says in which line it is no YAML", () => {
    expect(read(schema, "rate: 1\nmodel: [/m\nr: 2")).toMatchObject({ line: 3 });
    expect(read(schema, "rate: 1\n# a word\nrate: 2")).toMatchObject({ line: 3 });
  });
  it("says what is no YAML of parameters", () => {
    for (const text of ["- a\n- b", "rate: [1", "just words"]) expect(read(schema, text)).toHaveProperty("error");
  });
});

describe("where a task publishes", () => {
  it("is named as the task, without what a path would take for more", () => {
    expect(folderOf("from the browser")).toBe("from-the-browser");
    expect(folderOf(" ../a/b 第二次 ")).toBe("a-b-第二次");
    expect(folderOf("..")).toBe("");
  });
});

describe("the effective batch", () => {
  it("multiplies rows, accumulation and workers; of a range the lowest", () => {
    expect(effectiveBatch([2, 8, 4])).toBe(64);
    expect(effectiveBatch([2, 8, "2:4"])).toBe(32);
    expect(effectiveBatch([2, null, 1])).toBeNull();
  });
});
