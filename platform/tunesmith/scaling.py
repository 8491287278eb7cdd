"""How many workers train together, and how the effective batch stays the same whatever their number.

Knows numbers only; knows nothing of Ray.
"""

import math

from tunesmith.errors import InvalidInput
from tunesmith.spec.training import TrainSpec


def accumulation_at(spec: TrainSpec, workers: int) -> int:
    """Batches that each of `workers` adds up, so that a step takes the spec's effective batch.

    The spec means its `gradient_accumulation_steps` for the most workers that it allows.

    Raises:
        InvalidInput: That many workers cannot share the effective batch evenly.
    """
    batches = spec.gradient_accumulation_steps * spec.workers[1]
    if batches % workers:
        raise InvalidInput(
            f"{workers} workers cannot share {batches} batches a step evenly.",
            hint=f"Use `gradient_accumulation_steps={_working(spec)}`, or another range of `num_workers`.",
            field="gradient_accumulation_steps",
        )
    return batches // workers


def check_elastic(spec: TrainSpec) -> None:
    """Refuse a range of workers for which the effective batch could not stay the same.

    Raises:
        InvalidInput: With an accumulation that works for the whole range.
    """
    least, most = spec.workers
    for workers in range(least, most + 1):
        accumulation_at(spec, workers)


def _working(spec: TrainSpec) -> int:
    """The smallest accumulation, not below the one asked for, that every number of workers can share."""
    least, most = spec.workers
    every = math.lcm(*range(least, most + 1))
    unit = every // math.gcd(every, most)
    return -(-spec.gradient_accumulation_steps // unit) * unit
