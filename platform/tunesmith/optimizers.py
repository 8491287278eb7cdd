"""What each optimizer needs and what it excludes: one table, asked at submit and again by the job.

Knows package names and rules; imports no optimizer.
"""

import importlib.util
from collections.abc import Callable
from typing import NamedTuple

from tunesmith.errors import Problem
from tunesmith.spec.training import TrainSpec


class OptimizerNeeds(NamedTuple):
    """What must hold for an optimizer to work."""

    module: str | None = None
    """The package that it comes with, as Python imports it."""
    is_low_rank: bool = False
    """It projects the gradients of whole weight matrices: there must be some that are trained."""
    moves_in_backward: bool = False
    """It moves a weight as soon as its gradient is there, so no whole gradient ever exists."""
    needs_gpu: bool = False
    """Its package calls CUDA whatever the tensors lie on."""


_BNB = OptimizerNeeds("bitsandbytes")
_GALORE = OptimizerNeeds("galore_torch", is_low_rank=True)
_APOLLO = OptimizerNeeds("apollo_torch", is_low_rank=True)

OPTIMIZERS: dict[str, OptimizerNeeds] = {
    "adamw_torch": OptimizerNeeds(),
    "adamw_torch_fused": OptimizerNeeds(),
    "adamw_8bit": _BNB,
    "paged_adamw_8bit": _BNB,
    "paged_adamw_32bit": _BNB,
    "adafactor": OptimizerNeeds(),
    "sgd": OptimizerNeeds(),
    "lion_8bit": _BNB,
    "paged_lion_8bit": _BNB,
    "lomo": OptimizerNeeds("lomo_optim", moves_in_backward=True),
    "adalomo": OptimizerNeeds("lomo_optim", moves_in_backward=True, needs_gpu=True),
    "galore_adamw": _GALORE,
    "galore_adamw_8bit": _GALORE._replace(needs_gpu=True),
    "galore_adafactor": _GALORE,
    "galore_adamw_layerwise": _GALORE._replace(moves_in_backward=True),
    "galore_adamw_8bit_layerwise": _GALORE._replace(moves_in_backward=True, needs_gpu=True),
    "galore_adafactor_layerwise": _GALORE._replace(moves_in_backward=True),
    "apollo_adamw": _APOLLO,
    "apollo_adamw_layerwise": _APOLLO._replace(moves_in_backward=True),
    "grokadamw": OptimizerNeeds("grokadamw"),
    "stable_adamw": OptimizerNeeds("optimi"),
    "schedule_free_radam": OptimizerNeeds("schedulefree"),
    "schedule_free_adamw": OptimizerNeeds("schedulefree"),
    "adagrad": OptimizerNeeds(),
    "rmsprop": OptimizerNeeds(),
}
"""Every value of `optim`."""

_IN_8_BIT = {
    "adamw_torch": "adamw_8bit",
    "adamw_torch_fused": "adamw_8bit",
    "galore_adamw": "galore_adamw_8bit",
}
_TRACKERS = {"tensorboard": "tensorboardX", "wandb": "wandb"}


def chosen_optimizer(spec: TrainSpec) -> str:
    """The optimizer that was asked for, `use_8bit_optimizer` included."""
    return _IN_8_BIT.get(spec.optim, spec.optim) if spec.use_8bit_optimizer else spec.optim


def is_installed(module: str) -> bool:
    """Whether Python would find a package; imports nothing."""
    return importlib.util.find_spec(module) is not None


def optimizer_problems(
    spec: TrainSpec, *, on_cpu: bool, workers: int, installed: Callable[[str], bool] | None = None
) -> list[Problem]:
    """Why an optimizer cannot be used as asked; empty when it can.

    Args:
        spec: The parameters.
        on_cpu: Whether training runs without a GPU.
        workers: How many train together at most.
        installed: Says whether a package is there; looks for it when not given.
    """
    name = chosen_optimizer(spec)
    needs = OPTIMIZERS[name]
    installed = installed or is_installed
    found: list[Problem] = []

    def refuse(message: str, hint: str, field: str = "optim") -> None:
        found.append(Problem(field=field, message=message, hint=hint))

    if spec.use_8bit_optimizer and "8bit" not in name and not name.startswith("paged_"):
        refuse(
            f"`use_8bit_optimizer`: `{name}` has no 8-bit form.",
            "Use `optim=adamw_torch`, or turn `use_8bit_optimizer` off.",
            "use_8bit_optimizer",
        )
    if needs.module is not None and not installed(needs.module):
        refuse(
            f"`optim={name}` needs the package `{needs.module}`, which is not installed.",
            'Install it with `pip install "tunesmith[optimizers]"` on every node.',
        )
    if needs.needs_gpu and on_cpu:
        instead = "adafactor" if name == "adalomo" else "galore_adamw"
        refuse(
            f"`optim={name}` needs a GPU: its package calls CUDA wherever the weights lie.",
            f"Use `optim={instead}`, or train on a GPU.",
        )
    if needs.is_low_rank and spec.use_lora:
        refuse(
            f"`optim={name}` projects the gradients of whole weight matrices; LoRA trains none.",
            "Set `use_lora=false`, or use `optim=adamw_torch`.",
        )
    if needs.moves_in_backward:
        found += _in_backward_problems(spec, name, workers)
    if spec.deepspeed_stage and (needs.is_low_rank or needs.moves_in_backward or name == "grokadamw"):
        refuse(
            f"`optim={name}` does not work with DeepSpeed, which holds the weights in parts of its own.",
            "Set `deepspeed_stage=0`, or use `optim=adamw_torch`.",
        )
    return found


def _in_backward_problems(spec: TrainSpec, name: str, workers: int) -> list[Problem]:
    why = f"`optim={name}` moves each weight as soon as its gradient is there"
    found: list[Problem] = []
    if spec.gradient_accumulation_steps > 1:
        batch = spec.per_device_train_batch_size * spec.gradient_accumulation_steps
        found.append(
            Problem(
                field="gradient_accumulation_steps",
                message=f"{why}: gradients cannot be added up over batches.",
                hint="Set `gradient_accumulation_steps=1`; the same effective batch is "
                f"`per_device_train_batch_size={batch}`.",
            )
        )
    if workers > 1:
        found.append(
            Problem(
                field="num_workers",
                message=f"{why}: workers cannot average it before.",
                hint="Set `num_workers=1`, or use `optim=adamw_torch`.",
            )
        )
    if spec.chosen_precision == "fp16":
        found.append(
            Problem(
                field="precision",
                message=f"{why}: the scaled gradients of fp16 cannot be looked at before.",
                hint="Use `precision=auto` or `bf16`.",
            )
        )
    return found


def tracker_problems(spec: TrainSpec, installed: Callable[[str], bool] | None = None) -> list[Problem]:
    """Which tracker of `report_to` lacks its package."""
    installed = installed or is_installed
    return [
        Problem(
            field="report_to",
            message=f"`report_to={name}` needs the package `{_TRACKERS[name]}`, which is not installed.",
            hint=f'Install it with `pip install "tunesmith[trackers]"` on every node, or leave `{name}` out.',
        )
        for name in spec.report_to
        if name in _TRACKERS and not installed(_TRACKERS[name])
    ]
