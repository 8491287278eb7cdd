// Answers within a conversation, as they come: OpenAI's stream, each piece with the place of its answer.
import { SILENT_MS, watch } from "./events";
import { ApiError, request } from "./http";
import { take, type Chunk, type Told } from "./pieces";

const AWAY_SECONDS = 300;

/**
 * Ask; calls `tell` with what there is of each answer so far. What the server keeps of it is asked for afterwards.
 *
 * @param conversation Its id.
 * @param body The question, as `POST /v1/conversations/{conversation}/messages` takes it.
 * @param key The same for every try: a question is entered once.
 */
export async function ask(
  conversation: string, body: Record<string, unknown>, key: string, signal: AbortSignal, tell: (told: Told[]) => void,
): Promise<void> {
  const answer = await opened(conversation, body, key, signal);
  const told: Told[] = [];
  let isOver = false;
  const reader = answer.body!.pipeThrough(new TextDecoderStream()).getReader();
  // The server says that the stream lives while the model has nothing to say: one that hangs does not.
  const alive = watch(SILENT_MS, () => void reader.cancel());
  let rest = "";
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) break;
      alive.heard();
      const lines = (rest + value).split("\n");
      rest = lines.pop() ?? "";
      for (const line of lines) {
        if (!line.startsWith("data:")) continue;
        const data = line.slice(5).trim();
        if (data === "[DONE]") isOver = true;
        else {
          const chunk = JSON.parse(data) as Chunk;
          if (chunk.error) throw new ApiError(500, chunk.error.code, chunk.error.message, null, [], "");
          take(told, chunk);
        }
      }
      tell([...told]);
    }
  } finally {
    alive.stop();
  }
  if (!isOver) throw new ApiError(502, "cut_off", "", null, [], answer.headers.get("x-request-id") ?? "");
}

async function opened(conversation: string, body: Record<string, unknown>, key: string, signal: AbortSignal): Promise<Response> {
  const begun = Date.now();
  for (;;) {
    try {
      return await request("POST", `/v1/conversations/${conversation}/messages`, {
        body: { ...body, stream: true }, headers: { "Idempotency-Key": key }, signal, ms: AWAY_SECONDS * 1000,
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
