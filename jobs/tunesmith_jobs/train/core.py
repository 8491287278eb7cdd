"""Fine-tuning as one plain function of (spec, paths, outlet). Needs no Ray and no control plane.

`train` never raises for what a user can cause: it returns an `Outcome` with the reason; `run` raises, for who has that
done for it. What they leave behind is complete checkpoints and, when they complete, the final model.
"""

import dataclasses
import logging
import time
from pathlib import Path
from typing import Any

from tunesmith.artifacts import FINAL_MODEL
from tunesmith.errors import InvalidModel
from tunesmith.events import Phase, Warned
from tunesmith.lifecycle import REASONS, Desired, Reason
from tunesmith.model_folder import ADAPTER_CONFIG, public_name, weights_print
from tunesmith.outcome import Outcome
from tunesmith.removal import claim, discard, remove_own
from tunesmith.spec.training import TrainSpec
from tunesmith.state_of import StateOf
from tunesmith_jobs.attempt import guarded
from tunesmith_jobs.failures import (
    NonFinite,
    Stopped,
    StorageFailed,
    Superseded,
    words_of,
)
from tunesmith_jobs.models.libraries import prepare_libraries, speed_up
from tunesmith_jobs.outlet import Outlet
from tunesmith_jobs.train.job import BEFORE_START, Identity, Job, Paths, Phases, say_nothing
from tunesmith_jobs.train.run.facts import facts_of, free_memory, parts_of, write_order
from tunesmith_jobs.train.run.interruption import (
    MergeInterrupted,
    Notices,
)
from tunesmith_jobs.train.steps import take_steps
from tunesmith_jobs.train.telemetry.narration import Narrated

_log = logging.getLogger("tunesmith_jobs.train")


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
    emit = outlet.emit if identity.rank == 0 else say_nothing
    with notices.handling_sigterm():
        try:
            claim(paths.scratch, identity.task_id)
            outcome = _run(Job(spec, paths, outlet, emit, identity, notices))
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


def _run(job: Job) -> Outcome:
    spec, emit = job.spec, job.emit
    phases = Phases(job.outlet, emit, job.notices)
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


def _train_on(job: Job, phases: Phases, choice: Any, data: Any) -> Outcome | TrainSpec | int:
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
    end = take_steps(job, plan=plan, model=model, settings=settings, data=data, store=store, start=start)
    if end.smaller is not None:
        return end.smaller
    if end.is_unfit:
        return end.step
    if end.was_stopped:
        if not end.step:
            raise Stopped(BEFORE_START)
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


def _with_library_tokenizer(job: Job) -> Job:
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


def _read_data(job: Job, phases: Phases) -> Any:
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


def _smaller_batches(after: TrainSpec) -> Warned:
    rows, batches = after.per_device_train_batch_size, after.gradient_accumulation_steps
    return Warned(
        code="smaller_batches",
        message=f"A batch did not fit into memory: training goes on with {rows} rows at once and {batches} batches a "
        "step, which are as many rows a step as before.",
        hint=f"Set `per_device_train_batch_size={rows}` and `gradient_accumulation_steps={batches}` next time.",
    )


def _publish_model(job: Job, store: Any, checkpoint: Path, step: int, data: Any) -> str:
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
