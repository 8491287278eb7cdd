// The list of tasks as it changes, from one stream for the whole page.
import { useQuery, useQueryClient } from "@tanstack/react-query";
import { useCallback, useEffect } from "react";
import { useStream } from "../api/live";
import type { TaskView } from "../api/schema";

const KEY = ["workspace"];
const KINDS = ["tasks", "task", "deleted"] as const;
/** A task in the list, as the stream says it: what changes while it runs, without its parameters. */
export type TaskLine = Pick<
  TaskView,
  "id" | "kind" | "name" | "project" | "state" | "reason" | "message" | "waits_for" | "health" | "tags" | "attempt" | "events"
  | "progress" | "created_at" | "started_at" | "ended_at"
>;
type Change = { tasks?: TaskLine[]; task?: TaskLine; id?: string };

/** Follow the list; once, in the frame. What pages know is asked for again when the server was away and is back. */
export function useWorkspaceStream(): ReturnType<typeof useStream> {
  const queries = useQueryClient();
  const hear = useCallback(({ kind, data }: { kind: string; data: string }) => {
    const change = JSON.parse(data) as Change;
    queries.setQueryData<TaskLine[]>(KEY, (known = []) => {
      if (kind === "tasks") return change.tasks ?? [];
      if (kind === "deleted") return known.filter((task) => task.id !== change.id);
      const { task } = change;
      if (!task) return known;
      const isKnown = known.some((one) => one.id === task.id);
      return isKnown ? known.map((one) => (one.id === task.id ? task : one)) : [task, ...known];
    });
  }, [queries]);
  const back = useCallback(() => {
    void queries.invalidateQueries({ predicate: (query) => query.queryKey[0] !== KEY[0] });
  }, [queries]);
  const link = useStream("/v1/stream", KINDS, null, hear, back);
  const { away } = link;
  useEffect(() => {
    // A stream does not say why it was refused: where the session has ended, this does.
    if (away) void queries.invalidateQueries({ queryKey: ["session"] });
  }, [away, queries]);
  return link;
}

export function useWorkspace(): { tasks: TaskLine[]; isKnown: boolean } {
  const found = useQuery<TaskLine[]>({ queryKey: KEY, queryFn: () => [], enabled: false, staleTime: Infinity });
  return { tasks: found.data ?? [], isKnown: found.data !== undefined };
}
