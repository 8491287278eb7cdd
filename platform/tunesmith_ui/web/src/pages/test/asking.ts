// One question on its way: what there is of its answers, and how it ends. Lives as long as the page does.
import { useQueryClient } from "@tanstack/react-query";
import { useEffect, useRef, useState } from "react";
import { useAct } from "../../api/act";
import { ask } from "../../api/chat";
import { call } from "../../api/http";
import type { Told } from "../../api/pieces";
import type { ConversationDetail } from "../../api/schema";
import { randomKey } from "../../parts/TaskForm";

export type Asked = { content?: string; instead_of?: number };
export type Live = { conversation: string; shown: string; parent: number | null; models: string[]; told: Told[]; waited: number };
type Wanted = { conversation: string | null; asked: Asked; shown: string; parent: number | null; models: string[]; settings: Record<string, unknown> };

export function useAsking(onMade: (conversation: string) => void) {
  const queries = useQueryClient();
  const [live, setLive] = useState<Live | null>(null);
  const [rates, setRates] = useState<Record<string, number>>({});
  const stop = useRef<AbortController | null>(null);
  useEffect(() => () => stop.current?.abort(), []);
  const send = useAct({
    mutationFn: async ({ conversation, asked, shown, parent, models, settings }: Wanted) => {
      const halt = (stop.current = new AbortController());
      const key = randomKey();
      const id = conversation ?? (await call<ConversationDetail>("POST", "/v1/conversations", {
        body: { model: models[0], settings }, headers: { "Idempotency-Key": key }, signal: halt.signal,
      })).id;
      if (!conversation) onMade(id);
      const begun = performance.now();
      let told: Told[] = [];
      setLive({ conversation: id, shown, parent, models, told, waited: 0 });
      // A model that is being loaded says nothing for a while: the user sees that it is waited for.
      const clock = setInterval(() => {
        const isSilent = told.every((one) => !one.began);
        setLive((known) => known && { ...known, waited: isSilent ? (performance.now() - begun) / 1000 : 0 });
      }, 1000);
      try {
        const who = models.length > 1 ? { models } : { model: models[0] };
        await ask(id, { ...asked, ...who, settings }, key, halt.signal, (heard) => {
          told = heard;
          setLive((known) => known && { ...known, told, waited: 0 });
        });
      } catch (error) {
        if (!halt.signal.aborted) throw error;
      } finally {
        clearInterval(clock);
        // What the server kept is what is shown from now on.
        await queries.invalidateQueries({ queryKey: ["conversation", id] });
        void queries.invalidateQueries({ queryKey: ["conversations"] });
        setRates((known) => ({ ...known, ...ratesOf(queries.getQueryData(["conversation", id]), told) }));
        setLive(null);
      }
    },
  });
  return { live, rates, send, stop: () => stop.current?.abort() };
}

/** Tokens a second of the newest turn's answers, by turn and place. */
function ratesOf(found: ConversationDetail | undefined, told: Told[]): Record<string, number> {
  const turn = found?.said.find((one) => one.number === found.head);
  return Object.fromEntries(told.flatMap((one, place) => {
    const tokens = turn?.answers[place]?.completion_tokens ?? 0;
    const seconds = (one.last - one.began) / 1000;
    return turn && tokens > 1 && seconds > 0 ? [[`${turn.number}/${place}`, (tokens - 1) / seconds]] : [];
  }));
}
