"""Decides after each step what is due: a log line, an evaluation, a checkpoint, the end.

From the step number and from what is saved with the checkpoint alone, so that a resumed run decides as an undisturbed
one; only what a clock or a user asks for (a save, a stop) comes in addition, and moves no weight. The first worker
decides for all. Knows the Trainer's callbacks; knows nothing of losses or files.
"""

import json
import math
import time
from collections import deque
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from transformers import TrainerCallback, TrainerControl, TrainerState

from tunesmith.artifacts import checkpoint_name
from tunesmith.errors import InvalidInput
from tunesmith.events import Phase, PhaseDone, Progress, TrainingStarted
from tunesmith.lifecycle import Desired
from tunesmith_jobs.train.checkpoint.states import random_file
from tunesmith_jobs.train.run.failures import Superseded
from tunesmith_jobs.train.run.interruption import LeftEvaluation, LeftInStep, NothingLeft

if TYPE_CHECKING:
    from tunesmith_jobs.train.run.trainer import TuneTrainer

STANDING_FILE = "tunesmith_standing.json"
_PROGRESS_SECONDS = 1.0
_SLOW_STEP_SECONDS = 2.0
_LOWER_IS_BETTER = frozenset({"eval_loss", "eval_perplexity"})


@dataclass
class Standing:
    """How good the run is by its evaluations, and which saves it has answered. Saved with every checkpoint."""

    best: float | None = None
    best_step: int = 0
    mark: float | None = None
    """What an evaluation must beat, by more than the threshold, to count as an improvement."""
    misses: int = 0
    """Evaluations since the last improvement."""
    last: float | None = None
    last_step: int = 0
    kept: float | None = None
    kept_step: int | None = None
    """The best among the checkpoints that were evaluated."""
    is_lower_better: bool = True
    saves_answered: int = 0
    measured: dict[str, float] = field(default_factory=dict)
    """What was measured last, by its name: what is told of a checkpoint."""

    def take(self, metric: str, value: float, step: int, threshold: float) -> bool:
        """Count an evaluation. Returns whether it is the best so far."""
        self.is_lower_better = metric in _LOWER_IS_BETTER
        self.last, self.last_step = value, step
        if self._gain(value, self.mark) > threshold:
            self.mark, self.misses = value, 0
        else:
            self.misses += 1
        is_best = self._gain(value, self.best) > 0
        if is_best:
            self.best, self.best_step = value, step
        return is_best

    def keep(self, step: int) -> None:
        """A checkpoint is saved at this step."""
        if self.last is not None and self.last_step == step and self._gain(self.last, self.kept) > 0:
            self.kept, self.kept_step = self.last, step

    def is_spent(self, patience: int) -> bool:
        """Whether the run has gone on for long enough without an improvement; a patience of 0 never ends."""
        return 0 < patience <= self.misses

    def words(self, metric: str) -> str:
        """Why a spent run ended, as a sentence."""
        times = "evaluation" if self.misses == 1 else "evaluations"
        best = f" (best {self.best:.4g} at step {self.best_step})" if self.best is not None else ""
        return f"Stopped early: {metric} has not improved for {self.misses} {times}{best}."

    def _gain(self, value: float, other: float | None) -> float:
        """By how much `value` is better; a value that is no number is never better."""
        if not math.isfinite(value):
            return -math.inf
        if other is None:
            return math.inf
        return other - value if self.is_lower_better else value - other

    def write(self, folder: Path) -> None:
        """Leave it in a checkpoint."""
        (folder / STANDING_FILE).write_text(json.dumps(asdict(self)))

    @classmethod
    def of(cls, folder: Path) -> "Standing":
        """The standing that a checkpoint holds; a new one where it holds none."""
        try:
            found = json.loads((folder / STANDING_FILE).read_text())
        except FileNotFoundError:
            return cls()
        return cls(**{item.name: found[item.name] for item in fields(cls) if item.name in found})


class Conductor(TrainerCallback):  # type: ignore[misc]
    """Decides after each step what is due, and says how far the run is."""

    def __init__(self, trainer: "TuneTrainer") -> None:
        self._trainer = trainer
        self._mark = time.perf_counter()
        self._said_at = 0.0
        self._saved_at = time.perf_counter()
        self._durations: deque[float] = deque(maxlen=50)
        self._is_first = True
        self._step_began = 0.0
        self._is_slow = True
        self.saved_step: int | None = None
        """The newest step that this task has saved."""

    def on_train_begin(self, args: Any, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Say that training begins, and measure where it begins."""
        trainer, plan = self._trainer, self._trainer.plan
        if state.is_world_process_zero:
            trainer.outlet.emit(
                TrainingStarted(
                    step=state.global_step,
                    total_steps=plan.total_steps,
                    restart=plan.restart,
                    resumed_from=checkpoint_name(state.global_step) if state.global_step else None,
                    facts=plan.facts,
                )
            )
        if plan.evaluates and state.global_step == 0:
            trainer.evaluate()
        elif trainer.owes_evaluation:
            self._evaluate_late(state)
        self._mark = self._step_began = self._saved_at = time.perf_counter()

    def _evaluate_late(self, state: TrainerState) -> None:
        """Do the evaluation that was left when the state that is gone on from was saved, as if it had been done then.

        Raises:
            NothingLeft: It was all that was left to do.
        """
        trainer, step = self._trainer, state.global_step
        # The library's own way: a schedule that looks at evaluations (a plateau's) counts this one too.
        trainer._evaluate(None, None)
        trainer.standing.keep(step)
        if state.is_world_process_zero:
            trainer.uploader.tell_again(step, trainer.latest, best_step=trainer.standing.kept_step)
        is_spent = trainer.standing.is_spent(trainer.plan.spec.early_stopping_patience)
        if is_spent or step >= trainer.plan.total_steps:
            raise NothingLeft

    def on_epoch_begin(self, args: Any, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Tell the order which epoch it is, from the step alone."""
        self._trainer.order.epoch = state.global_step // self._trainer.plan.steps_per_epoch

    def on_step_begin(self, args: Any, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """A step begins, with the first of its batches."""
        self._trainer.begin_step()

    def before_batch(self) -> None:
        """Go on with a step only if that is wanted. All workers ask before each batch of it.

        Raises:
            LeftInStep: A stop is wanted, and the step can be given up.
            Superseded: The attempt is over.
        """
        trainer = self._trainer
        if trainer.outlet.superseded:
            raise Superseded
        if not trainer.can_leave_in_step:
            return
        stop = self._is_told_to_leave()
        if trainer.args.world_size > 1:
            # The workers agree only where a step is long: it costs a message among them.
            stop = self._is_slow and self._any_of(stop)[0]
        if stop:
            raise LeftInStep

    def before_evaluated_batch(self, *, is_common: bool) -> None:
        """Go on with an evaluation only if that is wanted.

        Args:
            is_common: Whether all workers have a batch of this number, and so can agree.

        Raises:
            LeftEvaluation: A stop is wanted.
            Superseded: The attempt is over.
        """
        trainer = self._trainer
        if trainer.outlet.superseded:
            raise Superseded
        stop = self._is_told_to_leave()
        if trainer.args.world_size > 1:
            stop = is_common and self._any_of(stop)[0]
        if stop:
            raise LeftEvaluation

    def on_pre_optimizer_step(
        self, args: Any, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Count the step before the weights move."""
        self._trainer.close_step()

    def on_step_end(self, args: Any, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Decide what is due. The Trainer then logs, evaluates and saves, in this order."""
        trainer, plan, step = self._trainer, self._trainer.plan, state.global_step
        now = time.perf_counter()
        trainer.window.seconds += now - self._mark
        if not self._is_first:
            self._durations.append(now - self._step_began)  # evaluations and saves in between count
        elif state.is_world_process_zero:
            trainer.outlet.emit(PhaseDone(phase=Phase.STEP, seconds=now - plan.ready_at))
        is_slow = now - self._mark > _SLOW_STEP_SECONDS
        self._is_first, self._step_began, self._mark = False, now, now
        if trainer.outlet.superseded:
            raise Superseded
        is_last = step >= plan.total_steps
        wants_stop, wants_save, self._is_slow = self._wishes(now, is_slow)
        trainer.stopped = not is_last and wants_stop
        is_end = is_last or trainer.stopped
        spec = plan.spec
        control.should_log = is_end or step % spec.logging_steps == 0
        # A stop does not wait for it: it is done when the run goes on.
        control.should_evaluate = not trainer.stopped and plan.evaluates_after(step)
        control.should_save = is_end or wants_save or plan.is_due(spec.save_strategy, spec.save_steps, step)
        control.should_training_stop = is_end
        if state.is_world_process_zero and (is_end or now - self._said_at >= _PROGRESS_SECONDS):
            self._said_at = now
            self.say_progress(state)

    def on_evaluate(
        self, args: Any, state: TrainerState, control: TrainerControl, metrics: dict[str, float], **_: Any
    ) -> None:
        """Weigh an evaluation: it may be the best, or one too many without an improvement."""
        trainer, spec, step = self._trainer, self._trainer.plan.spec, state.global_step
        if step:  # before the first step there is nothing to save, and nothing to improve on
            name = spec.metric_for_best_model
            if name not in metrics:
                raise InvalidInput(
                    f"`metric_for_best_model={name}` is not measured by this task.",
                    hint=f"Choose one of {', '.join(f'`{key}`' for key in sorted(metrics))}.",
                    field="metric_for_best_model",
                )
            is_best = trainer.standing.take(name, metrics[name], step, spec.early_stopping_threshold)
            control.should_save |= is_best and spec.save_strategy == "best"
            if trainer.standing.is_spent(spec.early_stopping_patience):
                control.should_save = control.should_training_stop = True
                trainer.close_window()
                if state.is_world_process_zero:
                    self.say_progress(state, is_over=True)
        self._mark = time.perf_counter()  # the time an evaluation took is no training time

    def on_save(self, args: Any, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Hand the local checkpoint over."""
        self.saved_step = state.global_step
        if state.is_world_process_zero:
            folder = Path(str(args.output_dir)) / checkpoint_name(state.global_step)
            expected = [folder / random_file(rank, args.world_size) for rank in range(args.world_size)]
            is_alone = args.world_size <= 1
            self._trainer.uploader.submit(
                state.global_step,
                folder,
                self._trainer.latest,
                ready=lambda: is_alone or all(file.exists() for file in expected),
                best_step=self._trainer.standing.kept_step,
                files=self._trainer.files,
                written=self._trainer.snapshots.release,
            )
        self._mark = self._saved_at = time.perf_counter()

    def say_progress(self, state: TrainerState, *, is_over: bool = False) -> None:
        """Say how far the run is."""
        total, left = self._trainer.plan.total_steps, None
        if is_over:
            left = 0.0
        elif self._durations:
            left = sum(self._durations) / len(self._durations) * max(0, total - state.global_step)
        self._trainer.outlet.emit(
            Progress(step=state.global_step, total_steps=total, epoch=state.epoch or 0, seconds_left=left)
        )

    def _is_told_to_leave(self) -> bool:
        return self._trainer.outlet.desired is Desired.STOP or self._trainer.notices.must_leave

    def _any_of(self, *flags: bool) -> list[bool]:
        """Each flag, where any worker has it."""
        told = torch.tensor([float(flag) for flag in flags], device=self._trainer.args.device)
        torch.distributed.all_reduce(told, torch.distributed.ReduceOp.MAX)
        return [bool(flag) for flag in told.tolist()]

    def _wishes(self, now: float, is_slow: bool) -> tuple[bool, bool, bool]:
        """Whether a stop and a save are wanted now, by the user, the clock or the machine; whether steps are slow."""
        trainer, spec = self._trainer, self._trainer.plan.spec
        asked = trainer.outlet.save_now
        minutes = spec.save_interval_minutes if spec.save_strategy != "no" else 0
        is_time = 0 < minutes * 60 <= now - self._saved_at
        stop = self._is_told_to_leave()
        save = trainer.notices.wants_save() or is_time or asked > trainer.standing.saves_answered
        if trainer.args.world_size > 1:
            # All stop and save after the same step.
            stop, save, is_slow = self._any_of(stop, save, is_slow)
        if save:
            trainer.standing.saves_answered = max(asked, trainer.standing.saves_answered)
        return stop, save, is_slow
