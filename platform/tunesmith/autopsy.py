"""What an ended task leaves to look at: the facts of its end on one page.

Read leniently (unknown keys are passed over), as every answer of the API.
"""

import datetime as dt

from pydantic import BaseModel, ConfigDict, Field

from tunesmith import views
from tunesmith.errors import Fault
from tunesmith.lifecycle import Reason, State


class _View(BaseModel):
    model_config = ConfigDict(extra="ignore")


class AttemptFacts(_View):
    """One start of the task."""

    number: int
    created_at: dt.datetime
    training_started_at: dt.datetime | None = None
    ended_at: dt.datetime | None = None
    outcome: State | None = Field(
        None, description="What the job itself said at its end; null when it fell silent."
    )
    reason: Reason | None = None
    message: str = ""
    was_killed: bool = Field(False, description="Whether the platform ended it.")


class WorkerLines(_View):
    """The last lines that one worker said."""

    source: str = Field(description="driver, worker-N, or platform.")
    lines: list[views.LogView]


class WorkerMemory(_View):
    """The memory of one worker and of its node over time: also while the model is loaded, before the first step."""

    source: str = Field(description="worker-N.")
    node: str = Field("", description="The name of its machine.")
    memory: list[views.MetricPoint] = Field(description="The worker's memory in bytes, oldest first.")
    peak_bytes: float
    least_free_bytes: float | None = Field(None, description="The least that was free on the node.")
    gpu_peak_bytes: float | None = Field(None, description="The most that was in use of one of its GPUs.")


class WarningFacts(_View):
    """A warning, and when it came."""

    n: int
    time: dt.datetime
    code: str
    message: str
    hint: str | None = None


class Autopsy(_View):
    """Why a task ended, whose fault that was, what it said last, and what to do next."""

    task_id: str
    name: str
    state: State
    reason: Reason | None = None
    cause: str = Field(description="Why it ended, as a sentence; of a task that is not over, where it is.")
    message: str = Field("", description="The particulars, in the job's own words.")
    fault: Fault | None = None
    is_retryable: bool = Field(False, description="Whether the same again may succeed.")
    next_step: str | None = None
    ended_at: dt.datetime | None = None
    last_step: int = 0
    total_steps: int = 0
    last_checkpoint: views.CheckpointView | None = None
    steps_lost: int = Field(0, description="Steps after the last checkpoint: a continuation does them again.")
    restarts: int = Field(0, description="How often it was started again after it was lost.")
    attempts: list[AttemptFacts] = Field(default_factory=list)
    warnings: list[WarningFacts] = Field(default_factory=list, description="The last ones, oldest first.")
    workers: list[WorkerLines] = Field(default_factory=list)
    memory: list[views.MetricPoint] = Field(
        default_factory=list, description="The worker's memory in bytes, by step."
    )
    peak_memory_bytes: float | None = None
    machines: list[WorkerMemory] = Field(
        default_factory=list, description="The memory of each worker by the clock, about every ten seconds."
    )
