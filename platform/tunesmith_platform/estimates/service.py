"""Estimates of runs: rows become tokens, tokens become steps, steps become memory, disk and time.

Puts the parts together: `counter` (tokens), `tunesmith.planning` (steps), `formula` (memory and operations), `speed`
and past tasks (time), `measure` (what was measured). Changes nothing and starts nothing but a measurement.
"""

import shutil
import threading
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from tunesmith.estimate import (
    DiskView,
    EstimateView,
    HardwareView,
    Level,
    MeasurementState,
    MeasurementView,
    SettingView,
    SpeedView,
    StepsView,
)
from tunesmith.model_folder import TOKENIZER_FILES
from tunesmith.planning import plan_steps
from tunesmith.rows.tokens.library_ids import IDS_BY_FILE
from tunesmith.spec.base import Notice
from tunesmith.spec.training import TrainSpec
from tunesmith.storage import local_path
from tunesmith_platform.backends.compute import ComputeService
from tunesmith_platform.backends.protocols import Jobs
from tunesmith_platform.db.engine import Database
from tunesmith_platform.estimates import formula, repository, speed
from tunesmith_platform.estimates.fitting import device_of, memory_of
from tunesmith_platform.estimates.lora_shape import as_the_file_says
from tunesmith_platform.estimates.measure import Measurements
from tunesmith_platform.estimates.recommend import cheaper, option, sentence, size_of
from tunesmith_platform.estimates.run import (
    Run,
    can_run,
    fits,
    lora_fields,
    memory_view,
    name_of,
    shape_of,
    unknown,
)
from tunesmith_platform.estimates.shapes import SEES_NEIGHBOURS, setting_of
from tunesmith_platform.file_state import state_of_file, state_of_folder
from tunesmith_platform.paths import allowed_folder
from tunesmith_platform.sandbox import checks
from tunesmith_platform.sandbox.cache_key import Asked
from tunesmith_platform.scope import Scope
from tunesmith_platform.settings import Settings
from tunesmith_platform.tasks.find_inputs import AllDatasets, AllModels
from tunesmith_platform.tasks.inputs import TrainInputs, check_train_inputs, facts_of

if TYPE_CHECKING:
    from tunesmith_platform.estimates.batches import Rows
    from tunesmith_platform.estimates.counter import Counter

_START_SECONDS = 35.0
"""From the submit to the first step where nothing was started yet: 22 to 56 s were measured."""
_CLEARLY_LESS = 0.85
_STEP_OVERHEAD = {"cpu": 0.004, "gpu": 0.002}
"""Seconds a block and batch that pass whatever it computes."""


class EstimateService:
    """Says what a run will take."""

    def __init__(
        self,
        database: Database,
        settings: Settings,
        jobs: Jobs,
        models: AllModels | None = None,
        datasets: AllDatasets | None = None,
        *,
        compute: ComputeService | None = None,
    ) -> None:
        self._database = database
        self._settings = settings
        self._models = models
        self._datasets = datasets
        self._folder = settings.home / "estimates"
        self._calibrations = speed.calibrations_in(settings.home)
        self._counter: Counter | None = None
        self._lock = threading.Lock()
        self._compute = compute or ComputeService(jobs, settings.ray_url)
        self._measurements = Measurements(database, settings, jobs, self._compute)

    def estimate(self, scope: Scope, spec: TrainSpec, measure: bool = False) -> EstimateView:
        """What a task will take.

        Args:
            scope: Whose models, data sets and past tasks it goes by.
            spec: The training that would be submitted.
            measure: Whether to measure it; the answer comes at once and says how far the measurement is.

        Raises:
            InvalidInput: What it is given cannot be trained on.
            Conflict: It cannot be measured now.
        """
        inputs = check_train_inputs(
            spec,
            self._settings,
            self._models.seen_by(scope) if self._models else None,
            self._datasets.seen_by(scope) if self._datasets else None,
            compute=self._compute.look(),
            with_rows=False,
        )
        run = self._run(spec, inputs)
        if measure:
            found: MeasurementView | None = self._measurements.measure(
                scope, spec, inputs, str(self._tokenizer(spec)) if self._tokenizer(spec) else None
            )
        else:
            found = self._measurements.find(scope, spec, inputs)
        return self._view(scope, run, found)

    def measured(self, scope: Scope, measurement_id: str) -> EstimateView:
        """The estimate that a measurement belongs to, with what was measured as far as it is.

        Raises:
            NotFound: There is no measurement with this id.
        """
        found = self._measurements.get(scope, measurement_id)
        row = self._measurements.row(scope, measurement_id)
        run = self._run(TrainSpec.stored(row.spec), TrainInputs.model_validate(row.inputs))
        return self._view(scope, run, found)

    def what_fits(self, spec: TrainSpec, inputs: TrainInputs) -> str:
        """What would take less memory than a run that ran out of it, in words; empty where nothing is known to.

        Raises:
            TunesmithError: The model or the rows cannot be read any more.
        """
        run = self._run(spec, inputs)
        needed = formula.memory(run.shape, run.setting).peak
        # It ran out whatever the estimate said: what comes close to it would run out too.
        bound = min(_CLEARLY_LESS * needed, run.there_is or needed)
        found = []
        for name, change, changed in cheaper(run.spec, on_gpu=run.setting.device == "gpu"):
            if not can_run(changed, run):
                continue
            longest = min(run.rows.longest, changed.max_length)
            other = setting_of(changed, run.compute, run.setting.device, longest)
            peak = formula.memory(shape_of(changed, inputs), other).peak
            if peak <= bound:
                found.append(option(name, change, peak))
        if not found:
            return ""
        return f"By the estimate it took about {size_of(needed)}; these take less: {'; '.join(found)}."

    def close(self) -> None:
        """End what counts in the background."""
        if self._counter is not None:
            self._counter.close()

    # --- the parts

    def _run(self, spec: TrainSpec, inputs: TrainInputs) -> Run:
        spec = as_the_file_says(spec, lora_fields(spec))
        shape = shape_of(spec, inputs)
        rows = self._rows(spec, inputs)
        compute = self._compute.look()
        device = device_of(spec, compute)
        setting = setting_of(spec, compute, device, rows.longest)
        there_is = memory_of(compute, device, setting.workers)
        return Run(spec, inputs, shape, setting, rows, plan_steps(spec, rows.units), compute, there_is)

    def _tokenizer(self, spec: TrainSpec) -> Path | None:
        given = spec.tokenizer_name_or_path
        if not given or not Path(given).is_absolute():
            return None
        return allowed_folder(given, self._settings.roots())

    def _counting(self) -> "Counter":
        """What counts tokens, made when it is first asked: it needs numpy, which a start does without."""
        from tunesmith_platform.estimates.counter import Counter

        with self._lock:
            if self._counter is None:
                self._counter = Counter(self._folder)
            return self._counter

    def _rows(self, spec: TrainSpec, inputs: TrainInputs) -> "Rows":
        from tunesmith_platform.estimates.batches import rows_of
        from tunesmith_platform.sandbox.count_tokens import CountSource

        source = CountSource(Path(inputs.train_path), Path(inputs.model_path), spec, self._tokenizer(spec))
        counts = self._counting().counts(source)
        evaluation = 0
        if inputs.eval_path:
            evaluation = self._counting().counts(replace(source, file=Path(inputs.eval_path))).rows
        kind = facts_of(Path(inputs.model_path)).model_type
        return rows_of(
            spec, counts, evaluation, Path(inputs.train_path).name, sees_neighbours=kind in SEES_NEIGHBOURS
        )

    def _view(self, scope: Scope, run: Run, found: MeasurementView | None) -> EstimateView:
        is_done = found is not None and found.state is MeasurementState.DONE
        memory = memory_view(formula.memory(run.shape, run.setting))
        ratio = 1.0
        if is_done and found is not None and found.peak_bytes:
            ratio = found.peak_bytes / memory.peak
        time, factor = self._time(scope, run, found if is_done else None)
        settings = []
        for name, change, changed in cheaper(run.spec, on_gpu=run.setting.device == "gpu"):
            if not can_run(changed, run):
                continue
            other = setting_of(
                changed, run.compute, run.setting.device, min(run.rows.longest, changed.max_length)
            )
            shape = shape_of(changed, run.inputs)
            needs = memory_view(formula.memory(shape, other))
            peak = round(needs.peak * ratio)
            settings.append(
                SettingView(
                    name=name,
                    change=change,
                    memory=needs.model_copy(update={"peak": peak}),
                    seconds_per_step=self._step_seconds(replace(run, shape=shape), other) * factor,
                    fits=fits(peak, run.there_is),
                )
            )
        memory = memory.model_copy(update={"peak": round(memory.peak * ratio)})
        disk = self._disk(run)
        fits_memory = fits(memory.peak, run.there_is)
        fits_disk = disk.free_bytes is None or disk.total_bytes <= disk.free_bytes
        chosen = next((setting for setting in settings if setting.fits), None)
        return EstimateView(
            level=Level.MEASURED if is_done else Level.FORMULA,
            steps=StepsView(
                steps_per_epoch=run.plan.steps_per_epoch,
                total_steps=run.plan.total_steps,
                warmup_steps=run.plan.warmup_steps,
                evaluations=run.plan.evaluations,
                checkpoints=run.plan.checkpoints,
            ),
            data=run.rows.view,
            disk=disk,
            memory=memory,
            time=time,
            hardware=HardwareView(
                device=run.setting.device,
                name=name_of(run.compute, run.setting.device),
                precision=run.setting.precision,
                workers=run.setting.workers,
                memory_bytes=run.there_is,
            ),
            trainable_parameters=formula.trainable_parameters(run.shape, run.setting),
            parameters=run.shape.parameters,
            fits=fits_memory if fits_disk else False,
            recommendation=sentence(memory.peak, run.there_is, chosen, disk),
            recommended=chosen.change if chosen is not None and fits_memory is False else {},
            settings=settings,
            measurement=found,
            notices=[*run.spec.notices, *run.inputs.told(), *unknown(run), *self._of_rows(run)],
        )

    def _of_rows(self, run: Run) -> list[Notice]:
        """What of the rows is not trained, as a report and the training say it."""
        tokenizer = self._tokenizer(run.spec)
        found = checks.findings(
            state_of_file(Path(run.inputs.train_path)),
            Asked(run.spec),
            state_of_folder(Path(run.inputs.model_path)),
            state_of_folder(tokenizer) if tokenizer else None,
        )
        return [
            Notice(
                field="tokenizer_name_or_path" if one.code == IDS_BY_FILE else "train_file",
                message=one.in_words(with_hint=True),
            )
            for one in found
        ]

    # --- time

    def _step_seconds(
        self, run: Run, setting: formula.Setting, operations_a_second: float | None = None
    ) -> float:
        """One optimizer step on typical batches, by operations and the bytes that the optimizer moves."""
        if operations_a_second is None:
            operations_a_second = speed.assumed_speed(
                run.compute, setting.device, setting.precision, self._calibrations
            )
        rows = setting.batch * setting.accumulation
        places = run.rows.places / max(1, min(run.setting.batch, run.rows.units)) * min(rows, run.rows.units)
        length = run.rows.length
        if (
            setting.batch == 1 < run.setting.batch
            and not run.rows.is_joined
            and not run.rows.view.is_unpacked
        ):
            # Alone, no row is padded; a full sequence stays as long as it is.
            length = run.rows.view.mean_tokens or length
            places = min(rows, run.rows.units) * length
        operations = formula.step_operations(run.shape, setting, places, length, run.rows.head_share)
        trained = formula.trainable_parameters(run.shape, setting)
        moved = trained * (12.0 + 2 * formula.optimizer_bytes(setting.optim))
        overhead = _STEP_OVERHEAD[setting.device] * run.shape.layers * setting.accumulation
        return operations / operations_a_second + moved / speed.moved_bytes(setting.device) + overhead

    def _time(self, scope: Scope, run: Run, found: MeasurementView | None) -> tuple[SpeedView, float]:
        """The time, and by what the formula's own is to be multiplied for other settings."""
        by_formula = self._step_seconds(run, run.setting)
        with self._database.read() as session:
            past = repository.past_tasks(session, scope, run.inputs.model_path)
            starts = repository.past_starts(session, scope)
            facts = [(task.name, task.spec, task.progress or {}, task.ended_at) for task in past]
        source, measured_at = speed.source_of(run.compute, run.setting.device, self._calibrations)
        seconds = by_formula
        for name, spec, progress, ended_at in facts:
            rate = progress.get("tokens_per_second")
            if rate and (taken := self._like(run, spec, float(rate))) is not None:
                seconds, source = taken, f"the past task `{name}` with the same model"
                measured_at = ended_at
                break
        start = median(starts) if starts else _START_SECONDS
        if found is not None and found.seconds_per_step:
            seconds, source = found.seconds_per_step, "two measured steps"
            measured_at = found.created_at
        if run.plan.evaluations and run.rows.view.eval_rows:
            # An evaluation is a forward pass: about a third of training on as many rows.
            batches = run.rows.view.eval_rows / (run.setting.batch * run.setting.accumulation)
            evaluating = run.plan.evaluations * batches * seconds / 3
        else:
            evaluating = 0.0
        training = seconds * run.plan.total_steps + evaluating
        view = SpeedView(
            seconds_per_step=seconds,
            training_seconds=training,
            start_seconds=start,
            total_seconds=start + training,
            source=source,
            measured_at=measured_at,
        )
        return view, seconds / by_formula if by_formula else 1.0

    def _like(self, run: Run, stored: dict[str, Any], rate: float) -> float | None:
        """A step's seconds at the speed of a past task; None where that trained in another way."""
        try:
            spec = TrainSpec.stored(stored)
        except ValueError:
            return None
        past = setting_of(spec, run.compute, run.setting.device, run.setting.length)
        if (past.use_lora, past.precision, past.bits) != (
            run.setting.use_lora,
            run.setting.precision,
            run.setting.bits,
        ):
            return None
        one = formula.step_operations(run.shape, past, 1.0, run.rows.length, run.rows.head_share)
        return self._step_seconds(run, run.setting, one * rate)

    # --- disk

    def _disk(self, run: Run) -> DiskView:
        one = formula.checkpoint_bytes(run.shape, run.setting)
        tokenizer = sum(
            file.stat().st_size
            for name in TOKENIZER_FILES
            if (file := Path(run.inputs.model_path) / name).is_file()
        )
        is_merged = run.spec.use_lora and run.spec.merge_lora_after_training
        base = facts_of(Path(run.inputs.model_path)).bytes if is_merged else 0
        final = formula.final_bytes(run.shape, run.setting, tokenizer, base)
        kept = min(run.plan.checkpoints, run.spec.save_total_limit)
        under_way = run.plan.checkpoints > kept
        root = local_path(self._settings.storage_uri)
        while root is not None and not root.exists() and root != root.parent:
            root = root.parent
        return DiskView(
            checkpoint_bytes=one,
            kept=kept,
            final_bytes=final,
            final_kind="merged" if is_merged else "adapter" if run.spec.use_lora else "full",
            total_bytes=one * (kept + under_way) + final,
            free_bytes=shutil.disk_usage(root).free if root is not None else None,
        )
