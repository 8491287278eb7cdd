// Hints of the platform name commands of a terminal; who reads them in a browser hears where the studio does the same.
import type { Word } from "../i18n";

/** What a command is about, by its first word, as the sentence that stands for it here. */
export const PLACES: Record<string, Word> = {
  tasks: "hint.tasks", watch: "hint.tasks", stop: "hint.stop", run: "hint.tasks", status: "hint.tasks", checkpoints: "hint.operator",
  train: "hint.prepare", estimate: "hint.prepare", templates: "hint.prepare", parameters: "hint.prepare",
  data: "hint.data", models: "hint.models", package: "hint.package", packages: "hint.package",
  evaluate: "hint.evaluate", evaluations: "hint.evaluate", compare: "hint.evaluate", samples: "hint.evaluate",
  chat: "hint.test", chats: "hint.test", generate: "hint.test", pipelines: "hint.pipelines",
  keys: "hint.settings", webhooks: "hint.settings", environment: "hint.settings", quota: "hint.operator", projects: "hint.projects",
  logs: "hint.log", doctor: "hint.operator", up: "hint.operator", down: "hint.operator", migrate: "hint.operator", mlflow: "hint.operator",
  admin: "hint.operator", controller: "hint.operator",
};

const COMMAND = /`tunesmith ([a-z]+)[^`]*`/;

/** A sentence of the platform's as the studio says it: those that name a command are replaced, the others stay. Pure. */
export function inStudio(text: string, t: (word: Word) => string): string {
  if (!COMMAND.test(text)) return text;
  const said: string[] = [];
  // Not within what is quoted: names and values may hold anything.
  for (const piece of text.match(/(?:`[^`]*`|[^`])+?(?:(?<=[.?!;])(?=\s|$)|(?<=[。？！；])|$)\s*/g) ?? [text]) {
    const command = COMMAND.exec(piece)?.[1];
    const one = command === undefined ? piece.trim() : t(PLACES[command] ?? "hint.operator");
    if (one && !said.includes(one)) said.push(one);
  }
  return said.reduce((all, one) => all + (/[\u3000-\uffef]$/.test(all) ? "" : " ") + one);
}
