"""Decides after each step what is due: a log line, an evaluation, a checkpoint, the end.

From the step number and from what is saved with the checkpoint alone, so that a resumed run decides as an undisturbed
one; only what a clock or a user asks for (a save, a stop) comes in addition, and moves no weight. The first worker
decides for all. Knows the state of the run and a few actions of the Trainer; knows nothing of losses or files.
"""

import time
from typing import Any, Protocol

from transformers import TrainerCallback, TrainerControl, TrainerState

from tunesmith.artifacts import checkpoint_name
from tunesmith.errors import InvalidInput
from tunesmith.events import Phase, PhaseDone, TrainingStarted
from tunesmith.spec.checkpoint_scores import is_score
from tunesmith_jobs.train.run.interruption import NothingToDo
from tunesmith_jobs.train.run.state import RunState

_PROGRESS_SECONDS = 1.0
_SLOW_STEP_SECONDS = 2.0


class Actions(Protocol):
    """What the callback has the Trainer do."""

    def begin_epoch(self, epoch: int) -> None:
        """Take the rows in the order of this epoch."""

    def begin_step(self) -> None:
        """Remember what the step changes before the weights move."""

    def close_step(self) -> None:
        """Add the step to the window, before the weights move."""

    def close_window(self) -> None:
        """Report what the window holds."""

    def evaluate(self) -> dict[str, float]:
        """Measure the evaluation rows, and report it."""

    def evaluate_late(self) -> None:
        """Do the evaluation that a step is owed, as if it had been done then."""

    def answer_samples(self) -> None:
        """Have the sample prompts answered, where there are some, once a step."""

    def report_start(self) -> None:
        """See that the checkpoint gone on from is listed."""

    def hand_over_checkpoint(self) -> None:
        """Let the checkpoint of this step be stored."""


class RunCallback(TrainerCallback):  # type: ignore[misc]
    """Decides after each step what is due; the Trainer does it."""

    def __init__(self, run: RunState, actions: Actions) -> None:
        self._run, self._actions = run, actions
        self._mark = time.perf_counter()
        self._said_at = 0.0
        self._saved_at = time.perf_counter()
        self._is_first = True
        self._step_began = 0.0

    def on_train_begin(self, args: Any, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Say that training begins, and measure where it begins."""
        run, plan = self._run, self._run.plan
        if state.is_world_process_zero:
            run.outlet.emit(
                TrainingStarted(
                    step=state.global_step,
                    total_steps=plan.total_steps,
                    restart=plan.restart,
                    resumed_from=checkpoint_name(state.global_step) if state.global_step else None,
                    facts=plan.facts,
                )
            )
        if plan.evaluates and state.global_step == 0:
            self._actions.evaluate()
        elif run.owes_evaluation:
            self._evaluate_late(state)
        elif run.is_own:
            self._actions.report_start()
        self._mark = self._step_began = self._saved_at = time.perf_counter()

    def _evaluate_late(self, state: TrainerState) -> None:
        """Do the evaluation that was given up when the checkpoint gone on from was saved, as if done then.

        Raises:
            NothingToDo: It was all that was left to do.
        """
        run, step = self._run, state.global_step
        self._actions.evaluate_late()
        is_spent = run.evaluation.is_spent(run.plan.spec.early_stopping_patience)
        if is_spent or step >= run.plan.total_steps:
            raise NothingToDo

    def on_epoch_begin(self, args: Any, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Begin the epoch that follows from the step alone."""
        self._actions.begin_epoch(state.global_step // self._run.plan.steps_per_epoch)

    def on_step_begin(self, args: Any, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """A step begins, with the first of its batches."""
        self._actions.begin_step()

    def on_pre_optimizer_step(
        self, args: Any, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Count the step before the weights move."""
        self._actions.close_step()

    def on_step_end(self, args: Any, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Decide what is due. The Trainer then logs, evaluates and saves, in this order."""
        run, plan, step = self._run, self._run.plan, state.global_step
        now = time.perf_counter()
        run.window.seconds += now - self._mark
        if not self._is_first:
            run.durations.append(now - self._step_began)  # evaluations and saves in between count
        elif state.is_world_process_zero:
            run.outlet.emit(PhaseDone(phase=Phase.STEP, seconds=now - plan.ready_at))
        is_slow = now - self._mark > _SLOW_STEP_SECONDS
        self._is_first, self._step_began, self._mark = False, now, now
        run.check_attempt()
        is_last = step >= plan.total_steps
        wants_stop, wants_save, wants_end, run.is_slow = self._wishes(state, now, is_slow)
        run.stopped = not is_last and wants_stop
        is_end = is_last or run.stopped or wants_end
        spec = plan.spec
        control.should_log = is_end or step % spec.logging_steps == 0
        # A stop does not wait for it: it is done when the run goes on.
        control.should_evaluate = not run.stopped and plan.evaluates_after(step)
        control.should_save = is_end or wants_save or plan.is_due(spec.save_strategy, spec.save_steps, step)
        control.should_training_stop = is_end
        if state.is_world_process_zero and (is_end or now - self._said_at >= _PROGRESS_SECONDS):
            self._said_at = now
            run.report_progress(state, is_over=wants_end and not run.stopped)

    def on_evaluate(
        self, args: Any, state: TrainerState, control: TrainerControl, metrics: dict[str, float], **_: Any
    ) -> None:
        """Weigh an evaluation: it may be the best, or one too many without an improvement."""
        run, spec, step = self._run, self._run.plan.spec, state.global_step
        # Before the first step there is nothing to save, and nothing to improve on. What the platform judges by, scores
        # of checkpoints, is measured by none of this.
        if step and not is_score(spec.metric_for_best_model):
            name = spec.metric_for_best_model
            if name not in metrics:
                raise InvalidInput(
                    f"`metric_for_best_model={name}` is not measured by this task.",
                    hint=f"Choose one of {', '.join(f'`{key}`' for key in sorted(metrics))}.",
                    field="metric_for_best_model",
                )
            is_best = run.evaluation.take(name, metrics[name], step, spec.early_stopping_threshold)
            control.should_save |= is_best and spec.save_strategy == "best"
            if run.evaluation.is_spent(spec.early_stopping_patience):
                control.should_save = control.should_training_stop = True
                self._actions.close_window()
                if state.is_world_process_zero:
                    run.report_progress(state, is_over=True)
        self._actions.answer_samples()
        self._mark = time.perf_counter()  # the time an evaluation took is no training time

    def on_save(self, args: Any, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Hand the local checkpoint over."""
        self._run.saved_step = state.global_step
        if state.is_world_process_zero:
            self._actions.hand_over_checkpoint()
        self._actions.answer_samples()
        self._mark = self._saved_at = time.perf_counter()

    def _wishes(self, state: TrainerState, now: float, is_slow: bool) -> tuple[bool, bool, bool, bool]:
        """Whether a stop, a save and an early end are wanted now, by whomever; whether steps are slow."""
        run, spec = self._run, self._run.plan.spec
        asked = run.outlet.save_now
        minutes = spec.save_interval_minutes if spec.save_strategy != "no" else 0
        is_time = 0 < minutes * 60 <= now - self._saved_at
        stop = run.wants_stop
        save = run.notices.wants_save() or is_time or asked > run.evaluation.saves_answered
        end = run.outlet.early_stop is not None
        if run.world_size > 1:
            # All stop, save and end after the same step.
            stop, save, end, is_slow = run.any_of(stop, save, end, is_slow)
        if save:
            run.evaluation.saves_answered = max(asked, run.evaluation.saves_answered)
        return stop, save, end, is_slow
