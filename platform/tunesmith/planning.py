"""How many steps, evaluations and checkpoints a training spec asks for, from the number of its rows.

The trainer, the estimate and the quota count by this one rule. Knows nothing of tokens, time or memory.
"""

from dataclasses import dataclass

from tunesmith.errors import InvalidInput
from tunesmith.scaling import accumulation_at
from tunesmith.spec.groups.steps import COLD_SCHEDULES
from tunesmith.spec.training import TrainSpec


@dataclass(frozen=True)
class StepPlan:
    """A run in numbers of optimizer steps.

    `checkpoints` counts the final one; with `save_strategy=best` it is the most there can be, and what
    `save_interval_minutes` adds is not in it.
    """

    steps_per_epoch: int
    total_steps: int
    warmup_steps: int
    checkpoints: int
    evaluations: int


def plan_steps(spec: TrainSpec, rows: int, workers: int | None = None) -> StepPlan:
    """Count the steps of a run.

    Args:
        spec: The parameters.
        rows: What a batch is made of: rows, or packed sequences.
        workers: How many train together; the most that the spec allows when not given.
    """
    assert rows > 0, "nothing to train on is refused before"
    workers = workers or spec.workers[1]
    batches = -(-rows // (spec.per_device_train_batch_size * workers))
    per_epoch = -(-batches // accumulation_at(spec, workers))
    # 1.1 epochs of 10 steps are 11 steps: the small term takes off what binary fractions add.
    by_epochs = -int(-(spec.num_train_epochs * per_epoch - 1e-6) // 1)
    total = spec.max_steps if spec.max_steps > 0 else max(1, by_epochs)
    return StepPlan(
        steps_per_epoch=per_epoch,
        total_steps=total,
        warmup_steps=_warmup(spec, total),
        checkpoints=_count(*_saves(spec), per_epoch, total),
        evaluations=0
        if spec.eval_strategy == "no"
        else 1 + _count(spec.eval_strategy, spec.eval_steps, per_epoch, total),
    )


def checkpoints_left(spec: TrainSpec, rows: int, step: int, total_steps: int | None = None) -> int:
    """How many of the planned checkpoints come after a step.

    Args:
        spec: The parameters.
        rows: What a batch is made of.
        step: The optimizer steps already done.
        total_steps: All that the run takes, where it has said so; else as planned.
    """
    plan = plan_steps(spec, rows)
    total = total_steps or plan.total_steps
    if step >= total:
        return 0
    counts = [_count(*_saves(spec), plan.steps_per_epoch, n) for n in (total, step + 1)]
    # The one that the next step opens is still to come.
    return counts[0] - counts[1] + 1


def decay_steps(spec: TrainSpec, total: int) -> int:
    """Over how many of the last steps the learning rate falls, where the schedule has such a part."""
    if spec.lr_scheduler_type != "warmup_stable_decay":
        return 0
    return spec.num_decay_steps or max(1, round(0.1 * total))


def check_schedule(spec: TrainSpec, total: int) -> None:
    """See that the learning rate reaches what was asked for.

    Args:
        spec: The parameters.
        total: The run's steps, or the most that they can be.

    Raises:
        InvalidInput: Its rise, or rise and fall together, take longer than the run.
    """
    warmup, decay = _warmup(spec, total), decay_steps(spec, total)
    if warmup >= total and spec.warmup_steps:
        raise InvalidInput(
            f"`warmup_steps={warmup}`: the run has {total} steps, so that the learning rate would never reach "
            f"`learning_rate={spec.learning_rate:g}`.",
            hint="Lower `warmup_steps`; `warmup_steps=0` with `warmup_ratio=0.1` takes a tenth of the run.",
            field="warmup_steps",
        )
    if warmup + decay > total:
        raise InvalidInput(
            f"{warmup} warmup and {decay} decay steps are more than the run's {total}.",
            hint="Lower `num_decay_steps` or `warmup_steps`.",
            field="num_decay_steps",
        )


def _warmup(spec: TrainSpec, total: int) -> int:
    """Over how many steps the learning rate rises."""
    if spec.lr_scheduler_type in COLD_SCHEDULES:
        return 0
    return spec.warmup_steps or round(spec.warmup_ratio * total)


def _saves(spec: TrainSpec) -> tuple[str, int]:
    """When a checkpoint is due; the best one may be found at any evaluation."""
    if spec.save_strategy == "best":
        return spec.eval_strategy, spec.eval_steps
    return spec.save_strategy, spec.save_steps


def _count(strategy: str, every: int, per_epoch: int, total: int) -> int:
    """How often something is due that is always due after the last step."""
    interval = {"steps": every, "epoch": per_epoch}.get(strategy)
    return 1 if interval is None else -(-total // interval)
