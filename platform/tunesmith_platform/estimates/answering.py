"""What answers of a model take: memory and time, by its sizes and the speed that the cluster is taken to have.

Puts `formula`, `shapes` and `speed` together; knows nothing of evaluations. Starts nothing.
"""

import datetime as dt
from pathlib import Path
from typing import NamedTuple

from tunesmith_platform.backends.compute import Compute
from tunesmith_platform.estimates import formula, speed
from tunesmith_platform.estimates.fitting import device_of, memory_of
from tunesmith_platform.estimates.shapes import model_shape, setting_of
from tunesmith_platform.sandbox import checks
from tunesmith_platform.tasks.inputs import facts_of
from tunesmith_platform.tasks.kinds.base import Asking


class Answering(NamedTuple):
    """What answers take."""

    memory_bytes: int
    """Of one worker at its peak."""
    there_is: int | None
    """Bytes that a worker may fill; None where nobody knows."""
    seconds: float
    """Of one answer and of the likelihood of the one that is expected, by the formula."""
    source: str
    measured_at: dt.datetime | None
    """When the speed was measured; None where it was not."""
    device: str


def answering(asking: Asking, compute: Compute, calibrations: Path) -> Answering:
    """What it takes to answer.

    Args:
        asking: Who is asked what.
        compute: What answers, as far as it is known.
        calibrations: Where the speed of this machine is kept.
    """
    training = asking.training
    facts = facts_of(asking.folder)
    shape = model_shape(facts, checks.model_numbers(asking.folder), training)
    device = device_of(training.model_copy(update={"device": asking.device}), compute)
    setting = setting_of(training, compute, device, asking.longest_tokens)
    width = 4.0 if setting.precision == "fp32" else 2.0
    # While they are loaded, the file is in memory beside them: 1.32 GB at the peak of SmolLM2 in fp32, 1.45 by this.
    held = formula.memory(shape, setting).weights + facts.bytes
    kept = asking.batch * asking.longest_tokens * shape.layers * shape.kv_heads * shape.head_dim * 2 * width
    logits = asking.batch * shape.vocabulary * 4.0
    # A prompt is read twice: once to answer it, once with the answer that is expected.
    tokens = 2 * asking.prompt_tokens + asking.reference_tokens + asking.new_tokens
    told = asking.reference_tokens + asking.new_tokens
    operations = 2.0 * (shape.linear_parameters * tokens + shape.hidden * shape.vocabulary * told)
    rate = speed.assumed_speed(compute, device, setting.precision, calibrations)
    source, measured_at = speed.source_of(compute, device, calibrations)
    return Answering(
        memory_bytes=round(formula.FRAMEWORK_BYTES[device] + held + kept + logits),
        there_is=memory_of(compute, device, 1),
        seconds=operations / rate,
        source=source,
        measured_at=measured_at,
        device=device,
    )
