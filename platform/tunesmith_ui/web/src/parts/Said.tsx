// A sentence of the platform's: names and values stand between backticks, and are shown as code.
import type { ReactNode } from "react";
import { useWords } from "../i18n";
import { inStudio } from "./hints";

/** `ofTerminal`: what is read here is done there, as on the machine of the platform. */
export function Said({ children, ofTerminal = false }: { children: string; ofTerminal?: boolean }): ReactNode {
  const { t } = useWords();
  const text = ofTerminal ? children : inStudio(children, t);
  return text.split("`").map((piece, at, all) => (at % 2 && at < all.length - 1 ? <code key={at} className="code">{piece}</code> : at % 2 ? `\`${piece}` : piece));
}
