"""What does the work of an attempt, whatever its kind: in a worker that Ray starts, in a warm one, or in the driver.

Reads the document, works under a log that is reported, leaves the outcome in a file. Known failures become an outcome,
never an exception: Ray starts a worker again only when its process was lost. Knows Ray's context and the kinds'
programs; decides nothing about the work itself.
"""

import os
from collections.abc import Callable
from typing import Any

from tunesmith.lifecycle import Reason, State
from tunesmith.outcome import Outcome
from tunesmith.plain_text import as_json
from tunesmith.removal import claim, discard
from tunesmith_jobs.alive import alive
from tunesmith_jobs.attempt import guarded, report_work
from tunesmith_jobs.document import count_restart, read_outcome, write_outcome
from tunesmith_jobs.failures import PeerLost
from tunesmith_jobs.outlet import Outlet, Silent
from tunesmith_jobs.program import Attempt, WorkerContext

_RANKS = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "NODE_RANK", "GROUP_RANK")


def run(config: dict[str, Any]) -> None:
    """Ray Train's entry. `config["document"]` is the URI of the job's document."""
    import ray.train

    context = ray.train.get_context()
    work(config["document"], context.get_world_rank(), context.get_world_size(), _is_drained)


def run_task(uri: str) -> str:
    """The entry of a plain task of Ray's; returns its `Outcome` as JSON."""
    return as_json(work(uri)).decode()


def _is_drained() -> bool:
    """Whether Ray has announced that the node of a worker goes away. Its public call waits for all workers."""
    try:
        from ray.train.v2._internal.execution.context import get_train_context

        return get_train_context().preemption_context.preemption_info is not None
    except (ImportError, AttributeError, RuntimeError):  # another version of Ray
        return False


def work(uri: str, rank: int = 0, world: int = 1, is_drained: Callable[[], bool] = lambda: False) -> Outcome:
    """Work as one of an attempt's workers; says how it ended, as the file does that it leaves.

    Args:
        uri: Of the attempt's document.
        rank: Which of the workers this is.
        world: How many there are.
        is_drained: Says whether the cluster has announced that a worker's node goes away.

    Raises:
        RuntimeError: It failed, and others wait for it.
        PeerLost: Another one is gone: Ray starts all of them again, as where it is this one's process that is lost.
    """
    attempt = Attempt.read(uri)
    needs = attempt.needs
    if world == 1 and (needs is None or not needs.is_group):
        # Alone there is nobody to talk to: without these the Trainer wraps no DDP around the model.
        for name in _RANKS:
            os.environ.pop(name, None)
    found = read_outcome(attempt.document)
    if found is not None:
        return found  # it ended before this worker was lost
    with alive(attempt.document, rank):
        outcome = _follow(attempt, rank, is_drained) if rank else speak(attempt, is_drained)
        if world == 1:  # others may still use the folder
            discard(attempt.scratch, attempt.document.task_id)
    if world > 1 and outcome.outcome is State.FAILED and not outcome.superseded:
        raise RuntimeError(outcome.message)  # the others wait for this worker: Ray must end them
    return outcome


def _follow(attempt: Attempt, rank: int, is_drained: Callable[[], bool]) -> Outcome:
    """Work as one that says nothing: what the first worker is told, the others follow."""
    outcome = _with_peers(do(attempt, Silent(), WorkerContext(attempt.scratch, rank, 0, is_drained)))
    if outcome.outcome is State.FAILED:
        write_outcome(attempt.document, outcome)
    return outcome


def speak(attempt: Attempt, is_drained: Callable[[], bool] = lambda: False) -> Outcome:
    """Work as the one that speaks for the attempt. It lies where the driver does: they share a spool."""
    context = WorkerContext(attempt.scratch, 0, count_restart(attempt.document), is_drained, attempt.uri)
    return report_work(attempt.document, lambda reporter: _with_peers(do(attempt, reporter, context)))


def _with_peers(outcome: Outcome) -> Outcome:
    """An outcome that is the attempt's own: of one that only lost its peer none is left, for then it would be over."""
    if outcome.reason is Reason.WORKER_LOST:
        raise PeerLost(outcome.message)
    return outcome


def do(attempt: Attempt, outlet: Outlet, context: WorkerContext | None = None) -> Outcome:
    """Do what an attempt asks for; raises for nothing that a user can cause.

    Args:
        attempt: Which one.
        outlet: Takes the events and the log; says what the user wants.
        context: Which of its workers this is; the first and only one when None.
    """
    document, context = attempt.document, context or WorkerContext(attempt.scratch)

    def work() -> Outcome:
        claim(context.scratch, document.task_id)
        return attempt.program.work(document, outlet, context)

    return guarded(
        outlet,
        work,
        source=f"worker-{context.rank}",
        scratch=context.scratch,
        level=attempt.program.log_level(document),
    )
