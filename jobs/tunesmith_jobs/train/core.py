"""Fine-tuning as one plain function of (spec, paths, outlet). Needs no Ray and no control plane.

`train` never raises for what a user can cause: it returns an `Outcome` with the reason. What it leaves behind is
complete checkpoints and, when it completes, the final model.
"""

import logging
import os
import shutil
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from tunesmith.artifacts import FINAL_MODEL
from tunesmith.errors import TunesmithError
from tunesmith.events import JobPayload, Phase, PhaseDone, Warned
from tunesmith.lifecycle import REASONS, Desired, Reason, State
from tunesmith.rows.order import ORDER_FILE, RowOrder
from tunesmith.spec.training import TrainSpec
from tunesmith.zero import uses_zero
from tunesmith_jobs.report import Outlet
from tunesmith_jobs.train.failures import StorageFailed, Superseded, reason_of
from tunesmith_jobs.train.logs import captured, log_line

_log = logging.getLogger("tunesmith_jobs.train")


class Outcome(BaseModel):
    """How a run ended. `superseded` runs say nothing to anybody."""

    outcome: State
    reason: Reason
    message: str = ""
    model_uri: str | None = None
    superseded: bool = False

    @classmethod
    def because(cls, reason: Reason, message: str = "") -> "Outcome":
        """The outcome that a reason fixes."""
        return cls(outcome=REASONS[reason].end, reason=reason, message=message)


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


@dataclass(frozen=True)
class Identity:
    """Which run this is: for manifests and reports."""

    task_id: str
    attempt: int = 1
    name: str = "run"
    restart: int = 0
    rank: int = 0


class _StopBeforeStart(Exception):
    """A stop was asked for before the first step."""


def train(spec: TrainSpec, paths: Paths, outlet: Outlet, identity: Identity) -> Outcome:
    """Train, from the newest good checkpoint where there is one.

    Args:
        spec: What to train and how.
        paths: Where everything lies.
        outlet: Takes the events; says what the user wants.
        identity: Which run this is.
    """
    scratch = paths.scratch / f"rank-{identity.rank}" if identity.rank else paths.scratch
    emit = outlet.emit if identity.rank == 0 else _say_nothing
    with captured(outlet, spec.log_level, f"worker-{identity.rank}"):
        try:
            return _run(_Job(spec, paths, outlet, emit, identity))
        except Superseded:
            return Outcome(outcome=State.FAILED, reason=Reason.JOB_LOST, superseded=True)
        except _StopBeforeStart:
            return Outcome.because(Reason.STOPPED_BY_USER, "Stopped before the first step.")
        except Exception as error:
            reason = reason_of(error, scratch if scratch.is_dir() else None)
            text = (
                f"{error.message} {error.hint or ''}".strip()
                if isinstance(error, TunesmithError)
                else str(error)
            )
            if reason is Reason.NUMERIC:
                emit(Warned(code="numeric", message=text, hint=REASONS[reason].next_step))
            lines = traceback.format_exc().strip().splitlines()
            outlet.emit(log_line("error", "\n".join(lines[-30:]), f"worker-{identity.rank}"))
            return Outcome.because(reason, (text or type(error).__name__)[:2000])


def _say_nothing(payload: JobPayload) -> None:
    """The other workers train; rank 0 speaks for all."""


class _Phases:
    """Times the phases of the start, and lets a stop or a fence end it between two of them."""

    def __init__(self, outlet: Outlet, emit: Callable[[JobPayload], None]) -> None:
        self._outlet, self._emit = outlet, emit
        self._began = time.perf_counter()

    def done(self, phase: Phase) -> None:
        """Say how long a phase took, and go on only if that is wanted."""
        now = time.perf_counter()
        self._emit(PhaseDone(phase=phase, seconds=now - self._began))
        self._began = now
        if self._outlet.superseded:
            raise Superseded
        if self._outlet.desired is Desired.STOP:
            raise _StopBeforeStart


@dataclass(frozen=True)
class _Job:
    """What `train` was given."""

    spec: TrainSpec
    paths: Paths
    outlet: Outlet
    emit: Callable[[JobPayload], None]
    identity: Identity


def _run(job: _Job) -> Outcome:
    spec, paths, emit, identity = job.spec, job.paths, job.emit, job.identity
    phases = _Phases(job.outlet, emit)
    _prepare_libraries()
    import transformers

    from tunesmith_jobs.train import model as models
    from tunesmith_jobs.train.arguments import trainer_arguments
    from tunesmith_jobs.train.checkpoints import ArtifactStore, Owner
    from tunesmith_jobs.train.data import load_data
    from tunesmith_jobs.train.lora_linear import use_fused_lora
    from tunesmith_jobs.train.precision import choose
    from tunesmith_jobs.train.resume import find_state
    from tunesmith_jobs.train.trainer import Plan

    choice = choose(spec)
    for warning in choice.warnings:
        emit(warning)
    phases.done(Phase.IMPORTS)

    data = load_data(spec, paths.model, paths.train, paths.eval, paths.tokenizer)
    if identity.restart == 0:
        _warn_of_rows(emit, data.cut, data.dropped, spec.max_length)
    phases.done(Phase.DATA)

    evaluates = data.eval_rows is not None and spec.eval_strategy != "no"
    arguments = trainer_arguments(spec, paths.scratch, choice, len(data.rows), evaluates=evaluates)
    settings = transformers.TrainingArguments(
        **arguments.values
    )  # before the weights: ZeRO 3 loads them in parts
    transformers.set_seed(spec.seed)
    model = models.load(paths.model, spec, choice, data.classes or None)
    loss = _pick_loss(model, spec, data)
    if choice.device == "cpu" and spec.use_lora and not uses_zero(spec) and not spec.torch_compile:
        use_fused_lora(model)
    phases.done(Phase.WEIGHTS)
    ready_at = time.perf_counter()

    owner = Owner(
        identity.task_id, identity.attempt, str(paths.model), data.template and data.template.sha256
    )
    store = ArtifactStore(paths.artifact_uri, owner, paths.output_dir)
    if identity.rank == 0:
        _write_order(store, spec, data)
    resume = paths.scratch / f"resume-{identity.rank}"
    start = find_state(store, spec, resume, emit)
    plan = Plan(
        spec=spec,
        total_steps=arguments.plan.total_steps,
        steps_per_epoch=arguments.plan.steps_per_epoch,
        evaluates=evaluates,
        restart=identity.restart,
        ready_at=ready_at,
        facts=_facts(choice, data, model, spec) | {"loss": loss},
        tokenizer=paths.tokenizer or paths.model,
    )
    end = _take_steps(job, plan=plan, model=model, settings=settings, data=data, store=store, start=start)
    if end.was_stopped:
        return Outcome.because(
            Reason.STOPPED_BY_USER, f"Stopped after step {end.step}; its checkpoint is saved."
        )
    if identity.rank:
        return Outcome.because(Reason.COMPLETED)
    if job.outlet.superseded:
        raise Superseded
    checkpoint = end.checkpoint or store.checkpoint_folder(end.step, resume)
    uri = _publish_model(job, store, checkpoint, end.step, data)
    shutil.rmtree(resume, ignore_errors=True)
    words = f"Trained {end.step} steps."
    if end.step < plan.total_steps:
        words = f"{end.standing.words(spec.metric_for_best_model)} {words}"
    return Outcome.because(Reason.COMPLETED, words).model_copy(update={"model_uri": uri})


def _prepare_libraries() -> None:
    """Set what the heavy libraries read when they are imported, and import them."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")  # nothing is fetched while training
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    import torch
    import transformers

    if os.environ.get("OMP_NUM_THREADS", "").isdecimal():
        torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    transformers.utils.logging.disable_progress_bar()


@dataclass(frozen=True)
class _End:
    """Where the steps ended."""

    step: int
    was_stopped: bool
    standing: Any
    checkpoint: Path | None
    """The state that was gone on from, where no step was left to take; else the store has the newest."""


def _take_steps(
    job: _Job, *, plan: Any, model: Any, settings: Any, data: Any, store: Any, start: Any
) -> _End:
    """Train from a state, or from the first step where there is none."""
    from tunesmith_jobs.train import model as models
    from tunesmith_jobs.train.checkpoints import Uploader
    from tunesmith_jobs.train.conductor import Standing
    from tunesmith_jobs.train.sinks import Run, Tee
    from tunesmith_jobs.train.trainer import TuneTrainer

    spec, paths, identity = job.spec, job.paths, job.identity
    standing = Standing.of(start.folder) if start and start.is_own else Standing()
    if start and (start.step >= plan.total_steps or standing.is_spent(spec.early_stopping_patience)):
        return _End(start.step, False, standing, start.folder)
    run = Run(spec, identity.task_id, identity.name, paths.artifact_uri, paths.scratch)
    tee = Tee(job.outlet, run) if identity.rank == 0 else None
    uploader = Uploader(store, job.emit, spec.save_total_limit, lambda: job.outlet.pinned)
    try:
        trainer = TuneTrainer(
            model,
            settings,
            plan=plan,
            data=data,
            pad_id=models.pad_id(model),
            outlet=tee or job.outlet,
            uploader=uploader,
        )
        if start is not None:
            trainer.restore(start.folder, standing)
        trainer.train(resume_from_checkpoint=str(start.folder) if start else None)
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
    return _End(trainer.state.global_step, trainer.stopped, trainer.standing, None)


def _pick_loss(model: Any, spec: TrainSpec, data: Any) -> str:
    """Compute the loss at trained positions alone where that is the model's own loss; says what was picked and why."""
    from tunesmith_jobs.train.loss import use_supervised_loss

    if data.classes:
        return "of classes"
    if uses_zero(spec):
        return "of all positions: DeepSpeed may hold the head in parts"
    why = "the step is compiled" if spec.torch_compile else use_supervised_loss(model)
    return f"of all positions: {why}" if why else "of trained positions"


def _facts(choice: Any, data: Any, model: Any, spec: TrainSpec) -> dict[str, Any]:
    """What was resolved, for the task's page."""
    import torch

    from tunesmith_jobs.train import model as models

    return (
        {
            "threads": torch.get_num_threads(),
        }
        | data.facts()
        | choice.facts()
        | models.facts(model, spec)
    )


def _write_order(store: Any, spec: TrainSpec, data: Any) -> None:
    """Keep which rows every step takes. Training does not wait for it to work."""
    bounds, numbers = data.rows.origins
    batch = spec.per_device_train_batch_size * spec.gradient_accumulation_steps * spec.workers[1]
    order = RowOrder(spec.seed, spec.reshuffle_each_epoch, batch, bounds.tolist(), numbers.tolist())
    try:
        store.write(ORDER_FILE, order.encode())
    except OSError:
        _log.exception("which rows every step takes was not stored")


def _close_quietly(uploader: Any) -> None:
    """Let what was saved arrive; the first failure is the one that counts."""
    try:
        uploader.close()
    except StorageFailed:
        _log.exception("the last checkpoint was not stored")


def _publish_model(job: _Job, store: Any, checkpoint: Path, step: int, data: Any) -> str:
    from tunesmith_jobs.train import model as models

    try:
        folder = job.paths.scratch / "final"
        models.lay_out_final(
            checkpoint,
            job.paths.model,
            folder,
            title=job.identity.name,
            spec=job.spec,
            labels=data.classes or None,
            tokenizer=job.paths.tokenizer,
            template=data.chosen_template,
        )
        _, uri = store.put(folder, FINAL_MODEL, step, kind="model")
    except OSError as error:
        raise StorageFailed(f"The final model could not be stored: {error}") from error
    return str(uri)


def _warn_of_rows(emit: Callable[[JobPayload], None], cut: int, dropped: int, max_length: int) -> None:
    if dropped:
        emit(
            Warned(
                code="rows_without_labels",
                message=f"{dropped} rows are left out: within {max_length} tokens they have nothing to train.",
                hint="Raise `max_length` to keep them.",
            )
        )
    if cut:
        emit(
            Warned(
                code="rows_cut",
                message=f"{cut} rows are longer than {max_length} tokens and were cut.",
                hint="Raise `max_length` to keep them whole.",
            )
        )
