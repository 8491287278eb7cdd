"""What is done with points before they are drawn: which count, smoothing, and reducing with the extremes kept.

Pure functions over arrays; knows neither tasks nor the database. All of it is deterministic: the same points and the
same wishes give the same curve.
"""

from collections.abc import Sequence
from itertools import accumulate
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tunesmith_platform.series.codec import GROUP_POINTS, extremes
from tunesmith_platform.series.query import Span

Numbers = NDArray[np.float64]
Places = NDArray[np.int64]


class Reduced(NamedTuple):
    """Which points are drawn, and how many in a row each lowest and highest stands for."""

    places: Places
    bucket: int


def overlaps(spans: Sequence[Span]) -> list[Span]:
    """Where two or more of them lie over each other."""
    found: list[Span] = []
    reach: int | None = None
    for span in sorted(spans):
        if reach is not None and span.first <= reach:
            shared = Span(span.first, min(span.last, reach))
            if found and shared.first <= found[-1].last:
                found[-1] = Span(found[-1].first, max(found[-1].last, shared.last))
            else:
                found.append(shared)
        reach = span.last if reach is None else max(reach, span.last)
    return found


def newest(steps: Places) -> NDArray[np.bool_]:
    """Which points count where a step was measured more than once: the last of each.

    Args:
        steps: In the order they were measured.
    """
    _, from_the_end = np.unique(steps[::-1], return_index=True)
    kept = np.zeros(len(steps), np.bool_)
    kept[len(steps) - 1 - from_the_end] = True
    return kept


def reduce(segments: Places, index: Places, values: Numbers, limit: int, *, grouped: bool) -> Reduced:
    """At most `limit` points: each bucket's lowest and highest, and each segment's first and last.

    A bucket is so many points in a row of one segment, counted from the segment's beginning, so that zooming and
    new points move no boundary.

    Args:
        segments: Of each point; rising.
        index: Each point's place within its segment; rising within one.
        values: What was measured.
        limit: Points at the most.
        grouped: The points are already the extremes of their groups: a bucket is whole groups.

    Returns:
        The places of the points that are drawn, rising. The bucket is 1 when all of them are.
    """
    if len(values) <= limit and not grouped:
        return Reduced(np.arange(len(values)), 1)
    begins = np.append(0, np.flatnonzero(np.diff(segments)) + 1)
    ends = np.append(begins[1:], len(values)) - 1
    buckets = max(1, limit // 2 - len(begins))
    unit = GROUP_POINTS if grouped else 1
    spans = index[ends] - index[begins] + 1
    size = unit * max(1, -(-int(spans.sum()) // (buckets * unit)))
    starts = _starts(begins, segments, index, size)
    while len(starts) > buckets and size < int(spans.max()):
        size += unit * max(1, size // (8 * unit))
        starts = _starts(begins, segments, index, size)
    places = np.unique(np.concatenate([*extremes(values, starts), begins, ends]))
    if len(places) > limit:  # more segments than there is room for: as if they were one
        again = reduce(
            np.zeros(len(places), np.int64), np.arange(len(places)), values[places], limit, grouped=False
        )
        return Reduced(places[again.places], size * again.bucket)
    return Reduced(places, size)


def _starts(begins: Places, segments: Places, index: Places, size: int) -> Places:
    number = index // size
    moves = np.flatnonzero((np.diff(number) != 0) | (np.diff(segments) != 0)) + 1
    return np.append(begins[:1], moves)


def ema(values: Numbers, alpha: float) -> Numbers:
    """The exponential moving average: each point counts `alpha`, what was before it the rest."""
    return np.fromiter(
        accumulate(values.tolist(), lambda mean, value: alpha * value + (1 - alpha) * mean),
        np.float64,
        len(values),
    )


def moving_average(values: Numbers, window: int) -> Numbers:
    """The mean of each point and those before it, `window` in all; of fewer at the beginning.

    Sums within blocks of the window's length: one high value leaves no rounding error in what comes long after it.
    """
    count = len(values)
    padded = np.zeros(-(-count // window) * window)
    padded[:count] = values
    blocks = padded.reshape(-1, window)
    so_far = blocks.cumsum(axis=1).ravel()
    left = blocks[:, ::-1].cumsum(axis=1)[:, ::-1].ravel()  # from each point to its block's end
    before = np.zeros(count)
    places = np.arange(count)
    reaches_back = (places >= window) & (places % window != window - 1)
    before[reaches_back] = left[places[reaches_back] - window + 1]
    return (so_far[:count] + before) / np.minimum(places + 1, window)


def one_after_the_other(first: Numbers, last: Numbers, counts: Places) -> Numbers:
    """How far each segment moves to begin behind the one before it, at its own mean distance between points.

    Args:
        first: Where each segment begins.
        last: Where each ends.
        counts: How many points each has.
    """
    intervals = np.where(counts > 1, (last - first) / np.maximum(counts - 1, 1), 1.0)
    moves = np.zeros(len(first))
    for i in range(1, len(first)):
        moves[i] = last[i - 1] + moves[i - 1] + intervals[i] - first[i]
    return moves
