// A conversation with a model, as it answers: OpenAI's stream, read piece by piece.
import { ApiError, request } from "./http";

export type Turn = { role: "user" | "assistant" | "system"; content: string };
export type Told = { text: string; thought: string; finish: string | null; tokens: number; served: string };

const AWAY_SECONDS = 300;

/**
 * Ask a model; calls `tell` with what there is of the answer so far.
 *
 * @param body What OpenAI's form takes: model, messages and settings.
 */
export async function ask(
  body: Record<string, unknown>, signal: AbortSignal, tell: (told: Told) => void,
): Promise<Told> {
  const answer = await opened(body, signal);
  const told: Told = { text: "", thought: "", finish: null, tokens: 0, served: answer.headers.get("x-tunesmith-model") ?? "" };
  const reader = answer.body!.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) break;
    const lines = (rest + value).split("\n");
    rest = lines.pop() ?? "";
    for (const line of lines) {
      if (!line.startsWith("data:")) continue;
      const data = line.slice(5).trim();
      if (data === "[DONE]") continue;
      take(told, JSON.parse(data) as Chunk);
    }
    tell({ ...told });
  }
  // A stream that ends without a reason was cut off.
  if (told.finish === null) throw new ApiError(502, "cut_off", "", null, [], answer.headers.get("x-request-id") ?? "");
  return told;
}

type Chunk = {
  choices?: Array<{ delta?: { content?: string; reasoning_content?: string }; finish_reason?: string | null }>;
  usage?: { completion_tokens?: number } | null;
  error?: { message: string; code: string };
};

function take(told: Told, chunk: Chunk): void {
  if (chunk.error) throw new ApiError(500, chunk.error.code, chunk.error.message, null, [], "");
  const choice = chunk.choices?.[0];
  told.text += choice?.delta?.content ?? "";
  told.thought += choice?.delta?.reasoning_content ?? "";
  told.finish = choice?.finish_reason ?? told.finish;
  told.tokens = chunk.usage?.completion_tokens ?? told.tokens;
}

async function opened(body: Record<string, unknown>, signal: AbortSignal): Promise<Response> {
  const begun = Date.now();
  for (;;) {
    try {
      return await request("POST", "/openai/v1/chat/completions", {
        body: { ...body, stream: true, stream_options: { include_usage: true } }, signal,
      });
    } catch (error) {
      const seconds = (Date.now() - begun) / 1000;
      const isStarting = error instanceof ApiError && error.status === 503;
      if (!isStarting || seconds > AWAY_SECONDS) throw error;
      await new Promise<void>((resolve, reject) => {
        const timer = setTimeout(resolve, 2000);
        signal.addEventListener("abort", () => {
          clearTimeout(timer);
          reject(new DOMException("", "AbortError"));
        }, { once: true });
      });
    }
  }
}
