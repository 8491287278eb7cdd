"""What a run of a training is given: what it reads and writes, which one it is, whom it tells.

Also the phases of its start, between which a stop ends it.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tunesmith.dataset_views import Part
from tunesmith.events import JobPayload, Phase, PhaseDone
from tunesmith.lifecycle import Desired
from tunesmith.spec.training import TrainSpec
from tunesmith_jobs.failures import Stopped, Superseded
from tunesmith_jobs.outlet import Outlet
from tunesmith_jobs.train.run.interruption import Notices

BEFORE_START = "Stopped before the first step."


@dataclass(frozen=True)
class Paths:
    """What a run reads and where it writes."""

    model: Path
    train: Path
    eval: Path | None
    artifact_uri: str
    scratch: Path
    output_dir: Path | None = None
    tokenizer: Path | None = None
    """Another folder whose tokenizer is used instead of the model's."""
    tokens: Path | None = None
    """Where encoded files are kept (`tunesmith_jobs.batches.token_cache`); None keeps none."""
    parts: tuple[Part, ...] = ()
    """Rows that each data set gave, where the training file was mixed of several; only told."""


@dataclass(frozen=True)
class Identity:
    """Which run this is: for manifests and reports."""

    task_id: str
    attempt: int = 1
    name: str = "run"
    restart: int = 0
    rank: int = 0


@dataclass(frozen=True)
class Job:
    """What `train` was given."""

    spec: TrainSpec
    paths: Paths
    outlet: Outlet
    emit: Callable[[JobPayload], None]
    identity: Identity
    notices: Notices
    passed: frozenset[int] = frozenset()
    """Steps whose checkpoints could not be loaded."""


def say_nothing(payload: JobPayload) -> None:
    """The other workers train; rank 0 speaks for all."""


class Phases:
    """Times the phases of the start, and lets a stop or a fence end it between two of them."""

    def __init__(self, outlet: Outlet, emit: Callable[[JobPayload], None], notices: Notices) -> None:
        self._outlet, self._emit, self._notices = outlet, emit, notices
        self._began = time.perf_counter()

    def done(self, phase: Phase) -> None:
        """Say how long a phase took, and go on only if that is wanted."""
        now = time.perf_counter()
        self._emit(PhaseDone(phase=phase, seconds=now - self._began))
        self._began = now
        self.check()

    def check(self) -> None:
        """Go on only if that is wanted."""
        if self._outlet.superseded:
            raise Superseded
        if self._outlet.desired is Desired.STOP or self._notices.must_stop:
            raise Stopped(BEFORE_START)
