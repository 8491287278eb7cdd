"""A GPU that is not kept busy: told once, with what is the likeliest cause and what to turn.

Knows what machines measure and what a log line holds; samples nothing itself.
"""

from collections import deque
from collections.abc import Mapping, Sequence
from statistics import fmean

from tunesmith.events import Warned, WorkerSystem

BUSY_PERCENT = 80.0
SAMPLES = 18
"""Three minutes, a sample every ten seconds: a pause for a checkpoint or an evaluation is none."""
_PADDED = 0.6
_ROOM_PERCENT = 60.0
_USE, _MEMORY = "utilization_percentage", "memory_usage_percentage"


class IdleGpu:
    """Watches how busy the GPUs are while steps are taken."""

    def __init__(self) -> None:
        self._uses: deque[tuple[int, float]] = deque(maxlen=SAMPLES)
        self._is_told = False

    def take(self, step: int, workers: Sequence[WorkerSystem], logged: Mapping[str, float]) -> Warned | None:
        """Count a sample; the warning, the one time that it is due.

        Args:
            step: The step that was last spoken of.
            workers: What each worker's machine measures.
            logged: The newest log line.
        """
        uses = _values(workers, _USE)
        if self._is_told or not uses or step < 1:
            return None
        self._uses.append((step, fmean(uses)))
        mean = fmean(use for _, use in self._uses)
        is_moving = self._uses[-1][0] > self._uses[0][0]
        if len(self._uses) < SAMPLES or not is_moving or mean >= BUSY_PERCENT:
            return None
        self._is_told = True
        cause, hint = _cause(_values(workers, _MEMORY), logged)
        message = f"The GPU was {mean:.0f} % busy over three minutes; {BUSY_PERCENT:.0f} % and more is usual. {cause}"
        return Warned(code="gpu_idle", message=message, hint=hint)


def _values(workers: Sequence[WorkerSystem], name: str) -> list[float]:
    return [
        value
        for worker in workers
        for key, value in worker.values.items()
        if key.startswith("gpu_") and key.endswith(name)
    ]


def _cause(memory: Sequence[float], logged: Mapping[str, float]) -> tuple[str, str]:
    """What is likeliest, and what to turn."""
    useful = logged.get("useful_token_share")
    if useful is not None and useful < _PADDED:
        return (
            f"Rows are short: {100 * (1 - useful):.0f} % of a batch is padding.",
            "Turn `packing` on: several rows share a sequence, and do not see each other.",
        )
    if memory and fmean(memory) < _ROOM_PERCENT:
        return (
            f"The batch is small: {fmean(memory):.0f} % of the GPU's memory is used.",
            "Raise `per_device_train_batch_size` and lower `gradient_accumulation_steps` alike, or turn "
            "`gradient_checkpointing` off.",
        )
    return (
        "Rows may be prepared more slowly than they are trained.",
        "Raise `dataloader_num_workers`, and set `dataloader_pin_memory`.",
    )
