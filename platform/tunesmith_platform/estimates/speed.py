"""How fast the cluster trains, as far as nothing was trained on it yet: a short calibration, kept in a file.

Knows the hardware and numpy; knows nothing of models or tasks.
"""

import datetime as dt
import json
import os
import threading
import time
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from tunesmith_platform.backends.compute import Compute
from tunesmith_platform.clock import now
from tunesmith_platform.hardware import Hardware, hardware

_SIZE = 768
_REPEATS = 7
_KEPT = 5
"""Calibrations that are kept: the speed is their median, so that one beside a busy program misleads nobody for long."""
_FRESH = dt.timedelta(days=1)
"""How old the newest may be: then one more is made."""
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


def calibrations_in(home: Path) -> Path:
    """Where an installation keeps its calibrations.

    Args:
        home: Its folder.
    """
    return home / "estimates" / "speed.json"


class Calibration(NamedTuple):
    """How fast this machine was found to multiply."""

    operations_per_second: float
    """The median of the last calibrations."""
    measured_at: dt.datetime
    """When the newest was made."""
    times: int
    """How many calibrations that is the median of."""


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
    return calibration(here, file).operations_per_second * _CPU_SHARE * gain


def source_of(compute: Compute, device: str, file: Path) -> tuple[str, dt.datetime | None]:
    """What `assumed_speed` goes by, in words, and when that was measured; None where it was not."""
    if device == "gpu":
        words = "its GPU's data sheet" if compute.gpus else "a guess: the cluster's GPUs are not known"
        return words, None
    found = calibration(compute.machine or hardware(), file)
    age = _age(now() - found.measured_at)
    times = f", the median of {found.times}" if found.times > 1 else ""
    if compute.machine is None:
        return (
            f"the speed of the platform's machine ({age}{times}): the cluster's is not known",
            found.measured_at,
        )
    return f"the speed that this machine was calibrated at ({age}{times})", found.measured_at


def _age(passed: dt.timedelta) -> str:
    hours = passed.total_seconds() / 3600
    return "just now" if hours < 1 else f"{hours:.0f} h ago" if hours < 48 else f"{hours / 24:.0f} days ago"


def moved_bytes(device: str) -> float:
    """Bytes a second that an optimizer's step reads and writes."""
    return _MOVED_BYTES[device]


def calibration(here: Hardware, file: Path) -> Calibration:
    """The machine's speed: measured again once a day, and where the machine or the number of its threads changed.

    Args:
        here: The machine.
        file: Where calibrations are kept.
    """
    name = f"{here.cpu_name} x{here.cpus}, {_threads()} threads"
    with _lock:
        kept = _kept(file, name)
        if not kept or not dt.timedelta() <= now() - kept[-1][0] < _FRESH:
            kept = [*kept, (now(), _measure())][-_KEPT:]
            file.parent.mkdir(parents=True, exist_ok=True)
            part = file.with_suffix(".part")
            part.write_text(
                json.dumps({"machine": name, "measured": [[at.isoformat(), speed] for at, speed in kept]})
            )
            part.replace(file)
        return Calibration(median(speed for _, speed in kept), kept[-1][0], len(kept))


def _kept(file: Path, machine: str) -> list[tuple[dt.datetime, float]]:
    """What was measured of this machine before, the oldest first."""
    try:
        found: Any = json.loads(file.read_text())
        if found["machine"] != machine:
            return []
        return [(dt.datetime.fromisoformat(at), float(speed)) for at, speed in found["measured"]]
    except (OSError, ValueError, KeyError, TypeError):
        return []


def _threads() -> int:
    """How many threads numpy multiplies with: as many as the environment says, or as there are processors for it."""
    given = os.environ.get("OMP_NUM_THREADS", "")
    return int(given) if given.isdecimal() and int(given) else len(os.sched_getaffinity(0))


def _measure() -> float:
    """A bare fp32 matrix product's operations a second, the median of several."""
    import numpy as np

    left = np.ones((_SIZE, _SIZE), np.float32)
    left @ left  # the first one starts the library's threads
    times = []
    for _ in range(_REPEATS):
        began = time.perf_counter()
        left @ left
        times.append(time.perf_counter() - began)
    return 2.0 * _SIZE**3 / median(times)
