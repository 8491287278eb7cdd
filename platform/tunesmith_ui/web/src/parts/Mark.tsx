import { Badge } from "@mantine/core";
import type { ReactNode } from "react";

export type Tone = "good" | "warn" | "bad" | "plain" | "best";

/** A short mark whose colour says no more than its words do. */
export function Mark({ tone, icon, children }: { tone: Tone; icon?: ReactNode; children: ReactNode }) {
  return <Badge className={`state mark-${tone}`} variant="light" leftSection={icon}>{children}</Badge>;
}
