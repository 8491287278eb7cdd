"""Around the steps: what was resolved is reported and kept, what a trainer before held is given back.

Knows the model, the rows and the store; knows nothing of how a run goes.
"""

import gc
import logging
from collections.abc import Sequence
from typing import Any

from tunesmith.dataset_views import Part
from tunesmith.rows.order import ORDER_FILE, RowOrder
from tunesmith.spec.training import TrainSpec

_log = logging.getLogger("tunesmith_jobs.train")


def facts_of(choice: Any, data: Any, model: Any, spec: TrainSpec) -> dict[str, Any]:
    """What was resolved, for the task's page."""
    import torch

    from tunesmith_jobs.models import build as models

    return (
        {
            "threads": torch.get_num_threads(),
        }
        | data.facts()
        | choice.facts()
        | models.facts(model, spec)
    )


def parts_of(parts: Sequence[Part]) -> dict[str, Any]:
    """How many rows each data set gave, where several were mixed."""
    return {"rows_by_dataset": [part.model_dump() for part in parts]} if parts else {}


def write_order(store: Any, spec: TrainSpec, data: Any) -> None:
    """Keep which rows every step takes. Training does not wait for it to work."""
    bounds, numbers = data.rows.origins
    batch = spec.per_device_train_batch_size * spec.gradient_accumulation_steps * spec.workers[1]
    order = RowOrder(spec.seed, spec.reshuffle_each_epoch, batch, bounds.tolist(), numbers.tolist())
    try:
        store.write(ORDER_FILE, order.encode())
    except OSError:
        _log.exception("which rows every step takes was not stored")


def free_memory() -> None:
    """Give back what the trainer before held."""
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def memory_bytes(device: Any) -> int:
    """What the worker holds now: GPU memory reserved, or its resident memory."""
    import torch

    if device.type == "cuda":
        return int(torch.cuda.memory_reserved(device))
    import psutil

    return int(psutil.Process().memory_info().rss)
