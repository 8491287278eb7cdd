import { expect, test, vi } from "vitest";
import { keep, kept } from "./kept";

test("what was typed is there after a reload, by its place, until it is sent", () => {
  const stored = new Map<string, string>();
  vi.stubGlobal("sessionStorage", { getItem: (name: string) => stored.get(name) ?? null, setItem: (name: string, text: string) => stored.set(name, text) });
  expect(kept("test/1", "")).toBe("");
  keep("test/1", "half a question", "");
  keep("samples/a", [{ prompt: "q" }], []);
  expect([kept("test/1", ""), kept("test/2", ""), kept("samples/a", [])]).toEqual(["half a question", "", [{ prompt: "q" }]]);
  keep("test/1", "", "");
  expect(JSON.parse([...stored.values()][0]!)).toEqual({ "samples/a": [{ prompt: "q" }] });
  stored.set("tunesmith-typed", "{ not JSON");
  expect(kept("samples/a", [])).toEqual([]);
});

test.each([
  ["full", { getItem: () => "{}", setItem: () => { throw new DOMException("", "QuotaExceededError"); } }],
  ["of a browser that forbids to write", { getItem: () => null, setItem: () => { throw new DOMException("", "SecurityError"); } }],
  ["of a browser that forbids to look", { getItem: () => { throw new DOMException("", "SecurityError"); }, setItem: () => { throw new DOMException("", "SecurityError"); } }],
])("a storage that is %s ends no page", (_, storage) => {
  vi.stubGlobal("sessionStorage", storage);
  expect(() => keep("test/1", "half a question", "")).not.toThrow();
  expect(kept("test/1", "first")).toBe("first");
});

test("a browser without any storage ends no page", () => {
  vi.stubGlobal("sessionStorage", undefined);
  expect(() => keep("test/1", "half a question", "")).not.toThrow();
  expect(kept("test/1", "first")).toBe("first");
});
