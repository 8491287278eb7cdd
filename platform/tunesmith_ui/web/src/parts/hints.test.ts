import { expect, test } from "vitest";
import en from "../i18n/en.json";
import zh from "../i18n/zh.json";
import { inStudio, PLACES } from "./hints";

const words = (language: Record<string, string>) => (word: string) => language[word]!;
const english = (text: string) => inStudio(text, words(en));
const chinese = (text: string) => inStudio(text, words(zh));

test("a hint that names a command says where the studio does it", () => {
  expect(english("`tunesmith tasks list` shows them.")).toBe(en["hint.tasks"]);
  expect(chinese("`tunesmith tasks list` 会列出它们。")).toBe(zh["hint.tasks"]);
});

test("what it says besides stays, and one place is named once", () => {
  expect(english("Is the file damaged? `tunesmith logs api` has the details.")).toBe(`Is the file damaged? ${en["hint.log"]}`);
  expect(english("Pull it with `tunesmith models pull a.b/c`, or give an absolute path; `tunesmith models list` shows what is here.")).toBe(en["hint.models"]);
  expect(chinese("文件是否损坏？`tunesmith logs api` 中有详情。请重试。")).toBe(`文件是否损坏？${zh["hint.log"]}请重试。`);
});

test.each([
  "Did you mean `a. tunesmith b`?", "There is no task `task-1`.", "It takes 1.5 GB; `epochs` is 3.", "A `broken quote.", "", "`tunesmith`",
])("what names no command stays as it is: %s", (text) => {
  expect(english(text)).toBe(text);
});

test.each([en, zh])("no sentence of the studio's sends to a terminal", (language: Record<string, string>) => {
  for (const word of Object.values(PLACES)) expect(language[word]).not.toMatch(/tunesmith [a-z]/);
});
