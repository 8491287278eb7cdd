// What changes something on the server, begun once until it is answered: what is pressed twice is sent once.
import { useMutation, type UseMutationOptions, type UseMutationResult } from "@tanstack/react-query";
import { useCallback, useRef } from "react";

type Options<Answer, Given> = UseMutationOptions<Answer, Error, Given> & { mutationFn: (given: Given) => Promise<Answer> };

/** Passes a call on unless one of the same is not answered yet; `done` says that it is. Pure. */
export function once<Given>(begin: (given: Given) => void): { begin: (given: Given) => void; done: (given: Given) => void } {
  const underway = new Set<string>();
  const nameOf = (given: Given) => JSON.stringify(given) ?? "";
  return {
    begin: (given) => {
      if (underway.has(nameOf(given))) return;
      underway.add(nameOf(given));
      begin(given);
    },
    done: (given) => underway.delete(nameOf(given)),
  };
}

/**
 * As `useMutation`, whose button knows only at its next drawing that it was pressed: a second click in the same moment,
 * or a key that is held down, would be a second task, key or answer.
 */
export function useAct<Answer, Given = void>(options: Options<Answer, Given>): UseMutationResult<Answer, Error, Given> {
  const mutate = useRef<(given: Given) => void>(() => undefined);
  const guard = useRef<ReturnType<typeof once<Given>> | null>(null);
  guard.current ??= once<Given>((given) => mutate.current(given));
  const { done, begin } = guard.current;
  const made = useMutation<Answer, Error, Given>({
    ...options,
    onSettled: (answer, error, given, ...rest) => {
      done(given);
      return options.onSettled?.(answer, error, given, ...rest);
    },
  });
  mutate.current = made.mutate;
  return { ...made, mutate: useCallback((given: Given) => begin(given), [begin]) } as UseMutationResult<Answer, Error, Given>;
}
