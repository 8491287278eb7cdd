// Live streams of the server (SSE). A hidden tab holds none, so that many tabs never use up a browser's connections;
// a stream that breaks off, or falls silent, begins again where it was.
import { useCallback, useEffect, useRef, useState } from "react";
import { listen, type Streamed } from "./events";
import { addressOf } from "./http";

/** A stream that the server does not answer: since when, and when it is tried again, in milliseconds of the clock. */
export type Away = { since: number; next: number };

const FIRST_MS = 1000;
const LONGEST_MS = 8000;

/**
 * Follow a stream while the page is looked at.
 *
 * @param path The stream's path; none is followed when null.
 * @param kinds The kinds of event that are listened to.
 * @param start What is read already: the first connection goes on after it.
 * @param hear Called with each event.
 * @param back Called when it is open again after it was away.
 * @returns Whether the server is away, and what tries it at once.
 */
export function useStream(
  path: string | null, kinds: readonly string[], start: string | number | null, hear: (event: Streamed) => void,
  back?: () => void,
): { away: Away | null; retry: () => void } {
  const [away, setAway] = useState<Away | null>(null);
  const heard = useRef(hear);
  heard.current = hear;
  const isBack = useRef(back);
  isBack.current = back;
  const begin = useRef<() => void>(() => undefined);
  const names = kinds.join(" ");
  useEffect(() => {
    if (path === null) return undefined;
    let leave: (() => void) | null = null;
    let last = start;
    let again: ReturnType<typeof setTimeout> | undefined;
    let isOver = false;
    let since = 0;
    let wait = FIRST_MS;
    const known = new Set(names.split(" "));
    const close = () => {
      leave?.();
      leave = null;
      clearTimeout(again);
    };
    const open = () => {
      close();
      if (document.hidden || isOver) return;
      leave = listen(addressOf(path, { after: last }), document.documentElement.lang || "en", {
        open: () => {
          if (since) isBack.current?.();
          since = 0;
          wait = FIRST_MS;
          setAway(null);
        },
        lost: () => {
          close();
          since ||= Date.now();
          const next = wait * (1 + Math.random() / 4); // not every tab at once
          wait = Math.min(wait * 2, LONGEST_MS);
          setAway({ since, next: Date.now() + next });
          again = setTimeout(open, next);
        },
        event: (event) => {
          if (event.id) last = event.id;
          if (event.kind === "end") {
            isOver = true;
            setAway(null);
            close();
          } else if (known.has(event.kind)) heard.current(event);
        },
      });
    };
    const look = () => (document.hidden ? close() : open());
    begin.current = open;
    open();
    document.addEventListener("visibilitychange", look);
    // A connection that stands says nothing of a network that has gone: it is opened anew, which shows it.
    window.addEventListener("online", look);
    window.addEventListener("offline", look);
    return () => {
      window.removeEventListener("online", look);
      window.removeEventListener("offline", look);
      document.removeEventListener("visibilitychange", look);
      close();
    };
    // The start counts once: what is heard later moves it.
    // eslint-disable-next-line react-hooks/exhaustive-deps
  }, [path, names]);
  return { away, retry: useCallback(() => begin.current(), []) };
}
