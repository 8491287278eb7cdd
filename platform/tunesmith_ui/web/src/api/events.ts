// One connection to a stream of server-sent events, read by `fetch`: the browser's own reader hides the comments by which
// the server says every ten seconds that a stream lives, so that it takes a server that hangs for one that has no news.

export type Streamed = { kind: string; data: string; id: string };
export type Heard = { open: () => void; event: (event: Streamed) => void; lost: () => void };

/** The server says each ten seconds that a stream lives (`sse.py`); two of those unheard, and it does not. */
export const SILENT_MS = 22_000;

/** Calls `silent` once when nothing was heard for so long. */
export function watch(ms: number, silent: () => void): { heard: () => void; stop: () => void } {
  let timer = setTimeout(silent, ms);
  return {
    heard: () => {
      clearTimeout(timer);
      timer = setTimeout(silent, ms);
    },
    stop: () => clearTimeout(timer),
  };
}

/** Takes text as it comes, and tells the events that are whole. Lines end as the specification of SSE lets them. Pure. */
export function parser(tell: (event: Streamed) => void): (text: string) => void {
  let rest = "";
  let event: Streamed = { kind: "message", data: "", id: "" };
  return (text) => {
    const lines = (rest + text).split(/\r\n|\n|\r(?!$)/);
    rest = lines.pop() ?? "";
    for (const line of lines) {
      const at = line.indexOf(":");
      if (line === "") {
        if (event.data) tell(event);
        event = { kind: "message", data: "", id: "" };
      } else if (at !== 0) { // what begins with a colon is a comment
        const name = at < 0 ? line : line.slice(0, at);
        const value = at < 0 ? "" : line.slice(at + 1).replace(/^ /, "");
        if (name === "event") event.kind = value;
        else if (name === "id") event.id = value;
        else if (name === "data") event.data += event.data ? `\n${value}` : value;
      }
    }
  };
}

/**
 * Listen to a stream until it is lost: refused, cut, over, or silent.
 *
 * @returns What ends it; nothing is told after that.
 */
export function listen(address: string, language: string, hear: Heard): () => void {
  const leaving = new AbortController();
  let isOver = false;
  const end = (isLost: boolean) => {
    if (isOver) return;
    isOver = true;
    alive.stop();
    leaving.abort();
    if (isLost) hear.lost();
  };
  const alive = watch(SILENT_MS, () => end(true));
  const read = async () => {
    const answer = await fetch(address, {
      headers: { Accept: "text/event-stream", "Accept-Language": language }, credentials: "same-origin", cache: "no-store", signal: leaving.signal,
    });
    if (isOver || !answer.ok || !answer.body) return;
    alive.heard();
    hear.open();
    const take = parser((event) => {
      if (!isOver) hear.event(event);
    });
    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    for (;;) {
      const { value, done } = await reader.read();
      if (done || isOver) return;
      alive.heard();
      take(value);
    }
  };
  void read().catch(() => undefined).finally(() => end(true));
  return () => end(false);
}
