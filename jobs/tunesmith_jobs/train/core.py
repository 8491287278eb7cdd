"""Fine-tuning as one plain function of (spec, paths, outlet). Needs no Ray and no control plane.

`train` never raises for what a user can cause: it returns an `Outcome` with the reason; `run` raises, for who has that
done for it. What they leave behind is complete checkpoints and, when they complete, the final model.
"""

import contextlib
import dataclasses
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tunesmith.activity import ActivityKind, Unit
from tunesmith.artifacts import FINAL_MODEL
from tunesmith.dataset_views import Part
from tunesmith.errors import InvalidInput, InvalidModel
from tunesmith.events import JobPayload, Phase, PhaseDone, Warned
from tunesmith.lifecycle import REASONS, Desired, Reason
from tunesmith.model_folder import ADAPTER_CONFIG, public_name, weights_print
from tunesmith.outcome import Outcome
from tunesmith.removal import claim, discard, remove_own
from tunesmith.spec.training import TrainSpec
from tunesmith.state_of import StateOf
from tunesmith_jobs.attempt import guarded
from tunesmith_jobs.failures import (
    BadCheckpoint,
    NonFinite,
    Stopped,
    StorageFailed,
    Superseded,
    words_of,
)
from tunesmith_jobs.models.libraries import prepare_libraries, speed_up
from tunesmith_jobs.outlet import Outlet
from tunesmith_jobs.train.run.facts import facts_of, free_memory, parts_of, write_order
from tunesmith_jobs.train.run.interruption import (
    EvaluationInterrupted,
    MergeInterrupted,
    NothingToDo,
    Notices,
    StepInterrupted,
    TooLarge,
    with_smaller_batches,
)
from tunesmith_jobs.train.telemetry.narration import Narrated

_BEFORE_START = "Stopped before the first step."
LISTED_SECONDS = 5.0
"""How long a run with no step left to take waits to hear which checkpoints are listed."""
_log = logging.getLogger("tunesmith_jobs.train")


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


def train(
    spec: TrainSpec, paths: Paths, outlet: Outlet, identity: Identity, notices: Notices | None = None
) -> Outcome:
    """Train as a whole attempt does, and raise for nothing that a user can cause; see `run`."""
    return guarded(
        outlet,
        lambda: run(spec, paths, outlet, identity, notices or Notices()),
        source=f"worker-{identity.rank}",
        scratch=paths.scratch,
        level=spec.log_level,
    )


def run(spec: TrainSpec, paths: Paths, outlet: Outlet, identity: Identity, notices: Notices) -> Outcome:
    """Train, from the newest good checkpoint where there is one.

    Args:
        spec: What to train and how.
        paths: Where everything lies.
        outlet: Takes the events; says what the user wants.
        identity: Which run this is.
        notices: What the machine asks.

    Raises:
        Stopped: A stop was wanted before a step was taken, or the machine's signal ended something that it needs.
        Superseded: The attempt is over for the control plane.
        Exception: Whatever `failures` makes an outcome of.
    """
    outlet = Narrated(outlet) if identity.rank == 0 else outlet
    emit = outlet.emit if identity.rank == 0 else _say_nothing
    with notices.handling_sigterm():
        try:
            claim(paths.scratch, identity.task_id)
            outcome = _run(_Job(spec, paths, outlet, emit, identity, notices))
            if identity.rank == 0:
                place = f" The model lies at {outcome.model_uri}." if outcome.model_uri else ""
                _log.info("%s%s", outcome.message, place)
            return outcome
        except Exception as error:
            if isinstance(error, NonFinite):
                emit(Warned(code="numeric", message=str(error), hint=REASONS[Reason.NUMERIC].next_step))
            ends_in_order = isinstance(error, Stopped | Superseded)
            if identity.rank or ends_in_order or not notices.must_stop:
                raise
            # The signal also ended something that it needs, such as a process that reads rows.
            _log.exception("failed while being asked to stop")
            words = f"Asked to stop by the machine; the last steps are not saved. {words_of(error)}"
            raise Stopped(words[:2000]) from error


def _say_nothing(payload: JobPayload) -> None:
    """The other workers train; rank 0 speaks for all."""


class _Phases:
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
            raise Stopped(_BEFORE_START)


@dataclass(frozen=True)
class _Job:
    """What `train` was given."""

    spec: TrainSpec
    paths: Paths
    outlet: Outlet
    emit: Callable[[JobPayload], None]
    identity: Identity
    notices: Notices
    passed: frozenset[int] = frozenset()
    """Steps whose checkpoints could not be loaded."""


def _run(job: _Job) -> Outcome:
    spec, emit = job.spec, job.emit
    phases = _Phases(job.outlet, emit, job.notices)
    prepare_libraries()
    from tunesmith_jobs.models.precision import choose

    choice = choose(spec)
    for warning in choice.warnings:
        emit(warning)
    phases.done(Phase.IMPORTS)

    job = _with_library_tokenizer(job)
    data = _read_data(job, phases)
    phases.done(Phase.DATA)

    outcome = _train_on(job, phases, choice, data)
    while not isinstance(outcome, Outcome):
        if isinstance(outcome, TrainSpec):
            emit(_smaller_batches(outcome))
            job = dataclasses.replace(job, spec=outcome)
        else:
            job = dataclasses.replace(job, passed=job.passed | {outcome})
        free_memory()
        outcome = _train_on(job, phases, choice, data)
    return outcome


def _train_on(job: _Job, phases: _Phases, choice: Any, data: Any) -> Outcome | TrainSpec | int:
    """Train from the newest state.

    Returns:
        How it ended; or a spec to go on with instead, where a batch did not fit into memory; or the step of a
        checkpoint that could not be loaded.
    """
    import transformers

    from tunesmith_jobs.artifact_store import ArtifactStore, Owner
    from tunesmith_jobs.models import build as models
    from tunesmith_jobs.train.checkpoint.resume import find_state
    from tunesmith_jobs.train.run.arguments import trainer_arguments
    from tunesmith_jobs.train.run.plan import Plan

    spec, paths, emit, identity = job.spec, job.paths, job.emit, job.identity
    evaluates = data.eval_rows is not None and spec.eval_strategy != "no"
    arguments = trainer_arguments(spec, paths.scratch, choice, len(data.rows), evaluates=evaluates)
    # Before the weights: ZeRO 3 loads them in parts.
    settings = transformers.TrainingArguments(**arguments.values)
    transformers.set_seed(spec.seed)
    model = models.load(paths.model, spec, choice, data.classes or None)
    loss = speed_up(model, spec, data, choice)
    phases.done(Phase.WEIGHTS)
    ready_at = time.perf_counter()

    base = public_name(paths.model, spec.model_name_or_path)
    owner = Owner(identity.task_id, identity.attempt, base, data.template and data.template.sha256)
    store = ArtifactStore(paths.artifact_uri, owner, paths.output_dir, emit, activities=job.outlet.activities)
    if identity.rank == 0:
        write_order(store, spec, data)
    resume = paths.scratch / f"resume-{identity.rank}"
    state_of = StateOf.of(spec, _base_of(paths.model) if spec.use_lora else None, data.classes)
    start = find_state(store, spec, resume, emit, model=model, state_of=state_of, passed=job.passed)
    plan = Plan(
        spec=spec,
        state_of=state_of,
        total_steps=arguments.plan.total_steps,
        steps_per_epoch=arguments.plan.steps_per_epoch,
        evaluates=evaluates,
        restart=identity.restart,
        ready_at=ready_at,
        facts=facts_of(choice, data, model, spec) | {"loss": loss} | parts_of(job.paths.parts),
        tokenizer=paths.tokenizer or paths.model,
        source=paths.model,
        base=base,
    )
    end = _take_steps(job, plan=plan, model=model, settings=settings, data=data, store=store, start=start)
    if end.smaller is not None:
        return end.smaller
    if end.is_unfit:
        return end.step
    if end.was_stopped:
        if not end.step:
            raise Stopped(_BEFORE_START)
        return Outcome.because(
            Reason.STOPPED_BY_USER, f"Stopped after step {end.step}; its checkpoint is saved."
        )
    if identity.rank:
        return Outcome.because(Reason.COMPLETED)
    if job.outlet.superseded:
        raise Superseded
    checkpoint = end.checkpoint or store.checkpoint_folder(end.step, resume)
    try:
        uri = _publish_model(job, store, checkpoint, end.step, data)
    except MergeInterrupted:
        words = (
            f"Stopped after step {end.step}, its last; its checkpoint is saved, the merged model is not made."
        )
        return Outcome.because(Reason.STOPPED_BY_USER, words)
    discard(resume, identity.task_id)
    words = " ".join([end.words(plan), *map(_not_shown, store.not_shown)])
    return Outcome.because(Reason.COMPLETED, words).model_copy(update={"model_uri": uri})


def _with_library_tokenizer(job: _Job) -> _Job:
    """The same with the tokenizer that the library makes, where the folder's files say another one.

    Raises:
        InvalidModel: There is none that could be trained with.
    """
    from tunesmith_jobs.models.library_tokenizer import library_tokenizer

    spec, paths = job.spec, job.paths
    is_adapter = spec.use_lora and not spec.merge_lora_after_training
    scratch = paths.scratch / f"tokenizer-{job.identity.rank}"
    found = library_tokenizer(paths.model, paths.tokenizer, scratch, is_adapter=is_adapter)
    if job.identity.restart == 0 and (warning := found.warning()):
        job.emit(warning)
    if found.folder is None:
        return job
    return dataclasses.replace(job, paths=dataclasses.replace(paths, tokenizer=found.folder))


def _base_of(model: Path) -> str | None:
    """Which weights an adapter is trained on; None of a folder without files to tell it by."""
    try:
        return weights_print(model)
    except InvalidModel:
        return None


def _not_shown(place: Path) -> str:
    return f"Nothing was published at `{place}`: something stands there that this task did not make."


def _read_data(job: _Job, phases: _Phases) -> Any:
    """What the run trains and evaluates on; says how far it is, and what to know of the rows."""
    from tunesmith_jobs.batches.inputs import load_data
    from tunesmith_jobs.batches.token_cache import TokenCache
    from tunesmith_jobs.train.telemetry.phase_progress import Pace

    pace = Pace(job.emit, Phase.DATA)

    def said(rows: int, of: int | None) -> None:
        phases.check()
        pace(rows, of)

    paths, spec = job.paths, job.spec
    data = load_data(
        spec,
        paths.model,
        paths.train,
        paths.eval,
        paths.tokenizer,
        cache=TokenCache.at(paths.tokens),
        said=said,
    )
    for warning in data.warnings() if job.identity.restart == 0 else ():
        job.emit(warning)
    return data


@dataclass(frozen=True)
class _End:
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


def _take_steps(
    job: _Job, *, plan: Any, model: Any, settings: Any, data: Any, store: Any, start: Any
) -> _End:
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
            return _End(start.step, False, evaluation, None, is_unfit=True)
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
    return _End(
        trainer.state.global_step,
        state.stopped,
        state.evaluation,
        None,
        smaller,
        early_stop=job.outlet.early_stop,
    )


def _nothing_left(job: _Job, store: Any, start: Any, evaluation: Any) -> _End:
    """The end of a run whose last step was taken by the one before, which may have been killed before it said so."""
    if start.is_own and job.identity.rank == 0:
        deadline = time.monotonic() + LISTED_SECONDS
        while job.outlet.listed is None and time.monotonic() < deadline:
            time.sleep(0.05)  # this process has just begun: its first question may be under way
        uploader = _uploader(job, store)
        uploader.report_unlisted(start.step, evaluation.measured, best_step=evaluation.kept_step)
        uploader.close()
    return _End(start.step, False, evaluation, start.folder)


def _uploader(job: _Job, store: Any) -> Any:
    from tunesmith_jobs.train.checkpoint.uploading import Uploader

    outlet, keep = job.outlet, job.spec.save_total_limit
    return Uploader(
        store, job.emit, keep, lambda: outlet.pinned, outlet.activities, listed=lambda: outlet.listed
    )


def _pass_over(job: _Job, start: Any, error: BadCheckpoint) -> None:
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


def _smaller_batches(after: TrainSpec) -> Warned:
    rows, batches = after.per_device_train_batch_size, after.gradient_accumulation_steps
    return Warned(
        code="smaller_batches",
        message=f"A batch did not fit into memory: training goes on with {rows} rows at once and {batches} batches a "
        "step, which are as many rows a step as before.",
        hint=f"Set `per_device_train_batch_size={rows}` and `gradient_accumulation_steps={batches}` next time.",
    )


def _close_quietly(uploader: Any) -> None:
    """Let what was saved arrive; the first failure is the one that counts."""
    try:
        uploader.close()
    except StorageFailed:
        _log.exception("the last checkpoint was not stored")


def _publish_model(job: _Job, store: Any, checkpoint: Path, step: int, data: Any) -> str:
    from tunesmith_jobs.models import merge

    def check() -> None:
        if job.outlet.superseded:
            raise Superseded
        if job.outlet.desired is Desired.STOP or job.notices.must_stop:
            raise MergeInterrupted

    try:
        folder = job.paths.scratch / "final"
        remove_own(folder, job.identity.task_id)  # of an attempt that was cut off here
        merge.lay_out_final(
            checkpoint,
            job.paths.model,
            folder,
            title=job.identity.name,
            spec=job.spec,
            labels=data.classes or None,
            tokenizer=job.paths.tokenizer,
            template=data.chosen_template,
            check=check,
            activities=job.outlet.activities,
        )
        # An adapter over a base that no hub has is loaded over that folder: its card finds it in the manifest.
        is_adapter = (folder / ADAPTER_CONFIG).is_file()
        is_known = "/" in public_name(job.paths.model, job.spec.model_name_or_path)
        base = str(job.paths.model) if is_adapter and not is_known else None
        _, uri = store.put(folder, FINAL_MODEL, step, kind="model", base=base)
    except OSError as error:
        raise StorageFailed(f"The final model could not be stored: {error}") from error
    return str(uri)
