// A chart of curves. What the user has zoomed to stays while points arrive; a double click shows everything again.
import { Text, useComputedColorScheme } from "@mantine/core";
import { useEffect, useRef } from "react";
import uPlot from "uplot";
import { useWords } from "../i18n";
import { joined, type Line } from "./lines";
import { numberOf } from "./words";

export const COLOURS = ["#4263eb", "#e8590c", "#2f9e44", "#ae3ec9", "#1098ad", "#e03131", "#f08c00", "#5c940d"];

const increments = (from: number) => Array.from({ length: 13 - from }, (_, at) => [1, 2, 5].map((one) => one * 10 ** (at + from))).flat();
const WHOLE = increments(0);
const ANY = increments(-6);

type Told = { current: ((range: [number, number] | null) => void) | undefined };

/** Move what is shown with the pointer, until it is let go. */
function pan(chart: uPlot, begun: MouseEvent, told: Told): void {
  const { min, max } = chart.scales.x!;
  if (typeof min !== "number" || typeof max !== "number") return;
  const perPixel = (max - min) / Math.max(1, chart.over.clientWidth);
  let range: [number, number] = [min, max];
  const move = (event: MouseEvent) => {
    const by = (begun.clientX - event.clientX) * perPixel;
    range = [min + by, max + by];
    chart.setScale("x", { min: range[0], max: range[1] });
  };
  const stop = () => {
    document.removeEventListener("mousemove", move);
    told.current?.(range);
  };
  document.addEventListener("mousemove", move);
  document.addEventListener("mouseup", stop, { once: true });
}

type Props = { title: string; lines: Line[]; height?: number; xLabel?: string; onZoom?: (range: [number, number] | null) => void };

export function Chart({ title, lines, height = 240, xLabel = "", onZoom }: Props) {
  const { t } = useWords();
  const place = useRef<HTMLDivElement>(null);
  const chart = useRef<uPlot | null>(null);
  const isZoomed = useRef(false);
  const told = useRef(onZoom);
  told.current = onZoom;
  const scheme = useComputedColorScheme("light", { getInitialValueInEffect: false });
  const drawnFor = useRef(scheme);
  const names = lines.map((line) => line.label).join("\n");
  const data = joined(lines);
  const held = useRef(data);
  held.current = data;
  useEffect(() => {
    const box = place.current;
    if (!box) return undefined;
    // Asked at each drawing: another theme draws again, and makes no chart anew.
    const ink = () => (drawnFor.current === "dark" ? "#c1c2c5" : "#495057");
    const grid = { stroke: () => (drawnFor.current === "dark" ? "#373a40" : "#e9ecef"), width: 1 };
    const axis = { stroke: ink, grid, ticks: grid, font: "12px system-ui, sans-serif" };
    const labels = names.split("\n");
    const made = new uPlot(
      {
        width: Math.max(box.clientWidth, 120),
        height,
        cursor: {
          drag: { x: true, y: false }, points: { size: 6 },
          // Shift and drag moves what is shown; drag alone zooms.
          bind: { mousedown: (u, _target, zoom) => (event) => (event.shiftKey ? (pan(u, event, told), null) : zoom(event)) },
        },
        legend: { live: true },
        scales: { x: { time: false } },
        axes: [{ ...axis, label: xLabel, labelSize: 18, labelFont: "12px system-ui, sans-serif", // No half a step.
          incrs: (u) => (u.data[0].slice(0, 50).every(Number.isInteger) ? WHOLE : ANY) }, { ...axis, size: 64, values: (_u, ticks) => ticks.map((tick) => numberOf(tick)) }],
        series: [
          { label: xLabel || "x" },
          ...labels.map((label, i) => ({
            label, stroke: COLOURS[i % COLOURS.length]!, width: 1.6, spanGaps: true,
            points: { show: false },
            value: (_u: uPlot, value: number | null) => numberOf(value),
          })),
        ],
        hooks: {
          setSelect: [(u) => {
            if (u.select.width > 4) {
              isZoomed.current = true;
              told.current?.([u.posToVal(u.select.left, "x"), u.posToVal(u.select.left + u.select.width, "x")]);
            }
          }],
        },
      },
      held.current,
      box,
    );
    made.over.addEventListener("dblclick", () => {
      isZoomed.current = false;
      told.current?.(null);
      made.setData(held.current, true);
    });
    chart.current = made;
    const watch = new ResizeObserver(() => made.setSize({ width: Math.max(box.clientWidth, 120), height }));
    watch.observe(box);
    return () => {
      watch.disconnect();
      made.destroy();
      chart.current = null;
    };
  }, [names, height, xLabel]);
  useEffect(() => {
    if (drawnFor.current === scheme) return;
    drawnFor.current = scheme;
    // One that is drawn again before it has anything to draw never draws again: its scales have no ends.
    if (held.current[0].length > 0) chart.current?.redraw(false);
  }, [scheme]);
  useEffect(() => {
    const made = chart.current;
    if (!made || data.length !== made.series.length) return;
    const { min, max } = made.scales.x!;
    made.setData(data, !isZoomed.current);
    if (isZoomed.current && typeof min === "number" && typeof max === "number") made.setScale("x", { min, max });
  });
  const last = lines.map((line) => `${line.label}: ${numberOf(line.y.at(-1))}`).join(", ");
  return (
    <figure className="chart" aria-label={`${title}. ${last || t("chart.empty")}`}>
      <figcaption><Text size="sm" fw={600}>{title}</Text></figcaption>
      {lines.every((line) => line.x.length === 0) && <Text size="sm" c="dimmed" py="md">{t("chart.empty")}</Text>}
      <div ref={place} className="chart-box" aria-hidden="true" hidden={lines.every((line) => line.x.length === 0)} />
    </figure>
  );
}
