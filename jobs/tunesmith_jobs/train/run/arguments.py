"""From the spec to the Trainer's arguments: the one place where a parameter is handed to the library.

Knows the spec and transformers' names; knows nothing of models, rows or steps taken.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tunesmith.errors import InvalidInput
from tunesmith.planning import StepPlan, check_schedule, decay_steps, plan_steps
from tunesmith.scaling import accumulation_at
from tunesmith.spec.optimizers import OPTIMIZERS, chosen_optimizer
from tunesmith.spec.training import TrainSpec
from tunesmith_jobs.models.precision import Choice
from tunesmith_jobs.train.run import build_optimizer, zero


@dataclass(frozen=True)
class Arguments:
    """What the Trainer gets, and the plan that it was made by."""

    values: dict[str, Any]
    plan: StepPlan


def world_size() -> int:
    """How many workers train together now."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def trainer_arguments(
    spec: TrainSpec, scratch: Path, choice: Choice, rows: int, *, evaluates: bool
) -> Arguments:
    """Everything that the library is told.

    Args:
        spec: The parameters.
        scratch: Where checkpoints are written before they are brought away.
        choice: The device and precision that were picked.
        rows: What a batch is made of: rows, or packed sequences.
        evaluates: Whether there is something to evaluate and a time to do it.

    Raises:
        InvalidInput: The parameters cannot work together on this machine.
    """
    workers = world_size()
    build_optimizer.refuse(spec, choice)
    # By the most workers that are allowed: fewer take more batches each, the steps stay the same.
    plan = plan_steps(spec, rows, spec.workers[1])
    check_schedule(spec, plan.total_steps)
    is_gone_by_step = build_optimizer.moves_in_backward(spec)
    values = {
        "output_dir": str(scratch),
        "max_steps": plan.total_steps,
        "per_device_train_batch_size": spec.per_device_train_batch_size,
        "gradient_accumulation_steps": accumulation_at(spec, workers),
        "learning_rate": spec.learning_rate,
        "optim": build_optimizer.library_name(spec, choice),
        "weight_decay": spec.weight_decay,
        # No gradient is left to cut where the weights move during the backward pass.
        "max_grad_norm": 0.0 if is_gone_by_step else spec.max_grad_norm,
        "seed": spec.seed,
        "bf16": choice.precision == "bf16",
        "fp16": choice.precision == "fp16",
        "tf32": True if choice.tf32 else None,
        "use_cpu": choice.device == "cpu",
        # Our batches say that nothing is cached; this is only what a saved configuration says.
        "use_cache": True,
        "activation_checkpointing": spec.gradient_checkpointing,
        "activation_checkpointing_kwargs": {"use_reentrant": False},
        "torch_compile": spec.torch_compile,
        # The callback decides when; the Trainer's own clocks are off.
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
    if OPTIMIZERS[chosen_optimizer(spec)].is_low_rank:
        values["optim_target_modules"] = "all-linear"
    values |= _schedule(spec, plan, evaluates=evaluates)
    values |= zero.arguments(spec, choice, scratch)
    return Arguments(values, plan)


def _schedule(spec: TrainSpec, plan: StepPlan, *, evaluates: bool) -> dict[str, Any]:
    """The learning rate's course."""
    kind = spec.lr_scheduler_type
    found: dict[str, Any] = {"lr_scheduler_type": kind, "warmup_steps": plan.warmup_steps}
    options: dict[str, Any] = {}
    if kind == "cosine_with_restarts":
        options["num_cycles"] = spec.num_cycles
    elif kind == "cosine_with_min_lr":
        options["min_lr"] = spec.min_lr
    elif kind == "warmup_stable_decay":
        decay = decay_steps(spec, plan.total_steps)
        options |= {"num_decay_steps": decay, "min_lr_ratio": spec.min_lr / spec.learning_rate}
    elif kind == "reduce_lr_on_plateau":
        if not evaluates:
            raise InvalidInput(
                "`lr_scheduler_type=reduce_lr_on_plateau` follows the evaluation loss, and nothing is evaluated.",
                hint="Set `eval_strategy`, with `eval_file` or `eval_sampling_ratio`.",
                field="lr_scheduler_type",
            )
        # The library asks for a clock of its own; the callback's answer comes after it and counts.
        found |= {
            "eval_strategy": "steps",
            "eval_steps": plan.total_steps,
            "metric_for_best_model": "eval_loss",
        }
    if options:
        found["lr_scheduler_kwargs"] = options
    return found
