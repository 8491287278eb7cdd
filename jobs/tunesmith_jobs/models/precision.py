"""Which device, number format and attention a run computes with, and why.

Knows what the hardware says of itself, and lets several workers agree; knows nothing of models.
"""

import importlib.util
import shutil
from pathlib import Path
from typing import Literal, NamedTuple

from tunesmith.errors import InvalidInput
from tunesmith.events import Warned
from tunesmith.spec.training import TrainSpec
from tunesmith.zero import uses_zero

_CPU_INFO = Path("/proc/cpuinfo")
_BF16_FLAGS = frozenset({"amx_bf16", "avx512_bf16"})


class Choice(NamedTuple):
    """What was picked, and the reason in words."""

    device: Literal["cpu", "cuda"]
    precision: Literal["bf16", "fp16", "fp32"]
    why: str
    attention: str = "sdpa"
    attention_why: str = ""
    tf32: bool = False
    warnings: tuple[Warned, ...] = ()
    """What was asked for and cannot be had, though training goes on without it."""

    def facts(self) -> dict[str, str | bool]:
        """What was picked, for the task's page."""
        return {
            "device": self.device,
            "precision": self.precision,
            "precision_why": self.why,
            "attention": self.attention,
            "attention_why": self.attention_why,
            "tf32": self.tf32,
        }


def cpu_bf16_flags(info: Path = _CPU_INFO) -> set[str]:
    """The processor's own bf16 instructions; empty when it has none or does not say."""
    try:
        text = info.read_text()
    except OSError:
        return set()
    for line in text.splitlines():
        if line.startswith(("flags", "Features")):
            return set(_BF16_FLAGS.intersection(line.split(":", 1)[-1].split()))
    return set()


def choose(spec: TrainSpec, cpu_info: Path = _CPU_INFO) -> Choice:
    """Pick the device, the precision and the attention; all workers pick the same.

    Raises:
        InvalidInput: The spec asks for what this machine does not have.
    """
    import torch

    has_gpu = torch.cuda.is_available()
    if spec.device == "gpu" and not has_gpu:
        raise InvalidInput(
            "`device=gpu`: this worker sees no GPU.", hint="Use `device=auto`.", field="device"
        )
    on_gpu = has_gpu and spec.device != "cpu"
    choice = _on_gpu(spec) if on_gpu else _on_cpu(spec, cpu_info)
    attention, why = _attention(spec, choice)
    choice = choice._replace(attention=attention, attention_why=why)
    if spec.torch_compile:
        _check_compiler(choice)
    if not spec.tf32:
        return choice
    if _all_agree(on_gpu and torch.cuda.get_device_capability()[0] >= 8):
        return choice._replace(tf32=True)
    warned = Warned(
        code="tf32_unavailable",
        message="`tf32` is not used: not every worker has a GPU that computes it (Ampere or later).",
        hint="Leave `tf32` off here; the results are the same or better.",
    )
    return choice._replace(warnings=(*choice.warnings, warned))


def _all_agree(flag: bool) -> bool:
    """Whether every worker says yes; alone, one's own word."""
    import torch.distributed as dist

    if not (dist.is_available() and dist.is_initialized()) or dist.get_world_size() == 1:
        return flag
    said: list[bool | None] = [None] * dist.get_world_size()
    dist.all_gather_object(said, flag)
    return all(said)


def _on_gpu(spec: TrainSpec) -> Choice:
    import torch

    wanted = spec.chosen_precision
    major, minor = torch.cuda.get_device_capability()
    name = torch.cuda.get_device_name()
    if wanted == "bf16" and major < 8:
        raise InvalidInput(
            f"`precision=bf16`: {name} (compute capability {major}.{minor}) has no bf16.",
            hint="Use `precision=auto`.",
            field="precision",
        )
    if wanted == "auto":
        best: Literal["bf16", "fp16"] = "bf16" if _all_agree(major >= 8) else "fp16"
        return Choice("cuda", best, f"{name}, compute capability {major}.{minor}")
    return Choice("cuda", wanted, "asked for")


def _on_cpu(spec: TrainSpec, cpu_info: Path) -> Choice:
    wanted = spec.chosen_precision
    flags = cpu_bf16_flags(cpu_info)
    if uses_zero(spec) and wanted != "fp16":
        if wanted == "bf16":
            raise InvalidInput(
                "DeepSpeed computes in fp32 only on a CPU.", hint="Use `precision=auto`.", field="precision"
            )
        return Choice(
            "cpu", "fp32", "asked for" if wanted == "fp32" else "DeepSpeed computes in fp32 on a CPU"
        )
    if wanted == "fp16":
        raise InvalidInput("`precision=fp16` needs a GPU.", hint="Use `precision=auto`.", field="precision")
    if wanted == "bf16" and not flags:
        raise InvalidInput(
            "`precision=bf16`: this processor has no bf16 instructions (AMX or AVX512-BF16).",
            hint="Use `precision=auto`.",
            field="precision",
        )
    if wanted == "fp32":
        return Choice("cpu", "fp32", "asked for")
    if not _all_agree(bool(flags)):
        whose = "another worker's" if flags else "the"
        return Choice("cpu", "fp32", f"{whose} processor has no bf16 instructions")
    return Choice("cpu", "bf16", f"the processor has {', '.join(sorted(flags))}")


def _attention(spec: TrainSpec, choice: Choice) -> tuple[str, str]:
    """The attention implementation and the reason. `auto` takes the fastest that is installed."""
    asked = spec.attn_implementation
    has_package = importlib.util.find_spec("flash_attn") is not None
    obstacle = None
    if choice.device == "cpu":
        obstacle = ("needs a GPU", "Use `attn_implementation=auto`.")
    elif not has_package:
        obstacle = (
            "needs the package `flash-attn`, which is not installed",
            "Install it with `pip install flash-attn --no-build-isolation` on every node, or use `auto`.",
        )
    elif choice.precision == "fp32":
        obstacle = ("computes in bf16 or fp16 only", "Use `precision=auto`.")
    if asked == "auto":
        if _all_agree(obstacle is None):
            return "flash_attention_2", "the package `flash-attn` is installed"
        return "sdpa", "PyTorch's own; `flash_attention_2` " + (
            obstacle[0] if obstacle else "does not run on every worker"
        )
    if asked == "flash_attention_2" and obstacle:
        raise InvalidInput(
            f"`attn_implementation=flash_attention_2` {obstacle[0]}.",
            hint=obstacle[1],
            field="attn_implementation",
        )
    return asked, "asked for"


def _check_compiler(choice: Choice) -> None:
    """`torch.compile` writes code for a compiler that must be there."""
    if choice.device == "cpu" and not any(shutil.which(name) for name in ("g++", "c++", "clang++")):
        raise InvalidInput(
            "`torch_compile` needs a C++ compiler, and this worker has none.",
            hint="Install `g++` on every node, or leave `torch_compile` off.",
            field="torch_compile",
        )
    if choice.device == "cuda" and importlib.util.find_spec("triton") is None:
        raise InvalidInput(
            "`torch_compile` on a GPU needs the package `triton`, which is not installed.",
            hint="Install it with `pip install triton` on every node, or leave `torch_compile` off.",
            field="torch_compile",
        )
