// Live streams of the server (SSE). A hidden tab holds none, so that many tabs never use up a browser's connections;
// a stream that breaks off begins again where it was.
import { useEffect, useRef, useState } from "react";
import { addressOf } from "./http";

export type Streamed = { kind: string; data: string; id: string };
export type StreamState = "connecting" | "open" | "closed";

/**
 * Follow a stream while the page is looked at.
 *
 * @param path The stream's path; none is followed when null.
 * @param kinds The kinds of event that are listened to.
 * @param start What is read already: the first connection goes on after it.
 * @param hear Called with each event.
 */
export function useStream(
  path: string | null, kinds: readonly string[], start: string | number | null, hear: (event: Streamed) => void,
): StreamState {
  const [state, setState] = useState<StreamState>("connecting");
  const heard = useRef(hear);
  heard.current = hear;
  const names = kinds.join(" ");
  useEffect(() => {
    if (path === null) return undefined;
    let source: EventSource | null = null;
    let last = start;
    let again: ReturnType<typeof setTimeout> | undefined;
    let isOver = false;
    const close = () => {
      source?.close();
      source = null;
      clearTimeout(again);
    };
    const open = () => {
      close();
      if (document.hidden || isOver) return;
      source = new EventSource(addressOf(path, { after: last }), { withCredentials: true });
      source.onopen = () => setState("open");
      source.onerror = () => {
        setState("connecting");
        if (source?.readyState === EventSource.CLOSED) {
          close(); // refused, or the server is away: the browser does not try again by itself
          again = setTimeout(open, 2000 + Math.random() * 2000);
        }
      };
      source.addEventListener("end", () => {
        isOver = true;
        setState("closed");
        close();
      });
      for (const kind of names.split(" ")) {
        source.addEventListener(kind, (event) => {
          const message = event as MessageEvent<string>;
          if (message.lastEventId) last = message.lastEventId;
          heard.current({ kind, data: message.data, id: message.lastEventId });
        });
      }
    };
    const look = () => (document.hidden ? close() : open());
    open();
    document.addEventListener("visibilitychange", look);
    return () => {
      document.removeEventListener("visibilitychange", look);
      close();
    };
    // The start counts once: what is heard later moves it.
    // eslint-disable-next-line react-hooks/exhaustive-deps
  }, [path, names]);
  return state;
}
