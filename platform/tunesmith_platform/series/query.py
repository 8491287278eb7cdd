"""How curves are wanted: which steps, over what, how put together and smoothed.

Apart from what draws them, which needs numpy: a start and a question's check do without.
"""

from dataclasses import dataclass
from typing import NamedTuple

from tunesmith.curves import Axis, Mode

MAX_STEP = 2**62


class Span(NamedTuple):
    """Steps from `first` to `last`, both of them in it."""

    first: int
    last: int

    def meets(self, other: "Span") -> bool:
        """Whether they have a step in common."""
        return self.first <= other.last and other.first <= self.last


EVERYTHING = Span(0, MAX_STEP)


@dataclass(frozen=True)
class Wish:
    """How curves are wanted.

    Args:
        window: Only these steps.
        points: At most so many of a metric.
        x: What they are drawn over.
        mode: How attempts are put together.
        ema: Weight of each point in an exponential moving average.
        average: Points in a moving average.
    """

    window: Span = EVERYTHING
    points: int = 1000
    x: Axis = Axis.STEP
    mode: Mode = Mode.MERGED
    ema: float | None = None
    average: int | None = None

    @property
    def smooths(self) -> bool:
        """Whether the values themselves are not what is drawn."""
        return self.ema is not None or self.average is not None
