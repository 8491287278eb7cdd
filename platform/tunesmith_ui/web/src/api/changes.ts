// What pages know of a task is asked for once more when the task is seen in another state: what comes with its end, or
// with another attempt, is in no answer of before. One rule for all pages, however they hear of it: a page that asks by
// the clock stops asking when the task is over, and its last look may have been just before.
import type { Query, QueryClient, QueryKey } from "@tanstack/react-query";

type Seen = { id: string; state: string; attempt: number };

/** What belongs to no one task and is another when one appears, goes or ends. */
const BESIDES = new Set(["tasks", "datasets", "models", "chat-models", "evaluations", "quota", "package-which"]);

/** Whether a key names one of some tasks, at any depth: what is a task's has its id in its key. */
function names(key: unknown, ids: ReadonlySet<string>): boolean {
  if (typeof key === "string") return ids.has(key);
  return Array.isArray(key) && key.some((one) => names(one, ids));
}

/** The tasks that an answer shows; null where it is about something else. */
function seenIn(key: QueryKey, data: unknown): Seen[] | null {
  if (key[0] === "task") return [data as Seen];
  return key[0] === "workspace" ? (data as Seen[]) : null;
}

/**
 * Watch what is learnt of tasks, and ask again for what hangs on them; returns what ends it.
 *
 * A task that a page asked for counts from the first answer on: what the page asked beside it may be older.
 */
export function followChanges(queries: QueryClient): () => void {
  const known = new Map<string, Map<string, string>>();
  const changedIn = (query: Query): { ids: Set<string>; isFirst: boolean } => {
    const seen = query.state.data === undefined ? null : seenIn(query.queryKey, query.state.data);
    const before = known.get(query.queryHash);
    const isFirst = !before;
    if (seen === null) return { ids: new Set(), isFirst };
    const now = new Map(seen.map((one) => [one.id, `${one.state} ${one.attempt}`]));
    known.set(query.queryHash, now);
    if (isFirst && query.queryKey[0] === "workspace") return { ids: new Set(), isFirst };
    return { ids: new Set([...now.keys(), ...(before?.keys() ?? [])].filter((id) => before?.get(id) !== now.get(id))), isFirst };
  };
  return queries.getQueryCache().subscribe((event) => {
    if (event.type === "removed") known.delete(event.query.queryHash);
    if (event.type !== "updated" || event.action.type !== "success") return;
    const source = event.query;
    const { ids, isFirst } = changedIn(source);
    if (ids.size === 0) return;
    const predicate = (query: Query) => query !== source && query.queryKey[0] !== "workspace"
      && (names(query.queryKey, ids) || (!isFirst && BESIDES.has(String(query.queryKey[0]))));
    // A first answer on its way is not asked for again where it is only called old: it is given up before.
    void queries.cancelQueries({ predicate }).then(() => queries.invalidateQueries({ predicate }));
  });
}
