"""Stopping before the end: who may ask for it beside the user, and how to stop in the middle of a step.

A machine that is reclaimed says so with SIGTERM, or its cluster announces it some time before. A step may take longer
than there is time for; so what it has begun is forgotten, and the state before it is saved: then a resumed run takes
the step whole. A batch that does not fit into memory ends its step in the same way. Knows signals and random states;
knows nothing of batches or files.
"""

import copy
import logging
import random
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from tunesmith.spec.training import TrainSpec
from tunesmith_jobs.train.run.plan import Window

_log = logging.getLogger("tunesmith_jobs.train")


class StepInterrupted(Exception):
    """A step was given up: its gradients are worth nothing, the weights have not moved."""


class EvaluationInterrupted(Exception):
    """An evaluation was given up: its sums are worth nothing, the step before it is whole."""


class NothingToDo(Exception):
    """The run ends before another step: only an evaluation was left to do, and it is done."""


class MergeInterrupted(Exception):
    """The merge of the final model was given up; the checkpoint that it is made from is stored."""


class TooLarge(Exception):
    """A batch did not fit into memory; its step was given up."""


def with_smaller_batches(spec: TrainSpec) -> TrainSpec | None:
    """The same run with at most half as many rows at once and as many a step; None where there is none smaller."""
    rows, batches = spec.per_device_train_batch_size, spec.gradient_accumulation_steps
    if rows == 1:
        return None
    fewer = next(count for count in range(rows // 2, 0, -1) if rows * batches % count == 0)
    update = {"per_device_train_batch_size": fewer, "gradient_accumulation_steps": rows * batches // fewer}
    return spec.model_copy(update=update)


class Notices:
    """What the machine asks of a run: SIGTERM, and the announcement that a node goes away."""

    got_sigterm = False
    """Of the class: whether this process got SIGTERM, whichever of its runs and threads it has."""

    def __init__(
        self,
        is_drained: Callable[[], bool] = lambda: False,
        is_stop_requested: Callable[[], bool] = lambda: False,
    ) -> None:
        """Nothing is asked yet.

        Args:
            is_drained: Says whether the cluster has announced that a worker's node goes away.
            is_stop_requested: Says whether the attempt's driver was asked to stop.
        """
        self._is_drained = is_drained
        self._is_stop_requested = is_stop_requested
        self._has_saved = False

    @property
    def must_stop(self) -> bool:
        """Whether to save and stop at once."""
        return self.got_sigterm or self._is_stop_requested()

    def wants_save(self) -> bool:
        """True once: when it is first known that the node goes away. Training goes on for as long as it stands."""
        if self._has_saved or not self._is_drained():
            return False
        self._has_saved = True
        _log.warning("the node of a worker goes away: saving a checkpoint")
        return True

    @contextmanager
    def handling_sigterm(self) -> Iterator[None]:
        """Take SIGTERM as the wish to save and stop, while the context lasts.

        Outside of the main thread Python handles no signals: see `handle_sigterm_for_process`.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = signal.signal(signal.SIGTERM, self._on_sigterm)
        try:
            yield
        finally:
            signal.signal(signal.SIGTERM, before if before is not None else signal.SIG_DFL)

    @classmethod
    def handle_sigterm_for_process(cls) -> None:
        """Take SIGTERM as that wish from now on. For a process's main thread, where another one trains."""

        def handle(*_: Any) -> None:
            cls.got_sigterm = True

        signal.signal(signal.SIGTERM, handle)

    def _on_sigterm(self, *_: Any) -> None:
        self.got_sigterm = True  # a handler may not log: the interrupted line may hold the log's lock


@dataclass
class StepStart:
    """What a step changes before the weights move, as it was before."""

    random_states: dict[str, Any]
    window: Window
    operations: float
    """Floating-point operations of the run so far."""

    @classmethod
    def of(cls, window: Window, operations: float) -> "StepStart":
        """As it is now."""
        return cls(_random_states(), copy.copy(window), operations)

    def restore_random_states(self) -> None:
        """Draw again what the step drew."""
        import numpy as np
        import torch

        random.setstate(self.random_states["python"])
        np.random.set_state(self.random_states["numpy"])
        torch.random.set_rng_state(self.random_states["cpu"])
        if "cuda" in self.random_states:
            torch.cuda.random.set_rng_state_all(self.random_states["cuda"])


@contextmanager
def keeping_random_states() -> Iterator[None]:
    """Draw from the random states in the block as if nothing had been drawn."""
    before = StepStart(_random_states(), Window(), 0.0)
    try:
        yield
    finally:
        before.restore_random_states()


def _random_states() -> dict[str, Any]:
    """The same that a checkpoint keeps."""
    import numpy as np
    import torch

    states = {
        "python": random.getstate(),
        "numpy": np.random.get_state(),
        "cpu": torch.random.get_rng_state(),
    }
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        states["cuda"] = torch.cuda.random.get_rng_state_all()
    return states
