"""How measurements are packed: little-endian rows of step, value and time, with each group's lowest and highest.

Knows bytes and arrays; knows neither tasks nor the database. A chunk holds up to `CHUNK_POINTS` points whose steps
rise. Its roll-up holds two points for each group of `GROUP_POINTS`: the first lowest and the first highest, in the
order of their steps. So a chart over a million points reads a sixtieth of them and misses no extreme.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

CHUNK_POINTS = 4096
GROUP_POINTS = 64
POINT = np.dtype([("step", "<i8"), ("value", "<f8"), ("time", "<i8")])
"""One measurement; `time` is microseconds since 1970."""
_PLAIN = np.dtype((np.void, POINT.itemsize))

Points = NDArray[np.void]


def pack(points: Points) -> bytes:
    """Points as bytes."""
    return points.astype(POINT, copy=False).tobytes()


def unpack(data: bytes) -> Points:
    """Points from bytes."""
    return np.frombuffer(data, dtype=POINT)


def joined(parts: Sequence[Points]) -> Points:
    """Points one behind the other."""
    # As plain bytes: numpy would compare the fields of each part with those of the others.
    return np.concatenate([part.view(_PLAIN) for part in parts]).view(POINT) if parts else np.zeros(0, POINT)


def roll_up(points: Points) -> Points:
    """Each group's lowest and highest point, in the order of their steps."""
    starts = np.arange(0, len(points), GROUP_POINTS)
    lowest, highest = extremes(points["value"], starts)
    pairs = np.sort(np.column_stack([lowest, highest]), axis=1)
    return points[pairs.ravel()]


def extremes(values: NDArray[np.float64], starts: NDArray[np.int64]) -> tuple[NDArray[np.int64], ...]:
    """Where the lowest and the highest value of each bucket stand; of equal ones the first.

    Args:
        values: At least one.
        starts: Where each bucket begins; the first at 0.

    Returns:
        The places of the lowest, and those of the highest.
    """
    lengths = np.diff(np.append(starts, len(values)))
    bucket = np.repeat(np.arange(len(starts)), lengths)
    found = []
    for pick in (np.minimum, np.maximum):
        peak = pick.reduceat(values, starts)
        places = np.flatnonzero(values == peak[bucket])
        _, first = np.unique(bucket[places], return_index=True)
        found.append(places[first])
    return tuple(found)
