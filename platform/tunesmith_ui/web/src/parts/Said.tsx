// A sentence of the platform's: names and values stand between backticks, and are shown as code.
import type { ReactNode } from "react";

export function Said({ children }: { children: string }): ReactNode {
  return children.split("`").map((piece, at, all) => (at % 2 && at < all.length - 1 ? <code key={at} className="code">{piece}</code> : at % 2 ? `\`${piece}` : piece));
}
