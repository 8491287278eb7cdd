// A pipeline's steps and what each waits for, drawn from left to right. The list below it says the same.
import type { StepView } from "../../api/schema";
import { useWords, type Word } from "../../i18n";
import { shortened } from "../../parts/words";
import { levelsOf } from "./levels";

const WIDTH = 170;
const HEIGHT = 48;
const GAP_X = 56;
const GAP_Y = 14;
/** What a box is wide enough for. */
const LETTERS = 19;

export function Graph({ steps, name }: { steps: readonly StepView[]; name: string }) {
  const { t } = useWords();
  const levels = levelsOf(steps);
  const places = new Map(levels.flatMap((level, x) => level.map((step, y) => [step.id, { x: x * (WIDTH + GAP_X), y: y * (HEIGHT + GAP_Y) }] as const)));
  const width = levels.length * (WIDTH + GAP_X) - GAP_X;
  const height = Math.max(...levels.map((level) => level.length), 1) * (HEIGHT + GAP_Y) - GAP_Y;
  return (
    <div className="graph" tabIndex={0} role="region" aria-label={name}>
      <svg width={width + 2} height={height + 2} viewBox={`-1 -1 ${width + 2} ${height + 2}`} aria-hidden="true">
        {steps.flatMap((step) => step.needs.map((need) => {
          const from = places.get(need);
          const to = places.get(step.id);
          if (!from || !to) return null;
          const [x1, y1, x2, y2] = [from.x + WIDTH, from.y + HEIGHT / 2, to.x, to.y + HEIGHT / 2];
          return <path key={`${need} ${step.id}`} d={`M${x1} ${y1}C${x1 + GAP_X / 2} ${y1} ${x2 - GAP_X / 2} ${y2} ${x2} ${y2}`} className="graph-line" />;
        }))}
        {steps.map((step) => {
          const at = places.get(step.id)!;
          return (
            <g key={step.id} transform={`translate(${at.x} ${at.y})`} className={`graph-node state-${step.state}`}>
              <rect width={WIDTH} height={HEIGHT} rx={8} />
              <title>{step.id}</title>
              <text x={12} y={20}>{shortened(step.id, LETTERS)}</text>
              <text x={12} y={37} className="graph-state">{t(`state.${step.state}` as Word)}</text>
            </g>
          );
        })}
      </svg>
    </div>
  );
}
