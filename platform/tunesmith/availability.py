"""Whether an optimizer and the trackers can work where a task trains: asked at submit, and again by the job.

What an optimizer needs stands in the table of `tunesmith.spec.optimizers`. Imports no optimizer.
"""

import importlib.util
from collections.abc import Callable

from tunesmith.errors import Problem
from tunesmith.spec.optimizers import OPTIMIZERS, chosen_optimizer
from tunesmith.spec.training import TrainSpec

NO_GPU = Problem(
    field="device",
    message="`device=gpu`: the cluster has no GPU.",
    hint="Use `device=auto` or `device=cpu`, or add a node with a GPU to the cluster.",
)
NO_GPU_CURE_ZH = "请选择 device=auto 或 cpu，或为集群添加带 GPU 的节点。"
_TRACKERS = {"tensorboard": "tensorboardX", "wandb": "wandb"}


_FOUND: set[str] = set()
"""Packages that were found, asked for at each submit; one that is missing may be installed meanwhile."""


def is_installed(module: str) -> bool:
    """Whether Python would find a package; imports nothing."""
    if module not in _FOUND and importlib.util.find_spec(module) is not None:
        _FOUND.add(module)
    return module in _FOUND


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
