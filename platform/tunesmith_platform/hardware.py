"""What this machine computes with. Cheap to ask: reads /proc, and `nvidia-smi` only where it is there."""

import functools
import os
import shutil
import subprocess
from pathlib import Path

from pydantic import BaseModel


class Gpu(BaseModel):
    """One GPU."""

    name: str
    memory_bytes: int
    compute_capability: float


class Hardware(BaseModel):
    """A machine's processors."""

    cpu_name: str
    cpus: int
    cpu_flags: frozenset[str]
    gpus: tuple[Gpu, ...]

    @property
    def cpu_supports_bf16(self) -> bool:
        """Whether the CPU multiplies bf16 matrices itself."""
        return bool(self.cpu_flags & {"amx_bf16", "avx512_bf16"})

    @property
    def supports_bf16(self) -> bool:
        """Whether what would train computes in bf16: the GPUs where there are some (Ampere on), else the CPU."""
        if self.gpus:
            return all(gpu.compute_capability >= 8.0 for gpu in self.gpus)
        return self.cpu_supports_bf16


@functools.cache
def hardware() -> Hardware:
    """This machine's processors; they do not change while it runs."""
    name, flags = _cpu()
    return Hardware(cpu_name=name, cpus=os.cpu_count() or 1, cpu_flags=flags, gpus=_gpus())


def _cpu() -> tuple[str, frozenset[str]]:
    name, flags = "unknown", frozenset[str]()
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "model name":
                name = value.strip()
            elif key.strip() == "flags":
                flags = frozenset(value.split())
                break
    except OSError:
        pass
    return name, flags


def _gpus() -> tuple[Gpu, ...]:
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return ()
    query = [tool, "--query-gpu=name,memory.total,compute_cap", "--format=csv,noheader,nounits"]
    try:
        answer = subprocess.run(query, capture_output=True, text=True, timeout=10, check=True).stdout
        rows = [[part.strip() for part in line.split(",")] for line in answer.splitlines() if line.strip()]
        return tuple(
            Gpu(name=name, memory_bytes=int(mib) * 2**20, compute_capability=float(capability))
            for name, mib, capability in rows
        )
    except (OSError, subprocess.SubprocessError, ValueError):
        return ()
