// One call to the platform: says that a page of the studio asks, bounds the wait, words errors, keeps their request's number.
import type { Call, ErrorBody } from "./schema";

/** Where the API lies as seen from the page, so that it holds below any path that a proxy puts before it. */
export const BASE = new URL("../", document.baseURI);
export const STUDIO_HEADER = "X-Tunesmith-Studio";

/** What is only read is answered so soon; what checks or changes something may read files of the user's, 20 s at most. */
const READ_MS = 30_000;
const CHANGE_MS = 60_000;
/** A piece of a file goes as fast as the network does. */
const FILE_MS = 600_000;

/** What was asked and not answered in time: it may have arrived. */
export const NO_ANSWER = "no_answer";

export class ApiError extends Error {
  constructor(
    readonly status: number,
    readonly code: string,
    message: string,
    readonly hint: string | null,
    readonly problems: Problem[],
    readonly requestId: string,
  ) {
    super(message);
    this.name = "ApiError";
  }
}

export type Problem = { field: string | null; message: string; hint?: string | null };

export type Given = {
  query?: Record<string, string | number | boolean | null | undefined | Array<string | number>>;
  body?: unknown;
  headers?: Record<string, string>;
  signal?: AbortSignal;
  /** How long the answer is waited for, in milliseconds; its body is not counted where the caller reads that. */
  ms?: number;
};

type Path<T extends string> = T extends `${string} ${infer Rest}` ? Rest : never;
type Method<T extends string> = T extends `${infer Verb} ${string}` ? Verb : never;

export function addressOf(path: string, query?: Given["query"]): string {
  const address = new URL(path.slice(1), BASE);
  for (const [name, value] of Object.entries(query ?? {})) {
    if (value === null || value === undefined || value === "") continue;
    for (const one of Array.isArray(value) ? value : [value]) address.searchParams.append(name, String(one));
  }
  return address.href;
}

/** The longest wait for an answer, in milliseconds. Pure. */
export function boundOf(method: string, given: Given): number {
  if (given.ms !== undefined) return given.ms;
  if (given.body instanceof Blob) return FILE_MS;
  return method === "GET" ? READ_MS : CHANGE_MS;
}

export function request(method: string, path: string, given: Given = {}): Promise<Response> {
  return bounded(method, given, (signal) => answered(method, path, given, signal));
}

/** Call an endpoint that the API's description has; another one does not compile. */
export function call<Answer, C extends Call = Call>(method: Method<C>, path: Path<C>, given: Given = {}): Promise<Answer> {
  return bounded(method, given, async (signal) => {
    const answer = await answered(method, path, given, signal);
    return (answer.status === 204 ? undefined : await answer.json()) as Answer;
  });
}

async function answered(method: string, path: string, given: Given, signal: AbortSignal): Promise<Response> {
  const headers: Record<string, string> = {
    [STUDIO_HEADER]: "1", "Accept-Language": document.documentElement.lang || "en", ...given.headers,
  };
  let body: BodyInit | undefined;
  if (given.body instanceof Blob) body = given.body;
  else if (given.body !== undefined) {
    headers["Content-Type"] ??= "application/json";
    body = typeof given.body === "string" ? given.body : JSON.stringify(given.body);
  }
  const answer = await fetch(addressOf(path, given.query), {
    method, headers, body, signal, credentials: "same-origin", cache: "no-store",
  });
  if (!answer.ok) throw await errorOf(answer);
  return answer;
}

/** Do what asks the server, and give it up when it takes too long: a server that hangs takes a request and says nothing. */
async function bounded<T>(method: string, given: Given, work: (signal: AbortSignal) => Promise<T>): Promise<T> {
  const late = new AbortController();
  const timer = setTimeout(() => late.abort(), boundOf(method, given));
  try {
    return await work(given.signal ? AbortSignal.any([given.signal, late.signal]) : late.signal);
  } catch (cause) {
    if (cause instanceof ApiError || given.signal?.aborted) throw cause;
    throw new ApiError(0, late.signal.aborted && method !== "GET" ? NO_ANSWER : "cannot_connect", "", null, [], "");
  } finally {
    clearTimeout(timer);
  }
}

async function errorOf(answer: Response): Promise<ApiError> {
  const number = answer.headers.get("x-request-id") ?? "";
  try {
    const { error } = (await answer.json()) as { error: Partial<ErrorBody> & { param?: string } };
    const problems = (error.problems ?? []) as Problem[];
    return new ApiError(
      answer.status, String(error.code ?? "http"), String(error.message ?? ""), error.hint ?? null, problems, number,
    );
  } catch {
    return new ApiError(answer.status, "http", "", null, [], number);
  }
}
