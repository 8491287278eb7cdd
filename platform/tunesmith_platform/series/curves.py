"""Draws a metric's curve as somebody wishes it: which axis, how attempts are put together, smoothed, reduced.

Knows points and queries; the reading is `reading`'s, the arithmetic is `downsample`'s.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from sqlalchemy.orm import Session

from tunesmith.curves import Axis, Curve, Mode
from tunesmith.metrics import SYSTEM
from tunesmith_platform.db.tables import TaskRow
from tunesmith_platform.scope import Scope
from tunesmith_platform.series import downsample
from tunesmith_platform.series.downsample import Numbers, Places
from tunesmith_platform.series.query import EVERYTHING, Span, Wish
from tunesmith_platform.series.reading import Piece, Read, Tokens, is_named, pieces, read, segments_of

TOKENS = "supervised_tokens"


def curves(
    session: Session, scope: Scope, task: TaskRow, names: Sequence[str] | None, wish: Wish
) -> list[Curve]:
    """A task's curves.

    Args:
        session: As for `reading.pieces`.
        scope: Whose tasks the caller sees.
        task: Whose.
        names: Only these metrics; `system/` stands for all that begin so, and without names those are left out.
        wish: How they are wanted.
    """
    wanted = None if names is None else {*names} | ({TOKENS} if wish.x is Axis.TOKENS else set())
    found = pieces(session, scope, task, wanted)
    tokens = None
    if wish.x is Axis.TOKENS and TOKENS in found:
        every = read(session, scope, task.id, TOKENS, found[TOKENS], EVERYTHING, merged=False, exact=True)
        tokens = Tokens(found[TOKENS], every)
    pen = _Pen(session, scope, task, wish, tokens)
    return [
        curve for name, parts in found.items() if _is_drawn(name, names) for curve in pen.draw(name, parts)
    ]


def _is_drawn(name: str, names: Sequence[str] | None) -> bool:
    return not name.startswith(SYSTEM) if names is None else is_named(name, names)


@dataclass(frozen=True)
class _Pen:
    session: Session
    scope: Scope
    task: TaskRow
    wish: Wish
    tokens: Tokens | None

    def draw(self, name: str, parts: Sequence[Piece]) -> Iterator[Curve]:
        whole = segments_of(parts)
        # A smoothed value knows of all before it: a window must not change it.
        window = Span(0, self.wish.window.last) if self.wish.smooths else self.wish.window
        merged = self.wish.mode is Mode.MERGED
        got = read(
            self.session,
            self.scope,
            self.task.id,
            name,
            parts,
            window,
            merged=merged,
            exact=self.wish.smooths,
        )
        attempts = _by_segment(got.segments, {segment: piece.attempt for segment, piece in whole.items()})
        x = self._x(got, attempts, whole)
        order = np.argsort(got.points["step"], kind="stable") if merged else np.arange(len(got.points))
        values = got.points["value"].astype(np.float64)
        if self.wish.smooths:
            values, got = _smoothed(values, got, order, self.wish)
        kept = np.flatnonzero(~np.isnan(x) & (got.points["step"] >= self.wish.window.first))
        if not len(kept):
            return
        reduced = downsample.reduce(
            got.segments[kept], got.index[kept], values[kept], self.wish.points, grouped=got.grouped
        )
        drawn = np.zeros(len(values), np.bool_)
        drawn[kept[reduced.places]] = True
        shown = order[drawn[order]]
        if self.wish.mode is Mode.SEGMENTS:
            groups: list[tuple[int | None, int, Places]] = [
                (whole[segment].attempt, count, shown[got.segments[shown] == segment])
                for segment, count in got.counts.items()
            ]
        else:
            groups = [(None, sum(got.counts.values()), shown)]
        for attempt, count, places in groups:
            if len(places):
                points = got.points[places]
                yield Curve(
                    task_id=self.task.id,
                    name=name,
                    attempt=attempt,
                    count=count,
                    bucket=reduced.bucket,
                    x=x[places].tolist(),
                    step=points["step"].tolist(),
                    value=values[places].tolist(),
                    time=(points["time"] / 1e6).tolist(),
                    attempts=attempts[places].tolist(),
                )

    def _x(self, got: Read, attempts: Places, whole: dict[int, Piece]) -> Numbers:
        """Where each point stands on the axis; NaN where that is not known."""
        if self.wish.x is Axis.TIME:
            started = (self.task.started_at or self.task.created_at).timestamp()
            return got.points["time"] / 1e6 - started

        def place(attempts: Places, steps: Places) -> Numbers:
            if self.wish.x is Axis.STEP:
                return steps.astype(np.float64)
            return self.tokens.at(attempts, steps) if self.tokens else np.full(len(steps), np.nan)

        x = place(attempts, got.points["step"])
        if self.wish.mode is Mode.ACCUMULATED:
            of = np.array([piece.attempt for piece in whole.values()], np.int64)
            first, last = (
                place(of, np.array([piece.span[i] for piece in whole.values()], np.int64)) for i in (0, 1)
            )
            moves = downsample.one_after_the_other(first, last, np.array([p.count for p in whole.values()]))
            x = x + moves[np.searchsorted(np.array(list(whole)), got.segments)]
        return x


def _by_segment(segments: Places, of: dict[int, int]) -> Places:
    known = np.array(sorted(of), np.int64)
    return np.array([of[segment] for segment in known], np.int64)[np.searchsorted(known, segments)]


def _smoothed(values: Numbers, got: Read, order: Places, wish: Wish) -> tuple[Numbers, Read]:
    """Values after smoothing, in the order of drawing; each segment by itself where they are drawn apart."""
    smooth = np.empty_like(values)
    runs = [order]
    if wish.mode is Mode.SEGMENTS:
        runs = np.split(order, np.flatnonzero(np.diff(got.segments)) + 1)
    for run in runs:
        if wish.ema is not None:
            smooth[run] = downsample.ema(values[run], wish.ema)
        elif wish.average is not None:
            smooth[run] = downsample.moving_average(values[run], wish.average)
    inside = got.segments[got.points["step"] >= wish.window.first]
    found = zip(*np.unique(inside, return_counts=True), strict=True)
    return smooth, replace(got, counts={int(segment): int(count) for segment, count in found})
