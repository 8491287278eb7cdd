// Who is signed in sees the frame; who is not is asked to sign in; a link's code is taken at once and leaves the address.
import { Center, Loader } from "@mantine/core";
import { useQueryClient, type QueryClient } from "@tanstack/react-query";
import { useEffect, useRef, useState } from "react";
import { ApiError, call } from "../api/http";
import { useSession } from "../api/queries";
import type { SessionView } from "../api/schema";
import { Frame } from "./Frame";
import { goOn, useRoute } from "./router";
import { SignIn } from "./SignIn";

export async function signIn(credential: string): Promise<SessionView> {
  return call<SessionView>("POST", "/v1/sessions", { headers: { Authorization: `Bearer ${credential}` } });
}

/** What another session knew is forgotten. */
function enter(queries: QueryClient, found: SessionView): void {
  queries.removeQueries({ predicate: (query) => query.queryKey[0] !== "session" });
  queries.setQueryData(["session"], found);
}

export function App() {
  const route = useRoute();
  const queries = useQueryClient();
  const [failure, setFailure] = useState<ApiError | null>(null);
  const taken = useRef("");
  const code = route.parts[0] === "enter" ? (route.parts[1] ?? "") : "";
  const session = useSession(!code);
  useEffect(() => {
    if (!code || taken.current === code) return;
    taken.current = code;
    void signIn(code)
      .then((found) => {
        enter(queries, found);
        setFailure(null);
      })
      .catch((error: unknown) => {
        // A link that was used in this very browser leads to where it led before.
        if (!queries.getQueryData(["session"])) setFailure(error instanceof ApiError ? error : null);
      })
      .finally(() => goOn("enter", ["monitor"]));
  }, [code, queries]);
  const isIn = session.data !== undefined;
  useEffect(() => {
    // Who is signed in all the same need not hear that a further sign-in failed.
    if (isIn) goOn("refused", ["monitor"]);
  }, [isIn, route]);
  useEffect(() => {
    // Any panel may be the first to hear that the session has ended.
    return queries.getQueryCache().subscribe((event) => {
      const error = event.query.state.error;
      if (event.type === "updated" && error instanceof ApiError && error.status === 401
        && event.query.queryKey[0] !== "session") {
        void queries.invalidateQueries({ queryKey: ["session"] });
      }
    });
  }, [queries]);
  if (code || session.isPending) return <Center h="100vh"><Loader /></Center>;
  const isOut = session.error instanceof ApiError && session.error.status === 401;
  if (isOut || !session.data) {
    return <SignIn failure={failure ?? (isOut ? null : (session.error as ApiError | null))} onDone={(found) => {
      enter(queries, found);
      setFailure(null);
    }} />;
  }
  return <Frame session={session.data} />;
}
