"""Whether the packages that a task's choices need are where it trains: asked at submit, and again by the job.

What an optimizer needs stands in the table of `tunesmith.spec.optimizers`. Imports none of them.
"""

import importlib.util
import shutil
from collections.abc import Callable
from typing import NamedTuple

from tunesmith.errors import Problem
from tunesmith.spec.optimizers import OPTIMIZERS, chosen_optimizer
from tunesmith.spec.training import TrainSpec

NO_GPU = Problem(
    field="device",
    message="`device=gpu`: the cluster has no GPU.",
    hint="Use `device=auto` or `device=cpu`, or add a node with a GPU to the cluster.",
)
NO_GPU_CURE_ZH = "请选择 device=auto 或 cpu，或为集群添加带 GPU 的节点。"
LM_EVAL = "lm_eval"
"""What gives the standard benchmarks of an evaluation."""
BENCHMARKS_PROBLEM = "Benchmarks need the package `lm-eval`, which is not installed."
BENCHMARKS_CURE = 'Install it with `pip install "tunesmith[benchmarks]"` on every node.'
_TRACKERS = {"tensorboard": "tensorboardX", "wandb": "wandb"}
_COMPILERS = ("g++", "c++", "clang++")


class OptionalPackage(NamedTuple):
    """A package that some choices need."""

    module: str
    """As Python imports it."""
    chosen_by: str
    """The choices, in words."""
    install: str
    """What installs it."""


def _optional() -> tuple[OptionalPackage, ...]:
    optimizers: dict[str, list[str]] = {}
    for name, needs in OPTIMIZERS.items():
        if needs.module is not None:
            optimizers.setdefault(needs.module, []).append(name)
    extra = 'pip install "tunesmith[{}]"'
    found = {
        module: OptionalPackage(module, f"optim={'/'.join(names)}", extra.format("optimizers"))
        for module, names in optimizers.items()
    }
    bits = found["bitsandbytes"]
    found["bitsandbytes"] = bits._replace(chosen_by=f"load_in_4bit, load_in_8bit, {bits.chosen_by}")
    deepspeed = 'DS_BUILD_OPS=0 pip install --no-build-isolation "tunesmith[deepspeed]"'
    return (
        *found.values(),
        OptionalPackage("deepspeed", "deepspeed_stage, deepspeed", deepspeed),
        *(
            OptionalPackage(module, f"report_to={name}", extra.format("trackers"))
            for name, module in _TRACKERS.items()
        ),
        OptionalPackage(LM_EVAL, "benchmarks, benchmark_file", extra.format("benchmarks")),
        OptionalPackage(
            "flash_attn",
            "attn_implementation=flash_attention_2 on a GPU",
            "pip install flash-attn --no-build-isolation",
        ),
    )


OPTIONAL = {one.module: one for one in _optional()}
"""Every package that a choice may need, by its module."""

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


def package_problems(
    spec: TrainSpec, *, on_cpu: bool | None, installed: Callable[[str], bool] | None = None
) -> list[Problem]:
    """Which packages, other than the optimizer's and the trackers', are missing for what a spec chooses.

    Args:
        spec: The parameters.
        on_cpu: Whether training runs without a GPU; None where that is not known.
        installed: Says whether a package is there; looks for it when not given.
    """
    installed = installed or is_installed
    wanted = {
        "load_in_4bit": ("bitsandbytes", spec.load_in_4bit),
        "load_in_8bit": ("bitsandbytes", spec.load_in_8bit),
        "deepspeed_stage": ("deepspeed", spec.deepspeed is None and spec.deepspeed_stage > 0),
        "deepspeed": ("deepspeed", spec.deepspeed is not None),
        "attn_implementation": (
            "flash_attn",
            spec.attn_implementation == "flash_attention_2" and on_cpu is False,
        ),
    }
    found = [
        Problem(
            field=field,
            message=f"`{field}` needs the package `{module}`, which is not installed.",
            hint=f"Install it with `{OPTIONAL[module].install}` on every node, or leave `{field}` out.",
        )
        for field, (module, is_chosen) in wanted.items()
        if is_chosen and not installed(module)
    ]
    if spec.attn_implementation == "flash_attention_2" and on_cpu:
        found.append(
            Problem(
                field="attn_implementation",
                message="`flash_attention_2` needs a GPU, and the cluster has none.",
                hint="Use `attn_implementation=auto`.",
            )
        )
    return found


def compiler_problems(spec: TrainSpec, *, on_cpu: bool) -> list[Problem]:
    """What `torch_compile` writes code for and is not on this machine."""
    if not spec.torch_compile or not on_cpu or any(shutil.which(name) for name in _COMPILERS):
        return []
    return [
        Problem(
            field="torch_compile",
            message="`torch_compile` needs a C++ compiler, and there is none.",
            hint="Install `g++` on every node, or leave `torch_compile` off.",
        )
    ]


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
