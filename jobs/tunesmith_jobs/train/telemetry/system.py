"""What the machines do while they train: processors, memory, GPUs. Sampled by a thread; a step waits for none of it.

Every worker samples its own machine. The first one reports for all: the others put their newest sample into the store
by which their process group met, which reaches every node; without a group, in a small file of the task's work folder.
Knows psutil and NVML; of training it knows the step that was last spoken of, and whether there is a group.
"""

import contextlib
import datetime as dt
import importlib
import json
import logging
import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

import psutil
from pydantic import ValidationError

from tunesmith.events import JobPayload, Metrics, Progress, SystemMeasured, TrainingStarted, WorkerSystem
from tunesmith_jobs.outlet import Outlet, Relay
from tunesmith_jobs.train.telemetry.idle_gpu import IdleGpu

SAMPLE_SECONDS = 10.0
_FIRST_SECONDS = 2.0
_MB = 1e6
_CLOSE_SECONDS = 2.0
_KEY = "tunesmith/system/{}"
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


class Store(Protocol):
    """What the workers of a process group have in common: bytes by name. `torch.distributed`'s own is one."""

    def set(self, key: str, value: str, /) -> None:
        """Keep a value."""

    def check(self, keys: list[str], /) -> bool:
        """Whether all of these are there."""

    def get(self, key: str, /) -> bytes:
        """What is kept; waits for it where it is not there."""


def common_store() -> tuple[Store, int] | None:
    """The store of this worker's process group, and how many workers that has; None while there is no group."""
    # What trains imports it; that may be going on just now, in another thread.
    group: Any = sys.modules.get("torch.distributed")
    if not getattr(group, "is_initialized", lambda: False)():
        return None
    return group.distributed_c10d._get_default_store(), group.get_world_size()


class Samples:
    """The newest sample of each worker but the first: in the store of their process group, else in files.

    Args:
        folder: For the files. The first worker sees those of its own node, and of nodes that share the folder.
        common: Finds the store.
    """

    def __init__(self, folder: Path, common: Callable[[], tuple[Store, int] | None] = common_store) -> None:
        self._folder = folder
        self._common = common
        self._seen: dict[str, object] = {}

    def put(self, sample: WorkerSystem) -> None:
        """Put this worker's newest sample where the first worker finds it."""
        with contextlib.suppress(Exception):  # a group ends when it likes; then there is the folder
            common = self._common()
            if common is not None:
                common[0].set(_KEY.format(sample.worker), f"{time.time_ns()} {sample.model_dump_json()}")
                return
        self._folder.mkdir(parents=True, exist_ok=True)
        target = self._folder / f"worker-{sample.worker}.json"
        draft = target.with_suffix(".part")
        draft.write_text(sample.model_dump_json())
        draft.replace(target)

    def take(self) -> list[WorkerSystem]:
        """What the other workers left since the last time."""
        found = {sample.worker: sample for sample in self._filed()}
        with contextlib.suppress(Exception):  # as in `put`
            found |= {sample.worker: sample for sample in self._stored()}
        return [found[worker] for worker in sorted(found)]

    def _stored(self) -> Iterator[WorkerSystem]:
        common = self._common()
        if common is None:
            return
        store, workers = common
        for key in (_KEY.format(worker) for worker in range(1, workers)):
            if store.check([key]):
                written, _, sample = store.get(key).partition(b" ")
                if self._seen.get(key) != written:
                    yield WorkerSystem.model_validate_json(sample)
                    self._seen[key] = written

    def _filed(self) -> Iterator[WorkerSystem]:
        for file in self._folder.glob("worker-*.json"):
            with contextlib.suppress(OSError, ValidationError, json.JSONDecodeError):
                written = file.stat().st_mtime_ns
                if self._seen.get(file.name) != written:
                    yield WorkerSystem.model_validate_json(file.read_bytes())
                    self._seen[file.name] = written


class _Stepped(Relay):
    """An outlet that remembers the step that was last spoken of, and the newest log line."""

    def __init__(self, outlet: Outlet) -> None:
        super().__init__(outlet)
        self.step = 0
        self.logged: dict[str, float] = {}

    def emit(self, payload: JobPayload, time: dt.datetime | None = None) -> None:
        if isinstance(payload, TrainingStarted | Metrics | Progress):  # a checkpoint may be an older step's
            self.step = payload.step
        if isinstance(payload, Metrics) and "loss" in payload.values:
            self.logged = dict(payload.values)
        super().emit(payload, time)


@contextlib.contextmanager
def sampled(outlet: Outlet, folder: Path, worker: int, seconds: float = SAMPLE_SECONDS) -> Iterator[Outlet]:
    """Sample this worker's machine while the context lasts, and once more at its end.

    Args:
        outlet: The first worker's takes the samples of all.
        folder: Of an attempt; see `Samples`.
        worker: Which one this is.
        seconds: From one sample to the next.

    Yields:
        The outlet to speak through.
    """
    stepped, over = _Stepped(outlet), threading.Event()

    def run() -> None:
        try:
            machine, samples, idle = Machine(worker), Samples(folder), IdleGpu()
        except BaseException:  # whatever a machine cannot tell must not end training
            _log.warning("machines are not measured", exc_info=True)
            return
        pause = min(_FIRST_SECONDS, seconds)
        is_over, failures = False, 0
        while not is_over:
            is_over = over.wait(pause)
            pause = seconds
            try:
                _say(machine, samples, worker, stepped, idle)
                failures = 0
            except BaseException:  # the next sample may succeed
                failures += 1
                if failures == 1:
                    _log.warning("a machine could not be measured", exc_info=True)

    thread = threading.Thread(target=run, name="system", daemon=True)
    thread.start()
    try:
        yield stepped
    finally:
        over.set()
        thread.join(_CLOSE_SECONDS)


def _say(machine: Machine, samples: Samples, worker: int, outlet: _Stepped, idle: IdleGpu) -> None:
    mine = machine.sample()
    if worker:
        samples.put(mine)
    elif not outlet.superseded:
        workers = [mine, *samples.take()]
        outlet.emit(SystemMeasured(step=outlet.step, workers=workers))
        if (warning := idle.take(outlet.step, workers, outlet.logged)) is not None:
            outlet.emit(warning)
