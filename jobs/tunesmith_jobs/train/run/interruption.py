"""Leaving before the end: who may ask for it beside the user, and how to leave in the middle of a step.

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
from typing import TYPE_CHECKING, Any

from tunesmith.spec.training import TrainSpec

if TYPE_CHECKING:
    from tunesmith_jobs.train.run.trainer import TuneTrainer

_log = logging.getLogger("tunesmith_jobs.train")


class LeftInStep(Exception):
    """A step was given up: its gradients are worth nothing, the weights have not moved."""


class LeftEvaluation(Exception):
    """An evaluation was given up: its sums are worth nothing, the step before it is whole."""


class NothingLeft(Exception):
    """The run ends before another step: only an evaluation was left to do, and it is done."""


class LeftMerge(Exception):
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
    """What the machine asks of a run."""

    is_heard = False
    """Of the class: whether this process was told to leave, whichever of its runs and threads it has."""

    def __init__(
        self, is_drained: Callable[[], bool] = lambda: False, is_told: Callable[[], bool] = lambda: False
    ) -> None:
        """Nothing is asked yet.

        Args:
            is_drained: Says whether the cluster has announced that a worker's node goes away.
            is_told: Says whether the attempt's driver was told to leave.
        """
        self._is_drained = is_drained
        self._is_told = is_told
        self._has_saved = False

    @property
    def must_leave(self) -> bool:
        """Whether to save and leave at once."""
        return self.is_heard or self._is_told()

    def wants_save(self) -> bool:
        """True once: when it is first heard that the node goes away. Training goes on for as long as it stands."""
        if self._has_saved or not self._is_drained():
            return False
        self._has_saved = True
        _log.warning("the node of a worker goes away: saving a checkpoint")
        return True

    @contextmanager
    def listening(self) -> Iterator["Notices"]:
        """Take SIGTERM as the wish to save and leave, while the context lasts.

        Outside of the main thread Python hears no signals: see `hear_for_the_process`.
        """
        if threading.current_thread() is not threading.main_thread():
            yield self
            return
        before = signal.signal(signal.SIGTERM, self._hear)
        try:
            yield self
        finally:
            signal.signal(signal.SIGTERM, before if before is not None else signal.SIG_DFL)

    @classmethod
    def hear_for_the_process(cls) -> None:
        """Take SIGTERM as that wish from now on. For a process's main thread, where another one trains."""

        def hear(*_: Any) -> None:
            cls.is_heard = True

        signal.signal(signal.SIGTERM, hear)

    def _hear(self, *_: Any) -> None:
        self.is_heard = True  # a handler may not log: the interrupted line may hold the log's lock


@dataclass
class Moment:
    """What a step changes before the weights move, as it was before."""

    random_states: dict[str, Any]
    window: Any
    operations: float

    @classmethod
    def of(cls, trainer: "TuneTrainer") -> "Moment":
        """The moment now."""
        return cls(_random_states(), copy.copy(trainer.window), trainer.current_flos)

    def bring_back(self, trainer: "TuneTrainer") -> None:
        """Make it so again."""
        import numpy as np
        import torch

        random.setstate(self.random_states["python"])
        np.random.set_state(self.random_states["numpy"])
        torch.random.set_rng_state(self.random_states["cpu"])
        if "cuda" in self.random_states:
            torch.cuda.random.set_rng_state_all(self.random_states["cuda"])
        trainer.window, trainer.current_flos = self.window, self.operations
        trainer.model.zero_grad(set_to_none=True)


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
