import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { listen, parser, SILENT_MS, type Streamed } from "./events";

const PING_MS = 10_000; // as the server says that a stream lives

beforeEach(() => void vi.useFakeTimers());
afterEach(() => {
  vi.useRealTimers();
  vi.unstubAllGlobals();
});

/** A server whose stream the test writes, and what a listener hears of it. */
function begun(answer?: () => Promise<Response>) {
  let write: ReadableStreamDefaultController<Uint8Array>;
  const body = new ReadableStream<Uint8Array>({ start: (made) => void (write = made) });
  const asked = vi.fn(answer ?? (() => Promise.resolve(new Response(body))));
  vi.stubGlobal("fetch", asked);
  const heard: string[] = [];
  const leave = listen("http://here/v1/stream", "en", {
    open: () => heard.push("open"), lost: () => heard.push("lost"), event: (one) => heard.push(`${one.kind} ${one.id} ${one.data}`),
  });
  return { asked, heard, leave, say: (text: string) => write.enqueue(new TextEncoder().encode(text)), end: () => write.close() };
}

test("a stream that says only that it lives is not lost; one that falls silent is, once", async () => {
  const { heard, say } = begun();
  await vi.advanceTimersByTimeAsync(0);
  for (let at = 0; at < 12; at += 1) {
    say(": ping\r\n\r\n");
    await vi.advanceTimersByTimeAsync(PING_MS);
  }
  expect(heard).toEqual(["open"]);
  await vi.advanceTimersByTimeAsync(SILENT_MS);
  expect(heard).toEqual(["open", "lost"]);
  await vi.advanceTimersByTimeAsync(10 * SILENT_MS);
  expect(heard).toEqual(["open", "lost"]);
});

test("a server that takes the connection and answers nothing is lost, and asked once", async () => {
  const { asked, heard } = begun(() => new Promise(() => undefined));
  await vi.advanceTimersByTimeAsync(SILENT_MS - 1);
  expect(heard).toEqual([]);
  await vi.advanceTimersByTimeAsync(1);
  expect(heard).toEqual(["lost"]);
  expect(asked).toHaveBeenCalledTimes(1);
  expect((asked.mock.calls[0] as unknown as [string, RequestInit])[1].signal?.aborted).toBe(true);
});

test.each([
  ["refused", () => Promise.resolve(new Response("", { status: 503 }))],
  ["not to be reached", () => Promise.reject(new TypeError("no network"))],
])("a stream that is %s is lost without having been open", async (_, answer) => {
  const { heard } = begun(answer);
  await vi.advanceTimersByTimeAsync(0);
  expect(heard).toEqual(["lost"]);
});

test("a stream that ends is lost after what it said, and one that was left tells nothing", async () => {
  const ended = begun();
  await vi.advanceTimersByTimeAsync(0);
  ended.say("id: 4\r\nevent: task\r\ndata: {}\r\n\r\n");
  ended.end();
  await vi.advanceTimersByTimeAsync(0);
  expect(ended.heard).toEqual(["open", "task 4 {}", "lost"]);
  const left = begun();
  await vi.advanceTimersByTimeAsync(0);
  left.leave();
  await vi.advanceTimersByTimeAsync(2 * SILENT_MS);
  expect(left.heard).toEqual(["open"]);
});

test.each([1, 2, 3, 7, 1000])("events are whole however they are cut: in pieces of %i", (size) => {
  const text = ": ping\r\n\r\nid: 1\r\nevent: log\r\ndata: {\"a\":\"说:\"}\r\n\r\nevent: end\ndata: a\ndata: b\n\nid: 9\n\ndata: late\r\n";
  const told: Streamed[] = [];
  const take = parser((event) => told.push(event));
  for (let at = 0; at < text.length; at += size) take(text.slice(at, at + size));
  expect(told).toEqual([
    { kind: "log", id: "1", data: '{"a":"说:"}' },
    { kind: "end", id: "", data: "a\nb" },
  ]);
});
