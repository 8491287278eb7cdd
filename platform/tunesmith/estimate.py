"""What an estimate says of a run before it starts: steps, tokens, disk, memory, time, and what would need less.

Read leniently, as every view. Knows shapes; how the numbers come about, the platform knows.
"""

import datetime as dt
from enum import StrEnum
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from tunesmith.spec.base import Notice


class _View(BaseModel):
    model_config = ConfigDict(extra="ignore")


class Level(StrEnum):
    """Where the memory and the time come from."""

    FORMULA = "formula"
    MEASURED = "measured"


class MeasurementState(StrEnum):
    """How far a measurement is."""

    MEASURING = "measuring"
    DONE = "done"
    FAILED = "failed"


class DataView(_View):
    """What the rows come to once they are tokens."""

    rows: int = Field(description="Rows that are trained on, held-out ones not counted.")
    eval_rows: int = 0
    is_sample: bool = Field(description="Whether token counts come from a seeded sample of the rows.")
    looked_at: int = Field(description="Rows whose tokens were counted.")
    cut_share: float = Field(description="Share of rows longer than `max_length`.")
    dropped_share: float = Field(
        description="Share of rows of which nothing is left to train within `max_length`."
    )
    tokens: int = Field(description="Tokens an epoch after the cut.")
    tokens_lost: int = Field(description="Tokens an epoch that the cut takes away.")
    supervised_tokens: int = Field(description="Tokens an epoch that are trained.")
    mean_tokens: float = Field(description="Tokens of a row after the cut.")
    longest_tokens: int
    padding_share: float = Field(description="Share of places in the batches that hold padding.")
    padding_share_packed: float = Field(description="The same if rows were packed to `max_length`.")
    is_unpacked: bool = Field(
        False,
        description="Whether each document of a full sequence is computed as a row of its own, since in this model it "
        "would see the others.",
    )


class StepsView(_View):
    """What the run does, in optimizer steps."""

    steps_per_epoch: int
    total_steps: int
    warmup_steps: int
    evaluations: int
    checkpoints: int = Field(description="Saved checkpoints, the final one included: the quota it takes.")


class DiskView(_View):
    """What the run leaves on disk."""

    checkpoint_bytes: int
    kept: int = Field(description="Checkpoints that `save_total_limit` keeps.")
    final_bytes: int = Field(description="The final model.")
    final_kind: str = Field("", description="What it is: `adapter`, `full` or `merged`.")
    total_bytes: int = Field(description="At its most: the kept ones, one on its way, and the final model.")
    free_bytes: int | None = Field(None, description="What there is; null where the storage does not say.")


class MemoryView(_View):
    """Memory of one worker by part, in bytes."""

    weights: int
    gradients: int
    optimizer: int
    activations: int
    logits: int
    framework: int = Field(description="Python, PyTorch and the libraries before there is a model.")
    peak: int


class SpeedView(_View):
    """How long it takes, in seconds."""

    seconds_per_step: float
    training_seconds: float
    start_seconds: float = Field(description="From the submit to the first step.")
    total_seconds: float
    source: str = Field(description="What the speed was taken from, in words.")
    measured_at: dt.datetime | None = Field(
        None, description="When that speed was measured; null where it was not."
    )


class SettingView(_View):
    """A setting with what it needs; `change` is what differs from the parameters that were given."""

    name: str
    change: dict[str, Any] = Field(default_factory=dict)
    memory: MemoryView
    seconds_per_step: float
    fits: bool | None = Field(description="Null where the memory that there is is not known.")


class HardwareView(_View):
    """What the estimate is compared with."""

    device: str = Field(description="`cpu` or `gpu`.")
    name: str
    precision: str
    workers: int
    memory_bytes: int | None = Field(
        description="Memory that a worker may fill; null where the cluster does not say."
    )


class MeasurementView(_View):
    """Two real optimizer steps on the longest batch, and some on typical ones."""

    id: str
    state: MeasurementState
    message: str = ""
    peak_bytes: int | None = None
    seconds_per_step: float | None = Field(None, description="On typical batches.")
    longest_step_seconds: float | None = None
    start_seconds: float | None = Field(None, description="Loading libraries, data and model.")
    longest_batch_tokens: int | None = None
    created_at: dt.datetime


class EstimateView(_View):
    """An estimate of a run."""

    level: Level
    steps: StepsView
    data: DataView
    disk: DiskView
    memory: MemoryView = Field(
        description="As the formula splits it; `peak` is measured at level `measured`."
    )
    time: SpeedView
    hardware: HardwareView
    trainable_parameters: int
    parameters: int
    fits: bool | None = Field(
        description="Whether memory and disk suffice; null where the memory that there is is not known."
    )
    recommendation: str = Field(
        "", description="What to change when it does not fit. Nothing is applied by itself."
    )
    recommended: dict[str, Any] = Field(default_factory=dict, description="The same as parameters.")
    settings: list[SettingView] = Field(
        default_factory=list, description="Settings that need less memory, the cheapest change first."
    )
    measurement: MeasurementView | None = None
    notices: list[Notice] = Field(default_factory=list)
