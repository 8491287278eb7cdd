// Pieces of answers, laid together by their places. Pure.

/** What there is of one answer; the moments are milliseconds of the page. */
export type Told = { text: string; thought: string; why: string; began: number; last: number };

export type Chunk = {
  choices?: Array<{ index?: number; delta?: { content?: string; reasoning_content?: string } }>;
  tunesmith?: { error?: { message?: string } };
  error?: { message: string; code: string };
};

/** Lay a piece onto what was said before it. */
export function take(told: Told[], chunk: Chunk): void {
  const choice = chunk.choices?.[0];
  if (!choice) return;
  const place = choice.index ?? 0;
  while (told.length <= place) told.push({ text: "", thought: "", why: "", began: 0, last: 0 });
  const before = told[place]!;
  const { content = "", reasoning_content: thought = "" } = choice.delta ?? {};
  const now = performance.now();
  const isPiece = Boolean(content || thought);
  told[place] = {
    text: before.text + (content ?? ""), thought: before.thought + (thought ?? ""), why: chunk.tunesmith?.error?.message ?? before.why,
    began: isPiece ? before.began || now : before.began, last: isPiece ? now : before.last,
  };
}
