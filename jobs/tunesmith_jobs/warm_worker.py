"""The warm worker: a process that has done, before a task is known, what every task does first.

It loads what the work of each kind loads that warm runners serve, and rehearses. It reserves nothing and touches no GPU
until it is given a task, and takes one task in its life. Others may compute meanwhile: it warms up with what processor
time they leave, and only where there is memory to spare.
"""

import contextlib
import logging
import math
import os
import tempfile
import threading
from pathlib import Path

import psutil

from tunesmith.spec.kinds import Feature, supporting
from tunesmith_jobs import worker
from tunesmith_jobs.memory import spare_share
from tunesmith_jobs.models.libraries import prepare_libraries
from tunesmith_jobs.program import program_of

WARM_BYTES = 2**30
"""What a warm runner holds, with its driver."""
_LEAST_SHARE = 0.08
"""Of the memory, to be left to others. Ray ends processes, perhaps one that trains, at a twentieth."""
_NICENESS = 19
_log = logging.getLogger("tunesmith_jobs.warm")


class Worker:
    """What the driver calls; Ray's actor. It ends with its driver."""

    def warm(self, cpus: float, has_gpus: bool) -> None:
        """Import, and rehearse.

        Args:
            cpus: How many processors the task will probably have.
            has_gpus: Whether tasks may get a GPU. Which one is known only with the task: none is touched until then.
        """
        if not self.has_room(WARM_BYTES):
            return
        # In a thread, because a priority that was lowered cannot be raised again; all that computes later is new
        # threads of the main one's.
        thread = threading.Thread(target=self._warm, args=(cpus, has_gpus), name="warming")
        thread.start()
        thread.join()

    def _warm(self, cpus: float, has_gpus: bool) -> None:
        with contextlib.suppress(OSError):  # a system that knows no priority of a thread
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)
        # Makes `torch.cuda.is_available` ask the driver's library, which leaves CUDA uninitialised.
        os.environ["PYTORCH_NVML_BASED_CUDA_CHECK"] = "1"
        _set_threads(cpus)
        prepare_libraries()
        for kind in supporting(Feature.WARM):
            try:
                with tempfile.TemporaryDirectory(prefix="tunesmith-rehearsal-") as folder:
                    program_of(kind).warm_up(Path(folder), can_compute=not has_gpus)
            except Exception:
                _log.exception("warming up for `%s` failed; its first task does more itself", kind)

    def has_room(self, beside: int = 0) -> bool:
        """Whether its node has memory for a process that only waits.

        Args:
            beside: Bytes that will be taken beside what is taken now.
        """
        return spare_share(beside) >= _LEAST_SHARE

    def work(self, uri: str, cpus: float, devices: str | None) -> bool:
        """Do an attempt's work.

        Args:
            uri: Of its document.
            cpus: How many processors are reserved for it.
            devices: The reserved GPUs, as in `CUDA_VISIBLE_DEVICES`.

        Returns:
            False when this process cannot use its GPUs: nothing was done.
        """
        _set_threads(cpus)
        if devices is not None:
            os.environ["CUDA_VISIBLE_DEVICES"] = devices
            if not _has_gpus(len(devices.split(","))):
                return False
        worker.work(uri)
        return True


def _has_gpus(count: int) -> bool:
    """Whether CUDA, which comes up only now, sees the reserved GPUs."""
    import torch

    try:
        torch.zeros(1, device="cuda")
    except (RuntimeError, AssertionError):
        _log.exception("CUDA does not come up in this process")
        return False
    return torch.cuda.device_count() == count


def visible_devices() -> str:
    """The GPUs that Ray gave the process that calls this."""
    return os.environ["CUDA_VISIBLE_DEVICES"]


def _set_threads(cpus: float) -> None:
    """Do what Ray does for a worker that reserves processors; for one that reserves none it has set 1."""
    try:
        ours = psutil.Process(os.getppid()).environ().get("OMP_NUM_THREADS")
    except psutil.Error:
        ours = None
    os.environ["OMP_NUM_THREADS"] = ours or str(max(1, math.floor(cpus)))
