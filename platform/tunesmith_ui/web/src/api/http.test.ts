import { afterEach, beforeEach, expect, test, vi } from "vitest";

beforeEach(() => {
  vi.useFakeTimers();
  vi.stubGlobal("document", { baseURI: "http://here/studio/", documentElement: { lang: "en" } });
});
afterEach(() => {
  vi.useRealTimers();
  vi.unstubAllGlobals();
});

/** A server that takes a request and says nothing until it is given up. */
function hangs() {
  const asked = vi.fn((_: string, given: RequestInit) => new Promise<Response>((_resolve, reject) => {
    given.signal!.addEventListener("abort", () => reject(given.signal!.reason as Error));
  }));
  vi.stubGlobal("fetch", asked);
  return asked;
}

test.each([
  ["GET", undefined, 30_000, "cannot_connect"],
  ["POST", {}, 60_000, "no_answer"],
  ["DELETE", undefined, 60_000, "no_answer"],
  ["PUT", new Blob(["rows"]), 600_000, "no_answer"],
] as const)("%s of %s is given up when the server hangs, sent once, and says whether it may have arrived", async (method, body, ms, code) => {
  const { request } = await import("./http");
  const asked = hangs();
  const failed = vi.fn();
  request(method, "/v1/keys", { body }).catch(failed);
  await vi.advanceTimersByTimeAsync(ms - 1);
  expect(failed).not.toHaveBeenCalled();
  await vi.advanceTimersByTimeAsync(1);
  expect(failed).toHaveBeenCalledWith(expect.objectContaining({ status: 0, code }));
  expect(asked).toHaveBeenCalledTimes(1);
});

test("an answer whose body does not end is given up too", async () => {
  const { call } = await import("./http");
  vi.stubGlobal("fetch", (_: string, { signal }: RequestInit) => Promise.resolve(new Response(new ReadableStream({
    start: (made) => signal!.addEventListener("abort", () => made.error(signal!.reason)),
  }))));
  const failed = vi.fn();
  call("GET", "/v1/system").catch(failed);
  await vi.advanceTimersByTimeAsync(30_000);
  expect(failed).toHaveBeenCalledWith(expect.objectContaining({ status: 0, code: "cannot_connect" }));
});

test("what the page gives up itself is no failure of the server's, and what was answered leaves no clock", async () => {
  const { call } = await import("./http");
  hangs();
  const leaving = new AbortController();
  const failed = vi.fn();
  call("GET", "/v1/system", { signal: leaving.signal }).catch(failed);
  leaving.abort();
  await vi.advanceTimersByTimeAsync(0);
  expect(failed).toHaveBeenCalledWith(expect.objectContaining({ name: "AbortError" }));
  vi.stubGlobal("fetch", () => Promise.resolve(Response.json({ parts: [] })));
  expect(await call("GET", "/v1/system")).toEqual({ parts: [] });
  expect(vi.getTimerCount()).toBe(0);
});
