// The studio's own small icons: lines on a grid of 24.
import type { ReactNode } from "react";

const PATHS = {
  slider: "M4 7h9 M17 7h3 M4 12h3 M11 12h9 M4 17h11 M19 17h1 M15 5v4 M9 10v4 M17 15v4",
  line: "M4 4v16h16 M7 15l4-5 3 3 5-7",
  pie: "M12 4a8 8 0 1 0 8 8h-8z M15 3.5A8 8 0 0 1 20.5 9H15z",
  send: "M4 12l16-8-6 16-3-6z M11 14l9-10",
  save: "M5 4h11l3 3v13H5z M8 4v5h7V4 M8 20v-6h8v6",
  data: "M5 7c0-1.7 3.1-3 7-3s7 1.3 7 3-3.1 3-7 3-7-1.3-7-3z M5 7v10c0 1.7 3.1 3 7 3s7-1.3 7-3V7 M5 12c0 1.7 3.1 3 7 3s7-1.3 7-3",
  flow: "M4 5h5v5H4z M15 14h5v5h-5z M9 7.5h5c1.5 0 3.5 1 3.5 3V14",
  cube: "M12 3l8 4.5v9L12 21l-8-4.5v-9z M12 12l8-4.5 M12 12v9 M12 12L4 7.5",
  gear: "M12 9a3 3 0 1 0 0 6 3 3 0 0 0 0-6z M12 3v3 M12 18v3 M3 12h3 M18 12h3 M5.6 5.6l2.1 2.1 M16.3 16.3l2.1 2.1 M18.4 5.6l-2.1 2.1 M7.7 16.3l-2.1 2.1",
  sun: "M12 8a4 4 0 1 0 0 8 4 4 0 0 0 0-8z M12 3v2 M12 19v2 M3 12h2 M19 12h2",
  moon: "M19 14A8 8 0 1 1 10 5a6.5 6.5 0 0 0 9 9z",
  play: "M7 5l12 7-12 7z",
  stop: "M6 6h12v12H6z",
  pause: "M8 5v14 M16 5v14",
  clock: "M12 4a8 8 0 1 0 0 16 8 8 0 0 0 0-16z M12 8v4l3 2",
  check: "M5 12.5l4.5 4.5L19 7.5",
  cross: "M6 6l12 12 M18 6L6 18",
  pin: "M9 4h6l-1 6 3 3H7l3-3z M12 13v7",
  again: "M19 12a7 7 0 1 1-2-5 M19 4v4h-4",
  warn: "M12 4l9 16H3z M12 10v4 M12 17v.5",
  more: "M5 12h.5 M12 12h.5 M19 12h.5",
  plus: "M12 5v14 M5 12h14",
  bin: "M5 7h14 M10 4h4 M7 7l1 13h8l1-13 M10 11v5 M14 11v5",
  folder: "M4 6h6l2 2h8v11H4z",
  file: "M6 4h8l4 4v12H6z M14 4v4h4",
  up: "M12 19V6 M7 11l5-5 5 5",
  download: "M12 4v11 M7 11l5 5 5-5 M5 20h14",
  out: "M10 5H5v14h5 M14 8l4 4-4 4 M18 12H9",
  search: "M11 5a6 6 0 1 0 0 12 6 6 0 0 0 0-12z M15.5 15.5L20 20",
  star: "M12 4l2.4 5 5.6.7-4.1 3.8 1.1 5.5-5-2.7-5 2.7 1.1-5.5L4 9.7 9.6 9z",
} as const;

export type IconName = keyof typeof PATHS;

/** An icon; it says nothing to who cannot see it, so a text or a label stands beside it. */
export function Icon({ name, size = 18 }: { name: IconName; size?: number }): ReactNode {
  return (
    <svg className="icon" width={size} height={size} viewBox="0 0 24 24" aria-hidden="true" focusable="false">
      {PATHS[name].split(" M").map((path, i) => (
        <path key={path} d={i === 0 ? path : `M${path}`} fill="none" stroke="currentColor"
          strokeWidth="1.8" strokeLinecap="round" strokeLinejoin="round" />
      ))}
    </svg>
  );
}
