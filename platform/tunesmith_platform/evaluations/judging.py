"""Which checkpoint scores best, and whether it is time to stop for want of improvement. Pure.

As the training's own job judges by its evaluations (`EvaluationState`): an improvement is a gain over the last one that
is larger than the threshold, and the best is the best, however little better.
"""

from collections.abc import Sequence
from typing import NamedTuple


class Verdict(NamedTuple):
    """What scores say of a training."""

    best_step: int | None
    """The first of the checkpoints with the best score; None where none has it."""
    best: float
    misses: int
    """Checkpoints scored since the last improvement."""

    def is_spent(self, patience: int) -> bool:
        """Whether it has gone on for long enough without an improvement; a patience of 0 never ends."""
        return 0 < patience <= self.misses


def judge(scores: Sequence[tuple[int, float]], threshold: float) -> Verdict:
    """Judge checkpoints by a score of which more is better.

    Args:
        scores: Each checkpoint's step and score, by their steps.
        threshold: A smaller gain is no improvement.
    """
    best_step, best, mark, misses = None, float("-inf"), float("-inf"), 0
    for step, value in scores:
        if value > best:
            best_step, best = step, value
        if value - mark > threshold:
            mark, misses = value, 0
        else:
            misses += 1
    return Verdict(best_step, best, misses)
