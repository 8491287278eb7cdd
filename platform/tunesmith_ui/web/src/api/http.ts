// One call to the platform: says that a page of the studio asks, words errors, keeps their request's number.
import type { Call, ErrorBody } from "./schema";

/** Where the API lies as seen from the page, so that it holds below any path that a proxy puts before it. */
export const BASE = new URL("../", document.baseURI);
export const STUDIO_HEADER = "X-Tunesmith-Studio";

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

export async function request(method: string, path: string, given: Given = {}): Promise<Response> {
  const headers: Record<string, string> = {
    [STUDIO_HEADER]: "1", "Accept-Language": document.documentElement.lang || "en", ...given.headers,
  };
  let body: BodyInit | undefined;
  if (given.body instanceof Blob) body = given.body;
  else if (given.body !== undefined) {
    headers["Content-Type"] ??= "application/json";
    body = typeof given.body === "string" ? given.body : JSON.stringify(given.body);
  }
  let answer: Response;
  try {
    answer = await fetch(addressOf(path, given.query), {
      method, headers, body, signal: given.signal ?? null, credentials: "same-origin", cache: "no-store",
    });
  } catch (cause) {
    if (cause instanceof DOMException && cause.name === "AbortError") throw cause;
    throw new ApiError(0, "cannot_connect", "", null, [], "");
  }
  if (!answer.ok) throw await errorOf(answer);
  return answer;
}

/** Call an endpoint that the API's description has; another one does not compile. */
export async function call<Answer, C extends Call = Call>(
  method: Method<C>, path: Path<C>, given: Given = {},
): Promise<Answer> {
  const answer = await request(method, path, given);
  return (answer.status === 204 ? undefined : await answer.json()) as Answer;
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
