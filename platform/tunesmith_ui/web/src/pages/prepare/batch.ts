/** Rows a step: batch x accumulation x workers; of a range of workers the batch is what its lowest number makes. */
export function effectiveBatch(values: unknown[]): number | null {
  const numbers = values.map((value) => (typeof value === "string" ? Number(value.split(":")[0]) : Number(value)));
  return numbers.every((one) => Number.isFinite(one) && one > 0) ? numbers.reduce((all, one) => all * one, 1) : null;
}
