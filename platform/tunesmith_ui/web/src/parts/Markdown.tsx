// Markdown of models and users. What reads it comes with the first answer: until then, and where it fails, the text.
import { lazy, memo, Suspense, useDeferredValue, type ReactNode } from "react";
import { Panel } from "./Panel";

const Read = memo(lazy(() => import("./markdown/Read"))); // one turn grows, those before it are not read again

export function Markdown({ text }: { text: string }): ReactNode {
  const shown = useDeferredValue(text); // a long answer that grows keeps nobody from typing
  const plain = <span className="wrapped">{text}</span>;
  return <Panel failed={plain}><Suspense fallback={plain}><Read text={shown} /></Suspense></Panel>;
}
