"""Reads a metric's points as a chart needs them: roll-ups where they do, the points themselves where not.

Knows chunks and the log's tail; knows no view. The points themselves are read where a window cuts a chunk, at each
segment's beginning and end, and where segments lie over each other; elsewhere a long series is read by its roll-ups.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sqlalchemy.orm import Session

from tunesmith.metrics import SYSTEM
from tunesmith_platform.db.tables import TaskRow
from tunesmith_platform.scope import Scope
from tunesmith_platform.series import repository
from tunesmith_platform.series.chunks import Stretch, stretches
from tunesmith_platform.series.codec import CHUNK_POINTS, GROUP_POINTS, Points, joined
from tunesmith_platform.series.downsample import Places, newest, overlaps
from tunesmith_platform.series.query import Span

EXACT_POINTS = 32 * CHUNK_POINTS
"""So many points are read themselves before roll-ups are used: above it a chart has two thousand groups or more."""


@dataclass(frozen=True)
class Piece:
    """Some points of one segment: a chunk, or what the log has beyond the chunks."""

    segment: int
    attempt: int
    start: int
    count: int
    span: Span
    number: int | None = None
    points: Points | None = None


@dataclass(frozen=True)
class Read:
    """Points of a metric in the order they were measured.

    Attributes:
        points: The points, or the extremes of groups of them.
        segments: The segment of each.
        index: Each one's place within its segment.
        counts: How many points those of each segment stand for.
        grouped: Whether some are extremes of groups.
    """

    points: Points
    segments: Places
    index: Places
    counts: Mapping[int, int]
    grouped: bool


def pieces(
    session: Session, scope: Scope, task: TaskRow, names: Iterable[str] | None
) -> dict[str, list[Piece]]:
    """The pieces of each metric, in the order they were measured.

    Args:
        session: What is seen of the task's row, its chunks and its log must be of one moment.
        task: Whose.
        names: Only these metrics; those never measured are left out, and `system/` stands for all that begin so.
    """
    named = None if names is None else set(names)
    wanted = None if named is None or SYSTEM in named else named
    tail = stretches(repository.measured(session, scope, task.id, task.folded, task.events), wanted)
    found = {
        name: [
            Piece(c.segment, c.attempt, c.start, c.points, Span(c.first_step, c.last_step), c.number)
            for c in chunks
        ]
        for name, chunks in repository.headers(session, scope, task.id, wanted).items()
    }
    for name, parts in tail.items():
        found[name] = _extended(found.get(name, []), parts)
    return {name: found[name] for name in sorted(found) if named is None or is_named(name, named)}


def is_named(name: str, names: Collection[str]) -> bool:
    """Whether a metric is among names."""
    return name in names or (SYSTEM in names and name.startswith(SYSTEM))


def _extended(chunks: list[Piece], parts: Sequence[Stretch]) -> list[Piece]:
    """Chunks and what was measured since, as folding would lay it behind them."""
    found = list(chunks)
    for part in parts:
        span = Span(int(part.points["step"][0]), int(part.points["step"][-1]))
        segment = start = 0
        if found:
            last = found[-1]
            goes_on = last.attempt == part.attempt and span.first >= last.span.last
            if goes_on and span.first == last.span.last:
                # Measured again: what the chunk has of this step no longer counts.
                found[-1] = last = Piece(
                    last.segment, last.attempt, last.start, last.count - 1, last.span, last.number
                )
            segment = last.segment if goes_on else last.segment + 1
            start = last.start + last.count if goes_on else 0
        found.append(Piece(segment, part.attempt, start, len(part.points), span, points=part.points))
    return [piece for piece in found if piece.count]


def segments_of(found: Sequence[Piece]) -> dict[int, Piece]:
    """Each segment as one piece without points."""
    whole: dict[int, Piece] = {}
    for piece in found:
        before = whole.get(piece.segment)
        whole[piece.segment] = Piece(
            piece.segment,
            piece.attempt,
            0,
            piece.count + (before.count if before else 0),
            Span(before.span.first if before else piece.span.first, piece.span.last),
        )
    return whole


def read(
    session: Session,
    scope: Scope,
    task_id: str,
    name: str,
    found: Sequence[Piece],
    window: Span,
    *,
    merged: bool,
    exact: bool = False,
) -> Read:
    """A metric's points within a window of steps.

    Args:
        session: As for `pieces`.
        task_id: Whose.
        name: The metric.
        found: Its pieces.
        window: Only these steps.
        merged: Of each step the newest point alone.
        exact: Read every point itself.
    """
    touched = [piece for piece in found if piece.span.meets(window)]
    shared = overlaps([whole.span for whole in segments_of(touched).values()]) if merged else []
    whole = exact or sum(piece.count for piece in touched) <= EXACT_POINTS
    grouped = [False] * len(touched) if whole else _by_roll_up(touched, window, shared)
    bodies = _bodies(session, scope, task_id, name, touched, grouped)
    points = [body for body, _ in bodies]
    segments = np.repeat(
        np.array([piece.segment for piece in touched], np.int64), [len(body) for body in points]
    )
    index = np.concatenate([places for _, places in bodies]) if bodies else np.zeros(0, np.int64)
    everything = joined(points)
    steps = everything["step"]
    kept = (steps >= window.first) & (steps <= window.last)
    for zone in shared:
        inside = np.flatnonzero(kept & (steps >= zone.first) & (steps <= zone.last))
        kept[inside[~newest(steps[inside])]] = False
    counts = dict.fromkeys(segments_of(touched), 0)
    # A roll-up that is read is read whole, and lies in no zone: it stands for all of its piece.
    for piece, is_grouped, body in zip(touched, grouped, points, strict=True):
        counts[piece.segment] += piece.count if is_grouped else len(body)
    for segment, hidden in zip(*np.unique(segments[~kept], return_counts=True), strict=True):
        counts[int(segment)] -= int(hidden)
    return Read(everything[kept], segments[kept], index[kept], counts, any(grouped))


def _by_roll_up(touched: Sequence[Piece], window: Span, shared: Sequence[Span]) -> list[bool]:
    edges = {i for i, piece in enumerate(touched) if i == 0 or touched[i - 1].segment != piece.segment}
    edges |= {i - 1 for i in edges if i} | {len(touched) - 1}
    return [
        i not in edges
        and piece.number is not None
        and window.first <= piece.span.first
        and piece.span.last <= window.last
        and not any(piece.span.meets(zone) for zone in shared)
        for i, piece in enumerate(touched)
    ]


def _bodies(
    session: Session, scope: Scope, task_id: str, name: str, touched: Sequence[Piece], grouped: Sequence[bool]
) -> list[tuple[Points, Places]]:
    """Of each piece what is read, and the places of that within its segment."""

    def numbers(wanted: bool) -> list[int]:
        return [
            piece.number
            for piece, is_grouped in zip(touched, grouped, strict=True)
            if piece.number is not None and is_grouped is wanted
        ]

    stored: Mapping[bool, Mapping[int, Points]] = {
        False: repository.data(session, scope, task_id, name, numbers(False)),
        True: repository.roll_ups(session, scope, task_id, name, numbers(True)),
    }
    found = []
    for piece, is_grouped in zip(touched, grouped, strict=True):
        if piece.number is None:
            assert piece.points is not None, "a piece is a chunk or has its points"
            body = piece.points
        else:
            body = stored[is_grouped][piece.number]
        if is_grouped:
            places = piece.start + np.arange(len(body)) // 2 * GROUP_POINTS
        else:
            body = body[: piece.count]
            places = piece.start + np.arange(len(body))
        found.append((body, places))
    return found


class Tokens:
    """How many tokens each attempt had trained at its steps."""

    def __init__(self, found: Sequence[Piece], every: Read) -> None:
        attempts = {piece.segment: piece.attempt for piece in found}
        self._curves: dict[int, tuple[Places, NDArray[np.float64]]] = {}
        for attempt in sorted(set(attempts.values())):
            own = [segment for segment, of in attempts.items() if of == attempt]
            points = every.points[np.isin(every.segments, own)]
            if len(own) > 1:
                points = points[newest(points["step"])]
                points = points[np.argsort(points["step"], kind="stable")]
            self._curves[attempt] = points["step"].copy(), points["value"].copy()

    def at(self, attempts: Places, steps: Places) -> NDArray[np.float64]:
        """The tokens at steps of attempts, as last measured by then; NaN before the first measurement."""
        found = np.full(len(steps), np.nan)
        for attempt, (known, tokens) in self._curves.items():
            mine = np.flatnonzero(attempts == attempt)
            places = np.searchsorted(known, steps[mine], side="right") - 1
            found[mine] = np.where(places >= 0, tokens[places], np.nan)
        return found
