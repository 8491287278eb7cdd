"""Which device and which number format a run computes in, and why.

Knows what the hardware says of itself; knows nothing of models.
"""

from pathlib import Path
from typing import Literal, NamedTuple

from tunesmith.errors import InvalidInput
from tunesmith.spec.training import TrainSpec

_CPU_INFO = Path("/proc/cpuinfo")
_BF16_FLAGS = frozenset({"amx_bf16", "avx512_bf16"})


class Choice(NamedTuple):
    """What was picked, and the reason in words."""

    device: Literal["cpu", "cuda"]
    precision: Literal["bf16", "fp16", "fp32"]
    why: str


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
    """Pick the device and the precision.

    Raises:
        InvalidInput: The spec asks for what this machine does not have.
    """
    import torch

    has_gpu = torch.cuda.is_available()
    if spec.device == "gpu" and not has_gpu:
        raise InvalidInput(
            "`device=gpu`: this worker sees no GPU.", hint="Use `device=auto`.", field="device"
        )
    wanted = spec.chosen_precision
    if has_gpu and spec.device != "cpu":
        major, minor = torch.cuda.get_device_capability()
        name = torch.cuda.get_device_name()
        if wanted == "bf16" and major < 8:
            raise InvalidInput(
                f"`precision=bf16`: {name} (compute capability {major}.{minor}) has no bf16.",
                hint="Use `precision=auto`.",
                field="precision",
            )
        if wanted == "auto":
            best: Literal["bf16", "fp16"] = "bf16" if major >= 8 else "fp16"
            return Choice("cuda", best, f"{name}, compute capability {major}.{minor}")
        return Choice("cuda", wanted, "asked for")
    flags = cpu_bf16_flags(cpu_info)
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
    if flags:
        return Choice("cpu", "bf16", f"the processor has {', '.join(sorted(flags))}")
    return Choice("cpu", "fp32", "the processor has no bf16 instructions")
