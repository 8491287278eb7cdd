// Bars with their intervals, and a radar of several scores. Plain SVG: the table beside them says the same in figures.
import { Text } from "@mantine/core";
import { COLOURS } from "../../parts/Chart";
import { numberOf } from "../../parts/words";
import { placeAt } from "./scores";

export type Bar = { key: string; label: string; mean: number; low: number; high: number; colour: string };

export const colourOf = (place: number) => COLOURS[place % COLOURS.length]!;

const WIDTH = 480;
const ROW = 46;
const PAD = 6;

/** A bar a candidate; the line across its end is its interval. */
export function Bars({ title, bars, better }: { title: string; bars: Bar[]; better: string }) {
  const least = Math.min(0, ...bars.map((one) => one.low));
  const most = Math.max(...bars.map((one) => one.high), least + 1e-9);
  const at = (value: number) => PAD + ((WIDTH - 70 - PAD) * (value - least)) / (most - least);
  return (
    <figure className="chart" aria-label={`${title}. ${bars.map((one) => `${one.label}: ${numberOf(one.mean)}`).join(", ")}`}>
      <figcaption><Text size="sm" fw={600}>{title}</Text><Text size="xs" c="dimmed">{better}</Text></figcaption>
      <svg viewBox={`0 0 ${WIDTH} ${bars.length * ROW + 4}`} className="plot" aria-hidden="true">
        {bars.map((one, i) => {
          const top = i * ROW + 20;
          return (
            <g key={one.key}>
              <text x={PAD} y={top - 5} className="plot-text">{shortened(one.label, 62)}</text>
              <rect x={at(0)} y={top} width={Math.max(1, at(one.mean) - at(0))} height={16} rx={3} fill={one.colour} />
              <path d={`M${at(one.low)} ${top + 8}H${at(one.high)}M${at(one.low)} ${top + 3}v10M${at(one.high)} ${top + 3}v10`} className="plot-whisker" />
              <text x={at(Math.max(one.high, one.mean)) + 8} y={top + 13} className="plot-text figures">{numberOf(one.mean)}</text>
            </g>
          );
        })}
        <path d={`M${at(0)} 0V${bars.length * ROW + 4}`} className="plot-axis" />
      </svg>
    </figure>
  );
}

export type Ring = { key: string; label: string; colour: string; values: (number | undefined)[] };

const RADIUS = 110;

/** Several scores of several candidates; a score that one has not is left out of its ring. */
export function Radar({ title, axes, rings }: { title: string; axes: string[]; rings: Ring[] }) {
  const point = (i: number, share: number) => placeAt(i, axes.length, share, RADIUS).map((value) => value.toFixed(1)).join(",");
  const ring = (share: number) => axes.map((_, i) => point(i, share)).join(" ");
  return (
    <figure className="chart" aria-label={`${title}. ${rings.map((one) => `${one.label}: ${axes.map((axis, i) => `${axis} ${numberOf(one.values[i])}`).join(", ")}`).join("; ")}`}>
      <figcaption><Text size="sm" fw={600}>{title}</Text></figcaption>
      <svg viewBox="-240 -140 480 280" className="plot" aria-hidden="true">
        {[0.25, 0.5, 0.75, 1].map((share) => <polygon key={share} points={ring(share)} className="plot-grid" />)}
        {axes.map((axis, i) => {
          const [x, y] = placeAt(i, axes.length, 1.1, RADIUS);
          return (
            <g key={axis}>
              <path d={`M0,0L${point(i, 1)}`} className="plot-grid" />
              <text x={x} y={y + 4} textAnchor={Math.abs(x) < 12 ? "middle" : x > 0 ? "start" : "end"} className="plot-text">{shortened(axis, 20)}</text>
            </g>
          );
        })}
        {rings.map((one) => (
          <polygon key={one.key} points={one.values.flatMap((value, i) => (value === undefined ? [] : [point(i, value)])).join(" ")}
            fill={one.colour} fillOpacity={0.1} stroke={one.colour} strokeWidth={2} />
        ))}
      </svg>
      <div className="legend">
        {rings.map((one) => (
          <Text key={one.key} size="xs" className="wrapped"><svg width="10" height="10" aria-hidden="true"><circle cx="5" cy="5" r="5" fill={one.colour} /></svg> {one.label}</Text>
        ))}
      </div>
    </figure>
  );
}

function shortened(text: string, most: number): string {
  return text.length > most ? `${text.slice(0, most - 1)}…` : text;
}
