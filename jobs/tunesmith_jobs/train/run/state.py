"""The state of a run while it trains, with one owner: the Trainer and its callback both read and write it here.

Neither needs to know the other for it. Decides also whether the run may go on, which both ask in their loops.
"""

import json
from collections import deque
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from transformers import TrainerState, TrainingArguments

from tunesmith.events import Progress
from tunesmith.lifecycle import Desired
from tunesmith.state_of import STATE_OF_FILE
from tunesmith.zero import uses_zero
from tunesmith_jobs.activities import Doing
from tunesmith_jobs.failures import Superseded
from tunesmith_jobs.outlet import Outlet
from tunesmith_jobs.train.checkpoint.restore import WINDOW_FILE
from tunesmith_jobs.train.checkpoint.resume import StartState
from tunesmith_jobs.train.run import build_optimizer
from tunesmith_jobs.train.run.evaluation_state import EvaluationState
from tunesmith_jobs.train.run.interruption import EvaluationInterrupted, Notices, StepInterrupted
from tunesmith_jobs.train.run.plan import Plan, Window


@dataclass
class RunState:
    """What a run does, has measured and has saved."""

    plan: Plan
    outlet: Outlet
    notices: Notices
    device: torch.device
    world_size: int
    can_stop_in_step: bool
    """Whether a step can be given up: not where its weights have moved, or where the engine counts its batches."""
    window: Window = field(default_factory=Window)
    evaluation: EvaluationState = field(default_factory=EvaluationState)
    latest: dict[str, float] = field(default_factory=dict)
    """What a checkpoint of these weights is reported with, by name: the last loss, and their own evaluation."""
    stopped: bool = False
    """Whether the run ends before its last step because a stop was wanted."""
    is_own: bool = False
    """Whether this task saved the checkpoint that is gone on from."""
    owes_evaluation: bool = False
    """Whether the run goes on from a step whose evaluation was given up."""
    saved_step: int | None = None
    """The newest step that this task has saved."""
    is_slow: bool = True
    """Whether a step takes so long that the workers agree before each batch of it."""
    durations: deque[float] = field(default_factory=lambda: deque(maxlen=50))
    """Seconds of each of the last steps, evaluations and saves in between included."""
    batches: Doing = field(init=False)
    """Counts the batches that were begun; given by who starts the training."""

    @classmethod
    def of(cls, plan: Plan, outlet: Outlet, notices: Notices, args: TrainingArguments) -> "RunState":
        """The state before the first step."""
        can_stop = not uses_zero(plan.spec) and not build_optimizer.moves_in_backward(plan.spec)
        return cls(plan, outlet, notices, args.device, args.world_size, can_stop)

    def restore(self, start: StartState, evaluation: EvaluationState) -> None:
        """Take up the sums and the evaluations that a checkpoint holds."""
        self.is_own = start.is_own
        self.window = Window(**json.loads((start.folder / WINDOW_FILE).read_text()))
        self.evaluation, self.latest = evaluation, dict(evaluation.measured)
        self.saved_step = start.step if start.is_own else None
        self.owes_evaluation = owes_evaluation(self.plan, start, evaluation)

    def keep(self, step: int) -> None:
        """Count a checkpoint that is saved at this step."""
        self.evaluation.keep(step)
        self.evaluation.measured = dict(self.latest)

    def leave_evaluation(self) -> None:
        """Forget what an evaluation measured, as the weights move: a checkpoint is reported with its own, or with none.

        A choice of the best checkpoint would believe an earlier one's.
        """
        self.latest = {name: value for name, value in self.latest.items() if not name.startswith("eval_")}

    def write(self, folder: Path) -> None:
        """Write the sums, the evaluations and what the state is of into a checkpoint."""
        (folder / WINDOW_FILE).write_text(json.dumps(asdict(self.window)))
        (folder / STATE_OF_FILE).write_bytes(self.plan.state_of.encode())
        self.evaluation.write(folder)

    # --- whether the run may go on

    def check_batch(self) -> None:
        """Go on with a step only if that is wanted. All workers ask before each batch of it.

        Raises:
            StepInterrupted: A stop is wanted, and the step can be given up.
            Superseded: The attempt is over.
        """
        self.check_attempt()
        if not self.can_stop_in_step:
            return
        stop = self.wants_stop
        if self.world_size > 1:
            # The workers agree only where a step is long: it costs a message among them.
            stop = self.is_slow and self.any_of(stop)[0]
        if stop:
            raise StepInterrupted

    def check_evaluated_batch(self, *, is_common: bool) -> None:
        """Go on with an evaluation only if that is wanted.

        Args:
            is_common: Whether all workers have a batch of this number, and so can agree.

        Raises:
            EvaluationInterrupted: A stop is wanted.
            Superseded: The attempt is over.
        """
        self.check_attempt()
        stop = self.wants_stop
        if self.world_size > 1:
            stop = is_common and self.any_of(stop)[0]
        if stop:
            raise EvaluationInterrupted

    def check_attempt(self) -> None:
        """Go on only as the newest attempt.

        Raises:
            Superseded: The attempt is over.
        """
        if self.outlet.superseded:
            raise Superseded

    @property
    def wants_stop(self) -> bool:
        """Whether the user or the machine wants this worker to stop."""
        return self.outlet.desired is Desired.STOP or self.notices.must_stop

    def any_of(self, *flags: bool) -> list[bool]:
        """Each flag, where any worker has it. A message among all workers."""
        told = torch.tensor([float(flag) for flag in flags], device=self.device)
        torch.distributed.all_reduce(told, torch.distributed.ReduceOp.MAX)
        return [bool(flag) for flag in told.tolist()]

    # --- what is reported

    def report_progress(self, state: TrainerState, *, is_over: bool = False) -> None:
        """Report how far the run is."""
        total, left = self.plan.total_steps, None
        if is_over:
            left = 0.0
        elif self.durations:
            left = sum(self.durations) / len(self.durations) * max(0, total - state.global_step)
        self.outlet.emit(
            Progress(step=state.global_step, total_steps=total, epoch=state.epoch or 0, seconds_left=left)
        )


def owes_evaluation(plan: Plan, start: StartState, evaluation: EvaluationState) -> bool:
    """Whether a run goes on from a step of its own whose evaluation was given up."""
    return start.is_own and evaluation.last_step != start.step and plan.evaluates_after(start.step)
