"""What Ray runs on each worker: reads the document, trains, leaves the outcome in a file.

Known failures become an outcome, never an exception: Ray starts a worker again only when its process was lost.
Knows Ray's context and the core; decides nothing about training itself.
"""

import datetime as dt
import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tunesmith.events import JobPayload
from tunesmith.job import JobDocument
from tunesmith.lifecycle import Desired, State
from tunesmith.outcome import Outcome
from tunesmith.removal import claim
from tunesmith.spec.training import TrainSpec
from tunesmith.zero import uses_zero
from tunesmith_jobs.activities import Activities
from tunesmith_jobs.alive import alive
from tunesmith_jobs.attempt import report_work
from tunesmith_jobs.document import (
    count_restart,
    is_stop_requested,
    read_document,
    read_outcome,
    write_outcome,
)
from tunesmith_jobs.report import Outlet
from tunesmith_jobs.train.core import Identity, Paths, train
from tunesmith_jobs.train.run.interruption import Notices
from tunesmith_jobs.train.telemetry.system import sampled


class Silent:
    """The outlet of a worker that is not the first: it says nothing and follows the others."""

    desired = Desired.RUN
    superseded = False
    save_now = 0
    pinned: frozenset[int] | None = frozenset()

    def __init__(self) -> None:
        self.activities = Activities()

    def emit(self, payload: JobPayload, time: dt.datetime | None = None) -> None:
        """Say nothing."""


def run(config: dict[str, Any]) -> None:
    """Ray's entry. `config["document"]` is the URI of the job's document."""
    import ray.train

    context = ray.train.get_context()
    work(config["document"], context.get_world_rank(), context.get_world_size(), _is_drained)


def _is_drained() -> bool:
    """Whether Ray has announced that the node of a worker goes away. Its public call waits for all workers."""
    try:
        from ray.train.v2._internal.execution.context import get_train_context

        return get_train_context().preemption_context.preemption_info is not None
    except (ImportError, AttributeError, RuntimeError):  # another version of Ray
        return False


def work(uri: str, rank: int, world: int, is_drained: Callable[[], bool] = lambda: False) -> None:
    """Train as one of an attempt's workers.

    Args:
        uri: Of the job's document.
        rank: Which of the workers this is.
        world: How many there are.
        is_drained: Says whether the cluster has announced that a worker's node goes away.
    """
    document = read_document(uri)
    if world == 1 and not uses_zero(TrainSpec.stored(document.spec)):
        # Alone there is nobody to talk to: without these the Trainer wraps no DDP around the model.
        for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "NODE_RANK", "GROUP_RANK"):
            os.environ.pop(name, None)
    if read_outcome(document) is not None:
        return  # it ended before this worker was lost
    with alive(document, rank):
        outcome = _work(document, rank, is_drained)
    if world > 1 and outcome.outcome is State.FAILED and not outcome.superseded:
        raise RuntimeError(outcome.message)  # the others wait for this worker: Ray must end them


def _work(document: JobDocument, rank: int, is_drained: Callable[[], bool]) -> Outcome:
    if rank:
        outcome = _train(document, Silent(), rank, 0, Notices(is_drained))
        if outcome.outcome is State.FAILED:
            write_outcome(document, outcome)
        return outcome
    restart = count_restart(document)
    # The first worker lies where the driver does: they share a spool. What it is told, the others follow.
    notices = Notices(is_drained, functools.partial(is_stop_requested, document))
    return report_work(document, lambda reporter: _train(document, reporter, rank, restart, notices))


def _train(document: JobDocument, outlet: Outlet, rank: int, restart: int, notices: Notices) -> Outcome:
    spec = TrainSpec.stored(document.spec)
    paths = Paths(
        model=Path(document.model_path),
        train=Path(document.train_path),
        eval=Path(document.eval_path) if document.eval_path else None,
        artifact_uri=document.artifact_uri,
        scratch=Path(document.work_dir) / "scratch" / str(document.attempt),
        output_dir=Path(document.output_dir) if document.output_dir else None,
        tokenizer=Path(document.tokenizer_path) if document.tokenizer_path else None,
        tokens=Path(document.work_dir).parent / "tokens",
    )
    identity = Identity(document.task_id, document.attempt, document.name, restart, rank)
    claim(paths.scratch, document.task_id)
    with sampled(outlet, paths.scratch / "system", rank) as speaking:
        return train(spec, paths, speaking, identity, notices)
