"""How fast the cluster trains, as far as nothing was trained on it yet: a short calibration, kept in a file.

Knows the hardware and numpy; knows nothing of models or tasks.
"""

import json
import threading
import time
from pathlib import Path

from tunesmith_platform.backends.compute import Compute
from tunesmith_platform.hardware import Hardware, hardware

_SIZE = 768
_REPEATS = 4
_CPU_SHARE = 0.7
"""Of a bare fp32 matrix product's speed, what training reaches: `tests/bench/preflight.py`, models of 11M and 40M."""
_BF16_GAIN = 1.8
"""How much faster bf16 trains on a CPU with its instructions: measured, 234 to 144 and 574 to 300 tokens a second."""
_GPU_SHARE = 0.35
_GPU_PEAKS = {7.0: 112e12, 7.5: 65e12, 8.0: 312e12, 8.6: 142e12, 8.9: 330e12, 9.0: 989e12, 10.0: 2250e12}
"""Dense half-precision operations a second by compute capability, from the makers' data sheets."""
_UNKNOWN_GPU_PEAK = 65e12
"""That of the slowest GPU that is still in use: an estimate that is too long disappoints nobody."""
_MOVED_BYTES = {"cpu": 6e9, "gpu": 1.5e12}
"""Bytes a second that an optimizer step moves."""
_lock = threading.Lock()


def assumed_speed(compute: Compute, device: str, precision: str, file: Path) -> float:
    """Floating-point operations a second that training reaches.

    Args:
        compute: What trains, as far as it is known; a processor that is not is taken to be as fast as this one.
        device: `cpu` or `gpu`.
        precision: The computing type.
        file: Where the calibration is kept.
    """
    if device == "gpu":
        peak = _UNKNOWN_GPU_PEAK
        if compute.gpus:
            capability = min(gpu.compute_capability for gpu in compute.gpus)
            known = [value for value in _GPU_PEAKS if value <= capability]
            peak = _GPU_PEAKS[max(known)] if known else 30e12
        return peak * _GPU_SHARE / (1 if precision != "fp32" else 8)
    here = compute.machine or hardware()
    gain = _BF16_GAIN if precision == "bf16" and here.cpu_supports_bf16 else 1.0
    return _calibrated(here, file) * _CPU_SHARE * gain


def source_of(compute: Compute, device: str) -> str:
    """What `assumed_speed` goes by, in words."""
    if device == "gpu":
        return "its GPU's data sheet" if compute.gpus else "a guess: the cluster's GPUs are not known"
    if compute.machine is None:
        return "the speed of the platform's machine: the cluster's is not known"
    return "the speed that this machine was calibrated at"


def moved_bytes(device: str) -> float:
    """Bytes a second that an optimizer's step reads and writes."""
    return _MOVED_BYTES[device]


def _calibrated(here: Hardware, file: Path) -> float:
    name = f"{here.cpu_name} x{here.cpus}"
    with _lock:
        try:
            known = json.loads(file.read_text())
            if known["machine"] == name:
                return float(known["operations_per_second"])
        except (OSError, ValueError, KeyError, TypeError):
            pass
        found = _measure()
        file.parent.mkdir(parents=True, exist_ok=True)
        part = file.with_suffix(".part")
        part.write_text(json.dumps({"machine": name, "operations_per_second": found}))
        part.replace(file)
        return found


def _measure() -> float:
    """A bare fp32 matrix product's operations a second, the best of a few."""
    import numpy as np

    left = np.ones((_SIZE, _SIZE), np.float32)
    best = float("inf")
    for _ in range(_REPEATS):
        began = time.perf_counter()
        left @ left
        best = min(best, time.perf_counter() - began)
    return 2.0 * _SIZE**3 / best
