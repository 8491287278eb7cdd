"""What there is to compute on, as far as it is known. Knows the cluster's machines; knows no formula."""

from typing import Literal

import psutil

from tunesmith.spec.training import TrainSpec
from tunesmith_platform.backends.compute import Compute


def device_of(spec: TrainSpec, compute: Compute) -> Literal["cpu", "gpu"]:
    """What it would compute on; while Ray has not answered, what this machine has is the best guess."""
    on_gpu = compute.uses_gpu(spec.device)
    if on_gpu is None:
        on_gpu = spec.device == "gpu" or bool(compute.gpus)
    return "gpu" if on_gpu else "cpu"


def memory_of(compute: Compute, device: str, workers: int) -> int | None:
    """Bytes that a worker may fill; None where nobody knows: Ray names neither a GPU's memory nor what is in use."""
    if device == "gpu":
        return min((gpu.memory_bytes for gpu in compute.gpus), default=None)
    return psutil.virtual_memory().available // workers if compute.machine is not None else None
