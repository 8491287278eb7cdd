"""The steps of a training: from a state, or from the first one, to where they end, and why they end there.

Whatever ends them, what was saved arrives in the storage first.
"""

import contextlib
import logging
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tunesmith.activity import ActivityKind, Unit
from tunesmith.errors import InvalidInput
from tunesmith.events import Warned
from tunesmith.spec.training import TrainSpec
from tunesmith_jobs.failures import BadCheckpoint, StorageFailed, Superseded
from tunesmith_jobs.train.job import Job
from tunesmith_jobs.train.run.interruption import (
    EvaluationInterrupted,
    NothingToDo,
    StepInterrupted,
    TooLarge,
    with_smaller_batches,
)

LISTED_SECONDS = 5.0
"""How long a run with no step left to take waits to hear which checkpoints are listed."""
_log = logging.getLogger("tunesmith_jobs.train")


@dataclass(frozen=True)
class End:
    """Where the steps ended."""

    step: int
    was_stopped: bool
    evaluation: Any
    checkpoint: Path | None
    """The state that was gone on from, where no step was left to take; else the store has the newest."""
    smaller: TrainSpec | None = None
    """What to go on with, where a batch did not fit into memory."""
    is_unfit: bool = False
    """Whether the state that was to be gone on from could not be loaded."""
    early_stop: str | None = None
    """Why the platform had it end before its last step."""

    def words(self, plan: Any) -> str:
        """How a run that was not stopped ended, in words."""
        words = f"Trained {self.step} steps."
        if self.step >= plan.total_steps:
            return words
        if self.early_stop is not None:
            return f"{self.early_stop} {words}"
        return f"{self.evaluation.words(plan.spec.metric_for_best_model)} {words}"


def take_steps(job: Job, *, plan: Any, model: Any, settings: Any, data: Any, store: Any, start: Any) -> End:
    """Train from a state, or from the first step where there is none."""
    from tunesmith_jobs.models import build as models
    from tunesmith_jobs.train.run.evaluation_state import EvaluationState
    from tunesmith_jobs.train.run.state import RunState, owes_evaluation
    from tunesmith_jobs.train.run.trainer import TuneTrainer
    from tunesmith_jobs.train.telemetry.trackers import Run, Tee

    spec, paths, identity = job.spec, job.paths, job.identity
    evaluation = EvaluationState.of(start.folder) if start and start.is_own else EvaluationState()
    is_over = start and (start.step >= plan.total_steps or evaluation.is_spent(spec.early_stopping_patience))
    if is_over and not owes_evaluation(plan, start, evaluation):
        return _nothing_left(job, store, start, evaluation)
    run = Run(spec, identity.task_id, identity.name, paths.artifact_uri, paths.scratch, paths.output_dir)
    tee = Tee(job.outlet, run) if identity.rank == 0 else None
    smaller: TrainSpec | None = None
    uploader = _uploader(job, store)
    try:
        state = RunState.of(plan, tee or job.outlet, job.notices, settings)
        if start is not None:
            state.restore(start, evaluation)
        trainer = TuneTrainer(
            model, settings, run=state, data=data, pad_id=models.pad_id(model), uploader=uploader
        )
        try:
            busy = job.outlet.activities.doing(ActivityKind.TRAINING, Unit.BATCHES)
            with contextlib.suppress(NothingToDo), busy as state.batches:
                trainer.train(resume_from_checkpoint=str(start.folder) if start else None)
        except BadCheckpoint as error:
            assert start is not None
            _close_quietly(uploader)
            _pass_over(job, start, error)
            return End(start.step, False, evaluation, None, is_unfit=True)
        except (StepInterrupted, EvaluationInterrupted) as error:
            (trainer.stop_in_step if isinstance(error, StepInterrupted) else trainer.save_and_stop)()
            state.stopped = True
        except TooLarge as error:
            smaller = with_smaller_batches(spec)
            if smaller is None:
                raise
            _log.warning("a batch does not fit into memory: %s", error)
            trainer.stop_in_step()
    except Superseded:
        uploader.abort()
        raise
    except BaseException:
        _close_quietly(uploader)
        raise
    finally:
        if tee is not None:
            tee.close()
    uploader.close()
    return End(
        trainer.state.global_step,
        state.stopped,
        state.evaluation,
        None,
        smaller,
        early_stop=job.outlet.early_stop,
    )


def _nothing_left(job: Job, store: Any, start: Any, evaluation: Any) -> End:
    """The end of a run whose last step was taken by the one before, which may have been killed before it said so."""
    if start.is_own and job.identity.rank == 0:
        deadline = time.monotonic() + LISTED_SECONDS
        while job.outlet.listed is None and time.monotonic() < deadline:
            time.sleep(0.05)  # this process has just begun: its first question may be under way
        uploader = _uploader(job, store)
        uploader.report_unlisted(start.step, evaluation.measured, best_step=evaluation.kept_step)
        uploader.close()
    return End(start.step, False, evaluation, start.folder)


def _uploader(job: Job, store: Any) -> Any:
    from tunesmith_jobs.train.checkpoint.uploading import Uploader

    outlet, keep = job.outlet, job.spec.save_total_limit
    return Uploader(
        store, job.emit, keep, lambda: outlet.pinned, outlet.activities, listed=lambda: outlet.listed
    )


def _pass_over(job: Job, start: Any, error: BadCheckpoint) -> None:
    """Tell of a checkpoint that looked whole and could not be loaded.

    Raises:
        InvalidInput: The user named it.
    """
    if not start.is_own:
        raise InvalidInput(
            f"{error}.", hint="Name another checkpoint.", field="resume_from_checkpoint"
        ) from error
    job.emit(
        Warned(
            code="checkpoint_damaged",
            message=f"`{start.folder.name}` is not used: {error}.",
            hint="Training goes on from the checkpoint before it, or from the start.",
        )
    )


def _close_quietly(uploader: Any) -> None:
    """Let what was saved arrive; the first failure is the one that counts."""
    try:
        uploader.close()
    except StorageFailed:
        _log.exception("the last checkpoint was not stored")
