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
from tunesmith.spec.training import TrainSpec
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
            return _run(spec, paths, outlet, emit, identity)
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


def _run(
    spec: TrainSpec, paths: Paths, outlet: Outlet, emit: Callable[[JobPayload], None], identity: Identity
) -> Outcome:
    phases = _Phases(outlet, emit)
    os.environ.setdefault("HF_HUB_OFFLINE", "1")  # nothing is fetched while training
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    import torch
    import transformers

    if os.environ.get("OMP_NUM_THREADS", "").isdecimal():
        torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    from tunesmith.rows.encoding import Encoder
    from tunesmith_jobs.train import model as models
    from tunesmith_jobs.train.checkpoints import ArtifactStore, Owner, Uploader
    from tunesmith_jobs.train.precision import choose
    from tunesmith_jobs.train.rows import Collator
    from tunesmith_jobs.train.trainer import Plan, TuneTrainer

    transformers.utils.logging.disable_progress_bar()
    choice = choose(spec)
    phases.done(Phase.IMPORTS)

    encoder = Encoder.from_folder(paths.model, spec.max_length)
    data = _load_data(spec, paths, encoder)
    if identity.restart == 0:
        _warn_of_rows(emit, data.cut, data.dropped, spec.max_length)
    phases.done(Phase.DATA)

    transformers.set_seed(spec.seed)
    model = models.load(paths.model, spec, choice)
    phases.done(Phase.WEIGHTS)
    ready_at = time.perf_counter()

    owner = Owner(identity.task_id, identity.attempt, str(paths.model), encoder.template.sha256)
    store = ArtifactStore(paths.artifact_uri, owner, paths.output_dir)
    found = store.newest(paths.scratch / "resume", emit)
    arguments = _arguments(spec, paths.scratch, choice, len(data.rows))
    plan = Plan(
        spec=spec,
        total_steps=arguments["max_steps"],
        steps_per_epoch=arguments.pop("steps_per_epoch"),
        evaluates=data.eval_rows is not None and spec.eval_strategy != "no",
        restart=identity.restart,
        ready_at=ready_at,
        facts=_facts(choice, data, model),
    )
    last_step, stopped = (found[0] if found else 0), False
    if last_step < plan.total_steps:
        uploader = Uploader(store, emit, spec.save_total_limit)
        try:
            trainer = TuneTrainer(
                model,
                transformers.TrainingArguments(**arguments),
                plan=plan,
                rows=data.rows,
                eval_rows=data.eval_rows,
                collator=Collator(_pad_id(model)),
                outlet=outlet,
                uploader=uploader,
            )
            if found is not None:
                trainer.restore_window(found[1])
            trainer.train(resume_from_checkpoint=str(found[1]) if found else None)
        except Superseded:
            uploader.abort()
            raise
        except BaseException:
            _close_quietly(uploader)
            raise
        uploader.close()
        last_step, stopped = trainer.state.global_step, trainer.stopped
    if stopped:
        return Outcome.because(
            Reason.STOPPED_BY_USER, f"Stopped after step {last_step}; its checkpoint is saved."
        )
    if identity.rank:
        return Outcome.because(Reason.COMPLETED)
    uri = _publish_model(store, paths, identity, last_step, outlet)
    return Outcome.because(Reason.COMPLETED, f"Trained {last_step} steps.").model_copy(
        update={"model_uri": uri}
    )


@dataclass(frozen=True)
class _Data:
    rows: Any
    eval_rows: Any
    cut: int
    dropped: int


def _load_data(spec: TrainSpec, paths: Paths, encoder: Any) -> _Data:
    from tunesmith_jobs.train.rows import hold_out, load_rows

    loaded = load_rows(paths.train, encoder, spec.max_samples, spec.seed)
    rows, eval_rows = loaded.rows, None
    if paths.eval is not None:
        eval_rows = load_rows(paths.eval, encoder).rows
    elif spec.eval_sampling_ratio:
        rows, eval_rows = hold_out(rows, spec.eval_sampling_ratio, spec.seed)
    return _Data(rows, eval_rows, loaded.cut, loaded.dropped)


def _facts(choice: Any, data: _Data, model: Any) -> dict[str, Any]:
    """What was resolved, for the task's page."""
    import torch

    from tunesmith_jobs.train.model import trainable_parameters

    trained, total = trainable_parameters(model)
    return {
        "precision": choice.precision,
        "precision_why": choice.why,
        "device": choice.device,
        "threads": torch.get_num_threads(),
        "rows": len(data.rows),
        "rows_cut": data.cut,
        "rows_dropped": data.dropped,
        "eval_rows": len(data.eval_rows) if data.eval_rows is not None else 0,
        "tokens": data.rows.tokens,
        "supervised_tokens": data.rows.supervised,
        "trainable_parameters": trained,
        "parameters": total,
    }


def _close_quietly(uploader: Any) -> None:
    """Let what was saved arrive; the first failure is the one that counts."""
    try:
        uploader.close()
    except StorageFailed:
        _log.exception("the last checkpoint was not stored")


def _publish_model(store: Any, paths: Paths, identity: Identity, step: int, outlet: Outlet) -> str:
    from tunesmith_jobs.train import model as models

    if outlet.superseded:
        raise Superseded
    try:
        folder = paths.scratch / "final"
        checkpoint = store.checkpoint_folder(step, paths.scratch / "resume")
        models.lay_out_final(checkpoint, paths.model, folder, title=identity.name)
        _, uri = store.put(folder, FINAL_MODEL, step, kind="model")
    except OSError as error:
        raise StorageFailed(f"The final model could not be stored: {error}") from error
    shutil.rmtree(paths.scratch / "resume", ignore_errors=True)
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


def _pad_id(model: Any) -> int:
    """Any token will do for padding: it is masked and never trained."""
    config = model.config
    for name in ("pad_token_id", "eos_token_id"):
        value = getattr(config, name, None)
        if isinstance(value, list):
            value = value[0] if value else None
        if isinstance(value, int) and value >= 0:
            return value
    return 0


def _arguments(spec: TrainSpec, scratch: Path, choice: Any, rows: int) -> dict[str, Any]:
    """The Trainer's arguments: the one place where a parameter is handed to the library."""
    world = int(os.environ.get("WORLD_SIZE", "1"))
    batches = -(-rows // (spec.per_device_train_batch_size * world))
    steps_per_epoch = -(-batches // spec.gradient_accumulation_steps)
    # 1.1 epochs of 10 steps are 11 steps: the small term takes off what binary fractions add.
    by_epochs = -int(-(spec.num_train_epochs * steps_per_epoch - 1e-6) // 1)
    total_steps = spec.max_steps if spec.max_steps > 0 else max(1, by_epochs)
    warmup = spec.warmup_steps or round(spec.warmup_ratio * total_steps)
    return {
        "steps_per_epoch": steps_per_epoch,
        "output_dir": str(scratch),
        "max_steps": total_steps,
        "per_device_train_batch_size": spec.per_device_train_batch_size,
        "gradient_accumulation_steps": spec.gradient_accumulation_steps,
        "learning_rate": spec.learning_rate,
        "optim": spec.optim,
        "lr_scheduler_type": spec.lr_scheduler_type,
        "weight_decay": spec.weight_decay,
        "warmup_steps": warmup,
        "max_grad_norm": spec.max_grad_norm,
        "seed": spec.seed,
        "bf16": choice.precision == "bf16",
        "fp16": choice.precision == "fp16",
        "use_cpu": choice.device == "cpu",
        # Our batches say that nothing is cached; this is only what a saved configuration says.
        "use_cache": True,
        "activation_checkpointing": spec.gradient_checkpointing,
        "activation_checkpointing_kwargs": {"use_reentrant": False},
        # `Conductor` decides when; the Trainer's own clocks are off.
        "logging_strategy": "no",
        "eval_strategy": "no",
        "save_strategy": "no",
        "logging_nan_inf_filter": False,
        "disable_tqdm": True,
        "report_to": "none",
        "remove_unused_columns": False,
        "ddp_find_unused_parameters": False,
        "average_tokens_across_devices": True,
    }
