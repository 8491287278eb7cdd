// Curves as a chart wants them: one row of places, and of each curve a value at every place that it has one.
export type Line = { label: string; x: number[]; y: number[] };
export type Point = { step: number; value: number };

/** Lines on shared places, null where a line has no value. */
export function joined(lines: Line[]): [number[], ...(number | null)[][]] {
  if (lines.length === 1) return [lines[0]!.x, lines[0]!.y];
  const places = [...new Set(lines.flatMap((line) => line.x))].sort((a, b) => a - b);
  const at = new Map(places.map((place, i) => [place, i]));
  const rows = lines.map((line) => {
    const row: (number | null)[] = new Array<number | null>(places.length).fill(null);
    line.x.forEach((place, i) => {
      row[at.get(place)!] = line.y[i] ?? null;
    });
    return row;
  });
  return [places, ...rows];
}

/** A curve with what came since the server drew it: only points behind its last step, in their order. */
export function extended(line: Line, live: Point[]): Line {
  const last = line.x.at(-1) ?? -1;
  const newer = live.filter((point) => point.step > last);
  if (newer.length === 0) return line;
  return { ...line, x: [...line.x, ...newer.map((one) => one.step)], y: [...line.y, ...newer.map((one) => one.value)] };
}

/** The steps whose points lie in a stretch of the axis, with one more at each end; null where none does. */
export function stepsOf(curves: { x: number[]; step: number[] }[], [low, high]: [number, number]): [number, number] | null {
  const inside = curves.flatMap(({ x, step }) => step.filter((_, i) => {
    const before = x[i + 1] ?? x[i]!;
    const after = x[i - 1] ?? x[i]!;
    return before >= low && after <= high;
  }));
  return inside.length === 0 ? null : [inside.reduce((a, b) => Math.min(a, b)), inside.reduce((a, b) => Math.max(a, b))];
}
