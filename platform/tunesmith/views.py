"""What the API answers: the shapes that the client, the CLI and the studio read.

Read leniently (unknown keys are passed over), so that a newer server can talk to an older client.
"""

import datetime as dt
from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from tunesmith.activity import ActivityKind, Unit
from tunesmith.errors import Fault
from tunesmith.events import AnyPayload
from tunesmith.lifecycle import Desired, Reason, State, WaitsFor
from tunesmith.spec.base import Notice

Item = TypeVar("Item")


class _View(BaseModel):
    model_config = ConfigDict(extra="ignore")


class Page(_View, Generic[Item]):
    """Part of a list. Ask again with `after=<next>` until `has_more` is false."""

    data: list[Item]
    has_more: bool
    next: str | None = Field(None, description="The cursor of the next page; null on the last one.")

    @classmethod
    def of(cls, found: Sequence[Item], limit: int, cursor: Callable[[Item], str | int]) -> "Page[Item]":
        """The first of what was found.

        Args:
            found: One more than asked for, where there are more.
            limit: How many were asked for.
            cursor: What is asked for after an entry.
        """
        data, more = list(found[:limit]), len(found) > limit
        return cls(data=data, has_more=more, next=str(cursor(data[-1])) if more else None)


class Health(StrEnum):
    """Whether a running task was heard of lately."""

    LIVE = "live"
    RECOVERING = "recovering"


class ProgressView(_View):
    """How far a task is."""

    step: int = 0
    total_steps: int = 0
    epoch: float = 0
    percent: float = 0
    seconds_left: float | None = None
    loss: float | None = None
    tokens_per_second: float | None = None
    best_step: int | None = Field(None, description="The step of the best evaluated checkpoint.")


class ActivityView(_View):
    """What a running task is busy with besides its steps, and how far it is."""

    kind: ActivityKind
    done: int
    total: int | None = Field(None, description="Of how much; null where that is not known.")
    unit: Unit
    text_en: str = Field(description="It in words: `Saving: 1.2 of 3.4 GB`.")
    text_zh: str


class TaskView(_View):
    """A task as it stands."""

    id: str
    kind: str = Field(description="Its kind of task.")
    name: str
    project: str
    state: State
    desired: Desired
    reason: Reason | None = None
    message: str = Field("", description="Why it is where it is, in words.")
    next_step: str | None = Field(None, description="What the user may do next, once it has ended.")
    fault: Fault | None = None
    waits_for: WaitsFor | None = Field(None, description="What a pending task waits for.")
    queue_place: int | None = Field(
        None,
        ge=1,
        description="Its place among those that wait for the same room, 1 being next; where one task is asked for.",
    )
    health: Health | None = Field(None, description="Of a running task: live, or recovering.")
    priority: int
    tags: list[str]
    notes: str
    attempt: int = Field(description="How often it was started; every report carries it.")
    progress: ProgressView
    activity: ActivityView | None = Field(
        None, description="What it is busy with besides its steps; a stop waits as long as this gets on."
    )
    spec: dict[str, Any] = Field(description="The parameters, frozen at submit.")
    notices: list[Notice] = Field(default_factory=list, description="What was mapped or has no effect.")
    events: int = Field(description="Number of its newest event.")
    template: str | None = Field(None, description="The template that its parameters were taken from.")
    parent_id: str | None = Field(
        None, description="The task that it was cloned from, or whose weights it starts from."
    )
    parent_step: int | None = Field(
        None, description="The step of that task's checkpoint; null for a clone, which starts anew."
    )
    artifact_uri: str | None = Field(None, description="Where its files lie.")
    model_uri: str | None = Field(None, description="Where its final model lies.")
    datasets: list[str] = Field(
        default_factory=list, description="The versions of data sets that it made, as `name@number`."
    )
    mlflow_run_id: str | None = None
    mlflow_url: str | None = None
    created_at: dt.datetime
    started_at: dt.datetime | None = None
    ended_at: dt.datetime | None = None
    heartbeat_at: dt.datetime | None = None


class EventView(_View):
    """One entry of a task's event log."""

    n: int = Field(description="Number within the task: the id of the live stream.")
    attempt: int
    time: dt.datetime
    payload: AnyPayload


class MetricPoint(_View):
    """One measurement."""

    step: int
    value: float
    time: dt.datetime
    attempt: int


class Metrics(_View):
    """A task's curves by metric name, one point a step: where a step was done again, the newest counts."""

    series: dict[str, list[MetricPoint]]


class StepRows(_View):
    """The rows of the training file that one optimizer step trains on."""

    task_id: str
    step: int
    epoch: int = Field(description="From 0.")
    steps_per_epoch: int
    file: str = Field(description="The task's `train_file`.")
    rows: list[int] = Field(description="Line numbers, or element numbers of a JSON array, from 1.")


class TaskCheck(_View):
    """What a task would be, had it been submitted. Nothing was started, and no name was taken."""

    kind: str
    spec: dict[str, Any] = Field(description="Every parameter as the task would keep it.")
    notices: list[Notice] = Field(
        default_factory=list, description="What was understood though it was said in another way."
    )
    rows: int | None = Field(None, description="Rows of the training file, where they were counted.")


class CheckpointView(_View):
    """A checkpoint that is complete and verified."""

    task_id: str
    step: int
    name: str
    attempt: int
    uri: str
    bytes: int
    files: int
    manifest_sha256: str
    metrics: dict[str, float] = Field(default_factory=dict)
    is_best: bool = Field(False, description="The best evaluated one, by `metric_for_best_model`.")
    is_pinned: bool = Field(False, description="Its task never removes it.")
    is_recommended: bool = Field(False, description="The newest evaluation that saw it recommends it.")
    created_at: dt.datetime


class SaveRequestView(_View):
    """A checkpoint that was asked for."""

    task_id: str
    requests: int = Field(description="How often one was asked for so far.")


class LogView(_View):
    """One line of a task's log."""

    n: int
    time: dt.datetime
    level: str
    source: str
    message: str


class PartHealth(_View):
    """Whether a part of the platform answers."""

    name: str
    ok: bool
    message: str = ""


class SystemView(_View):
    """The platform's parts, its limits and what it counts."""

    version: str
    parts: list[PartHealth]
    tasks_by_state: dict[str, int]
    max_concurrent_jobs: int
    warm_runners: int = Field(0, description="Processes that wait, all imports done, for a task to run.")
    allowed_roots: list[str]
    mlflow_url: str | None


class MlflowLink(_View):
    """Where a browser comes into MLflow."""

    url: str
    valid_seconds: int | None = Field(
        description="How long it counts, for one browser; null where MLflow asks for nothing and it is a plain link."
    )


class QuotaView(_View):
    """A project's training quota: each saved checkpoint consumes one, and each package."""

    project: str
    enabled: bool = Field(description="Whether submits reserve and checkpoints are charged.")
    low_threshold: int = Field(description="A task is warned when no more than this is available.")
    granted: int
    charged: int = Field(description="Checkpoints that were saved, and packages.")
    reserved: int = Field(description="Held for checkpoints that tasks still plan.")
    available: int = Field(description="`granted - charged - reserved`: what new tasks may reserve.")
    packages: int = Field(0, description="Packages whose files are there; each consumed one.")
    package_bytes: int = Field(0, description="What these take of the storage.")


class QuotaKind(StrEnum):
    """What an entry of the quota ledger records."""

    GRANT = "grant"
    RESERVE = "reserve"
    CHARGE = "charge"
    RELEASE = "release"


class QuotaEntryView(_View):
    """One entry of a project's quota ledger."""

    id: int
    project: str
    time: dt.datetime
    kind: QuotaKind
    amount: int = Field(description="Change of the balance: a grant, or -1 for a checkpoint.")
    reserved: int = Field(description="Change of what is held for tasks.")
    available: int = Field(description="What was available after it.")
    task_id: str | None = None
    step: int | None = Field(None, description="The checkpoint that was charged.")
    note: str = ""
    by: str = Field(description="Whose key it came from; `platform` where tasks go their way.")


class ParameterDifference(_View):
    """A parameter that two tasks do not have alike."""

    name: str
    label_en: str
    label_zh: str
    a: Any = Field(description="Its value in the first task.")
    b: Any = Field(description="Its value in the second task.")


class TaskDiff(_View):
    """In which parameters two tasks differ."""

    a: TaskView
    b: TaskView
    differences: list[ParameterDifference]
