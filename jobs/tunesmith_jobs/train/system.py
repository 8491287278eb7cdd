"""What the machines do while they train: processors, memory, GPUs. Sampled by a thread; a step waits for none of it.

Every worker samples its own machine. The first one says it for all: the others leave their newest sample in a small
file of the task's work folder, which all workers share (it holds the spool). Knows psutil and NVML; of training it
knows the step that was last spoken of.
"""

import contextlib
import datetime as dt
import importlib
import json
import logging
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
from pydantic import ValidationError

from tunesmith.events import JobPayload, Metrics, Progress, SystemMeasured, TrainingStarted, WorkerSystem
from tunesmith_jobs.report import Outlet, Relay

SAMPLE_SECONDS = 10.0
_FIRST_SECONDS = 2.0
_MB = 1e6
_CLOSE_SECONDS = 2.0
_log = logging.getLogger("tunesmith_jobs.system")


class Gpus:
    """The GPUs that this process may use, through NVML; none where there is no driver or no `nvidia-ml-py`."""

    def __init__(self) -> None:
        self._nvml: Any = None
        self._handles: list[Any] = []
        try:
            self._nvml = importlib.import_module("pynvml")
            self._nvml.nvmlInit()
            self._handles = list(self._visible())
        except ImportError:
            if Path("/proc/driver/nvidia/version").exists():
                _log.info("GPUs are not measured: `nvidia-ml-py` is not installed")
        except Exception as error:  # no driver, no GPU, or one that NVML cannot name
            _log.debug("GPUs are not measured: %r", error)

    def _visible(self) -> Iterator[Any]:
        nvml, named = self._nvml, os.environ.get("CUDA_VISIBLE_DEVICES")
        if named is None:
            named = ",".join(str(number) for number in range(nvml.nvmlDeviceGetCount()))
        for name in filter(None, (part.strip() for part in named.split(","))):
            if name.isdecimal():
                yield nvml.nvmlDeviceGetHandleByIndex(int(name))
            elif name.startswith("GPU-"):
                yield nvml.nvmlDeviceGetHandleByUUID(name)
            else:
                return  # as CUDA does: what follows a name that is none is not visible

    def values(self) -> dict[str, float]:
        """What they measure, by MLflow's names. What one of them cannot tell is left out."""
        found: dict[str, float] = {}
        for number, handle in enumerate(self._handles):
            for ask in (self._use, self._memory, self._temperature, self._power):
                with contextlib.suppress(Exception):  # NVML's own error: this GPU does not know it
                    found |= {f"gpu_{number}_{name}": float(value) for name, value in ask(handle).items()}
        return found

    def _use(self, handle: Any) -> dict[str, float]:
        return {"utilization_percentage": self._nvml.nvmlDeviceGetUtilizationRates(handle).gpu}

    def _memory(self, handle: Any) -> dict[str, float]:
        memory = self._nvml.nvmlDeviceGetMemoryInfo(handle)
        return {
            "memory_usage_megabytes": memory.used / _MB,
            "memory_usage_percentage": 100 * memory.used / memory.total,
        }

    def _temperature(self, handle: Any) -> dict[str, float]:
        sensor = self._nvml.NVML_TEMPERATURE_GPU
        return {"temperature_celsius": self._nvml.nvmlDeviceGetTemperature(handle, sensor)}

    def _power(self, handle: Any) -> dict[str, float]:
        watts = self._nvml.nvmlDeviceGetPowerUsage(handle) / 1000
        limit = self._nvml.nvmlDeviceGetEnforcedPowerLimit(handle) / 1000
        return {"power_usage_watts": watts, "power_usage_percentage": 100 * watts / limit}


class Machine:
    """This worker and its machine."""

    def __init__(self, worker: int) -> None:
        self._worker = worker
        self._process = psutil.Process()
        self._gpus = Gpus()
        self._node = socket.gethostname()
        # Both tell what was used since they were asked last.
        self._process.cpu_percent()
        psutil.cpu_percent()

    def sample(self) -> WorkerSystem:
        """What it measures now."""
        memory = psutil.virtual_memory()
        values = {
            "cpu_utilization_percentage": psutil.cpu_percent(),
            "system_memory_usage_megabytes": memory.used / _MB,
            "system_memory_usage_percentage": 100 * memory.used / memory.total,
            "system_memory_available_megabytes": memory.available / _MB,
            "process_cpu_percentage": self._process.cpu_percent(),
            "process_memory_megabytes": self._process.memory_info().rss / _MB,
        } | self._gpus.values()
        return WorkerSystem(
            worker=self._worker,
            node=self._node,
            values={name: round(value, 3) for name, value in values.items()},
        )


class Samples:
    """The newest sample of each worker but the first, in files."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._seen: dict[str, float] = {}

    def leave(self, sample: WorkerSystem) -> None:
        """Leave this worker's newest sample."""
        self._folder.mkdir(parents=True, exist_ok=True)
        target = self._folder / f"worker-{sample.worker}.json"
        draft = target.with_suffix(".part")
        draft.write_text(sample.model_dump_json())
        draft.replace(target)

    def take(self) -> list[WorkerSystem]:
        """What the other workers left since the last time."""
        found = []
        for file in sorted(self._folder.glob("worker-*.json")):
            with contextlib.suppress(OSError, ValidationError, json.JSONDecodeError):
                written = file.stat().st_mtime_ns
                if self._seen.get(file.name) != written:
                    found.append(WorkerSystem.model_validate_json(file.read_bytes()))
                    self._seen[file.name] = written
        return sorted(found, key=lambda sample: sample.worker)


class _Stepped(Relay):
    """An outlet that remembers the step that was last spoken of."""

    def __init__(self, outlet: Outlet) -> None:
        super().__init__(outlet)
        self.step = 0

    def emit(self, payload: JobPayload, time: dt.datetime | None = None) -> None:
        if isinstance(payload, TrainingStarted | Metrics | Progress):  # a checkpoint may be an older step's
            self.step = payload.step
        super().emit(payload, time)


@contextlib.contextmanager
def sampled(outlet: Outlet, folder: Path, worker: int, seconds: float = SAMPLE_SECONDS) -> Iterator[Outlet]:
    """Sample this worker's machine while the context lasts, and once more at its end.

    Args:
        outlet: The first worker's takes the samples of all.
        folder: Shared by an attempt's workers.
        worker: Which one this is.
        seconds: From one sample to the next.

    Yields:
        The outlet to speak through.
    """
    stepped, over = _Stepped(outlet), threading.Event()

    def run() -> None:
        try:
            machine, samples = Machine(worker), Samples(folder)
            pause = min(_FIRST_SECONDS, seconds)
            is_over = False
            while not is_over:
                is_over = over.wait(pause)
                pause = seconds
                _say(machine, samples, worker, stepped)
        except Exception:  # whatever a machine cannot tell must not end training
            _log.warning("machines are measured no more", exc_info=True)

    thread = threading.Thread(target=run, name="system", daemon=True)
    thread.start()
    try:
        yield stepped
    finally:
        over.set()
        thread.join(_CLOSE_SECONDS)


def _say(machine: Machine, samples: Samples, worker: int, outlet: _Stepped) -> None:
    mine = machine.sample()
    if worker:
        samples.leave(mine)
    elif not outlet.superseded:
        outlet.emit(SystemMeasured(step=outlet.step, workers=[mine, *samples.take()]))
