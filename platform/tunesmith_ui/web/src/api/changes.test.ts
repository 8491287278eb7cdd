// What a page shows when it looked just before its task's end: without the rule, what was there then, for ever.
import { QueryClient, QueryObserver, type QueryKey } from "@tanstack/react-query";
import { afterEach, expect, test } from "vitest";
import { followChanges } from "./changes";

const ID = "task-1";
/** What a page asks of a task, and of what tasks make, with keys as the pages write them. */
const PARTS: QueryKey[] = [
  ["evaluation", ID], ["evaluation-result", ID], ["evaluation-recomputed", ID, "composite"], ["package", ID], 
  ["checkpoints", ID], ["autopsy", ID], ["log", ID, [], ""], ["curves", ID, ["loss"], { x: "step" }], ["rows", ID, 3],
  ["compare", "task-0", ["task-2", ID], "loss", "step"],
];
const BESIDES: QueryKey[] = [
  ["package-which", "task-0", null], ["tasks", "train", []], ["datasets"], ["models"], ["chat-models"], ["evaluations"], ["quota"],
];
const ended: (() => void)[] = [];
afterEach(() => ended.splice(0).forEach((end) => end()));

const server = { state: "running", attempt: 1 };
const settled = () => new Promise((resolve) => setTimeout(resolve));

/** A page that shows the parts, for as long as a test takes; `shown` is what it shows of each. */
async function page() {
  Object.assign(server, { state: "running", attempt: 1 });
  const queries = new QueryClient({ defaultOptions: { queries: { retry: false, staleTime: Infinity } } });
  ended.push(followChanges(queries), () => queries.clear());
  const watched = [...PARTS, ...BESIDES].map((queryKey) => new QueryObserver(queries, { queryKey, queryFn: () => Promise.resolve(`${server.state} ${server.attempt}`) }));
  const other = new QueryObserver(queries, { queryKey: ["checkpoints", "task-9"], queryFn: () => Promise.resolve(server.state) });
  for (const one of [...watched, other]) ended.push(one.subscribe(() => undefined));
  await settled();
  return { queries, other, shown: (count = watched.length) => [...new Set(watched.slice(0, count).map((one) => one.getCurrentResult().data))] };
}

test("what a task's end brought is asked for when the page hears of the end", async () => {
  const { queries, other, shown } = await page();
  const task = new QueryObserver(queries, { queryKey: ["task", ID], queryFn: () => Promise.resolve({ id: ID, ...server }) });
  ended.push(task.subscribe(() => undefined));
  await settled();
  expect(shown()).toEqual(["running 1"]);
  server.state = "completed";
  await task.refetch();
  await settled();
  expect(shown()).toEqual(["completed 1"]);
  expect(other.getCurrentResult().data, "what hangs on no changed task is left alone").toBe("running");
});

test("a task that is over at the page's first look shows all the same what its end brought", async () => {
  const { queries, shown } = await page();
  server.state = "completed";
  const task = new QueryObserver(queries, { queryKey: ["task", ID], queryFn: () => Promise.resolve({ id: ID, ...server }) });
  ended.push(task.subscribe(() => undefined));
  await settled();
  await settled();
  expect(shown(PARTS.length)).toEqual(["completed 1"]);
});

test("another attempt, and an end that the list alone tells of, count as much", async () => {
  const { queries, shown } = await page();
  const task = new QueryObserver(queries, { queryKey: ["task", ID], queryFn: () => Promise.resolve({ id: ID, ...server }) });
  ended.push(task.subscribe(() => undefined));
  const tell = async () => {
    queries.setQueryData(["workspace"], [{ id: ID, ...server }]);
    await settled();
    await settled();
  };
  await tell();
  server.attempt = 2;
  await tell();
  expect(shown()).toEqual(["running 2"]);
  server.state = "failed"; // as after a server's restart: the list comes whole, and the task's own page is told by it
  await tell();
  expect(shown()).toEqual(["failed 2"]);
  expect(queries.getQueryData(["task", ID])).toMatchObject({ state: "failed" });
});

test("a list that says the same again asks for nothing", async () => {
  const { queries, shown } = await page();
  queries.setQueryData(["workspace"], [{ id: ID, ...server }]);
  server.state = "completed";
  queries.setQueryData(["workspace"], [{ id: ID, state: "running", attempt: 1 }]);
  await settled();
  expect(shown()).toEqual(["running 1"]);
});

test("what is asked when the end comes is asked anew", async () => {
  const { queries } = await page();
  const answers: ((said: string) => void)[] = [];
  const slow = new QueryObserver(queries, { queryKey: ["evaluation", ID, "slow"], queryFn: () => new Promise<string>((resolve) => answers.push(resolve)) });
  ended.push(slow.subscribe(() => undefined));
  queries.setQueryData(["task", ID], { id: ID, state: "completed", attempt: 1 });
  await settled();
  answers[0]?.("before its end");
  answers[1]?.("with its end");
  await settled();
  expect(slow.getCurrentResult().data).toBe("with its end");
});
