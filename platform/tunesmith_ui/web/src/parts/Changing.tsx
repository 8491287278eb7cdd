// The one rule of what a user may not do: what changes something is not offered to who only looks, and says why.
import { cloneElement, type ReactElement } from "react";
import { useSession } from "../api/queries";
import { useWords } from "../i18n";

type Pressed = { disabled?: boolean; title?: string };

/** Whether the signed-in user may change anything, as the API's own rule is: all roles may but the one that reads. */
export function useMay(): boolean {
  return useSession().data?.role !== "viewer";
}

/** A button whose press sends, or leads to, a change. Around each of them: `tests/layout/test_studio_sources.py` looks. */
export function Changing({ children }: { children: ReactElement<Pressed> }) {
  const { t } = useWords();
  return useMay() ? children : cloneElement(children, { disabled: true, title: t("may.not") });
}
