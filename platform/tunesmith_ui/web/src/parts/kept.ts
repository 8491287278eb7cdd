// What was typed and not yet sent, kept for the tab: a reload, or a look at another page, loses nothing.
import { useCallback, useState } from "react";

const TYPED = "tunesmith-typed";

function all(): Record<string, unknown> {
  try {
    return JSON.parse(sessionStorage.getItem(TYPED) ?? "{}") as Record<string, unknown>;
  } catch {
    return {};
  }
}

/** What is kept under a name. */
export function kept<T>(name: string, initial: T): T {
  const known = all();
  return Object.hasOwn(known, name) ? (known[name] as T) : initial;
}

/** Keep something under a name; what is as it was at first is kept no longer. */
export function keep<T>(name: string, value: T, initial: T): void {
  const { [name]: _, ...others } = all();
  const isNew = JSON.stringify(value) !== JSON.stringify(initial);
  try {
    sessionStorage.setItem(TYPED, JSON.stringify(isNew ? { ...others, [name]: value } : others));
  } catch {
    // A tab keeps some megabytes, and none where a browser forbids it: what is typed then lives as long as its page.
  }
}

/**
 * As `useState`, for what a person types; never for what is secret.
 *
 * @param name Where it is typed; another name is another text.
 */
export function useKept<T>(name: string, initial: T): [T, (next: T | ((known: T) => T)) => void] {
  const [typed, setTyped] = useState(() => ({ name, value: kept(name, initial) }));
  const held = typed.name === name ? typed : { name, value: kept(name, initial) };
  if (held !== typed) setTyped(held);
  const set = useCallback((next: T | ((known: T) => T)) => setTyped((known) => {
    const before = known.name === name ? known.value : kept(name, initial);
    const value = typeof next === "function" ? (next as (known: T) => T)(before) : next;
    keep(name, value, initial);
    return { name, value };
    // The first value counts once.
    // eslint-disable-next-line react-hooks/exhaustive-deps
  }), [name]);
  return [held.value, set];
}
