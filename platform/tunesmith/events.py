"""What a job may report, and the envelope it travels in.

A report is a batch of events of one attempt, numbered from 1 without gaps by the job. The control plane appends
each (task, attempt, seq) exactly once, and answers how far it has read and what the user wants of the task.
"""

from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, FiniteFloat

from tunesmith.activity import Activity
from tunesmith.chat.proof import ProofState
from tunesmith.lifecycle import Desired, Reason, State
from tunesmith.limits import MAX_COUNT, MAX_SAMPLE_PROMPT
from tunesmith.metrics import system_values
from tunesmith.packaged import FilePart, PackagedFile, PackagedImportance

MAX_BATCH_EVENTS = 2000
"""Events one report may carry."""
MAX_ATTEMPT = 2**31 - 1
"""More starts of one task than a database's smaller integers can count."""
MAX_LOG_CHARACTERS = 8000
"""Characters of one log line that are kept."""
MAX_SILENT_WORKERS = 1000
MAX_SILENT_CHARACTERS = 500


class Phase(StrEnum):
    """The steps between a submit and the first optimizer step, in order."""

    ACCEPT = "accept"
    QUEUE = "queue"
    JOB = "job"
    IMPORTS = "imports"
    DATA = "data"
    WEIGHTS = "weights"
    STEP = "step"


class _Payload(BaseModel):
    # Events of a newer job must stay readable: what we stored ourselves is read leniently.
    model_config = ConfigDict(extra="ignore")


class PhaseDone(_Payload):
    """A phase of the start is over."""

    kind: Literal["phase"] = "phase"
    phase: Phase
    seconds: float = Field(ge=0)


class PhaseProgress(_Payload):
    """How far a long phase of the start is."""

    kind: Literal["phase_progress"] = "phase_progress"
    phase: Phase
    done: int = Field(ge=0, le=MAX_COUNT, description="Rows that were read so far.")
    share: float | None = Field(None, ge=0, le=1, description="Of the whole; null where that is not known.")
    seconds_left: float | None = Field(None, ge=0)


class TrainingStarted(_Payload):
    """A training worker is about to take its first step, or goes on after a restart."""

    kind: Literal["training_started"] = "training_started"
    step: int = Field(ge=0, le=MAX_COUNT, description="Optimizer steps already done.")
    total_steps: int = Field(ge=0, le=MAX_COUNT)
    restart: int = Field(0, ge=0, le=MAX_COUNT, description="How often its workers were restarted.")
    resumed_from: str | None = Field(None, description="The checkpoint it goes on from.")
    facts: dict[str, Any] = Field(
        default_factory=dict, description="What was resolved: precision, rows, tokens."
    )


class Metrics(_Payload):
    """Measurements at one step."""

    kind: Literal["metrics"] = "metrics"
    step: int = Field(ge=0, le=MAX_COUNT)
    values: dict[str, FiniteFloat]


class WorkerSystem(_Payload):
    """What one worker's machine measured."""

    worker: int = Field(ge=0, le=MAX_COUNT, description="Which worker, from 0.")
    node: str = Field("", description="The name of its machine.")
    values: dict[str, FiniteFloat] = Field(description="See `tunesmith.metrics.SYSTEM_METRICS`.")


class SystemMeasured(_Payload):
    """What the workers' machines measured: processors, memory, GPUs."""

    kind: Literal["system"] = "system"
    step: int = Field(ge=0, le=MAX_COUNT, description="How far the training was.")
    workers: list[WorkerSystem]

    @property
    def values(self) -> dict[str, float]:
        """All of it by the names of curves."""
        return system_values([worker.model_dump() for worker in self.workers])


class Progress(_Payload):
    """How far the task is."""

    kind: Literal["progress"] = "progress"
    step: int = Field(ge=0, le=MAX_COUNT)
    total_steps: int = Field(ge=0, le=MAX_COUNT)
    epoch: float = Field(0, ge=0)
    seconds_left: float | None = Field(None, ge=0)


class LogLine(_Payload):
    """A line of a log."""

    kind: Literal["log"] = "log"
    level: Literal["debug", "info", "warning", "error"] = "info"
    source: str = Field("worker-0", description="Who said it: driver, worker-N, platform.")
    message: str = Field(max_length=MAX_LOG_CHARACTERS)


class SampleAnswer(_Payload):
    """What a model that trains writes to one of its sample prompts."""

    prompt: str = Field(max_length=MAX_SAMPLE_PROMPT)
    text: str
    finish_reason: Literal["stop", "length"]


class SamplesAnswered(_Payload):
    """The sample prompts of a training were answered, by the likeliest token each time."""

    kind: Literal["samples"] = "samples"
    step: int = Field(ge=0, le=MAX_COUNT)
    answers: list[SampleAnswer]
    seconds: float = Field(0, ge=0, description="What it took.")


class CheckpointSaved(_Payload):
    """A checkpoint is complete in the storage: all files there, the manifest written last."""

    kind: Literal["checkpoint"] = "checkpoint"
    step: int = Field(ge=0, le=MAX_COUNT)
    uri: str
    bytes: int = Field(ge=0, le=MAX_COUNT)
    files: int = Field(ge=0, le=MAX_COUNT)
    manifest_sha256: str
    metrics: dict[str, FiniteFloat] = Field(default_factory=dict)
    best: bool = Field(False, description="Whether it is the best evaluated checkpoint so far.")


class CheckpointRemoved(_Payload):
    """A checkpoint was removed to keep within `save_total_limit`."""

    kind: Literal["checkpoint_removed"] = "checkpoint_removed"
    step: int = Field(ge=0, le=MAX_COUNT)


class DatasetMade(_Payload):
    """A file of rows is complete where it stays. The control plane enters it as a version of a data set."""

    kind: Literal["dataset_made"] = "dataset_made"
    output: str = Field(description="`data`, or the part of a split.")
    path: str = Field(description="The file, or its URI.")
    file_name: str
    rows: int = Field(ge=0, le=MAX_COUNT)
    bytes: int = Field(ge=0, le=MAX_COUNT)
    sha256: str
    columns: list[str] = Field(default_factory=list)
    rows_hold: str = Field("unknown", description="See `VersionView.kind`.")
    parts: list[int] = Field(
        default_factory=list, description="See `Lineage.parts`: rows, in their sources' order."
    )


class Scored(_Payload):
    """How far a candidate of an evaluation is, and how it does so far."""

    kind: Literal["scored"] = "scored"
    candidate: str = Field(description="Its key: `base`, `TASK/checkpoint-40`.")
    label: str
    step: int = Field(0, ge=0, le=MAX_COUNT)
    answered: int = Field(ge=0, le=MAX_COUNT)
    total: int = Field(ge=0, le=MAX_COUNT)
    cached: int = Field(0, ge=0, le=MAX_COUNT, description="Answers that were known already.")
    means: dict[str, FiniteFloat] = Field(
        default_factory=dict, description="Mean of each score; empty until it is scored."
    )


class EvaluationMade(_Payload):
    """An evaluation is complete in the storage."""

    kind: Literal["evaluation_made"] = "evaluation_made"
    uri: str = Field(description="The folder with `result.json`, the tables and the reports.")
    sha256: str = Field(description="Of `result.json`.")
    comparable_by: str = Field(description="See `EvaluationResult.comparable_by`.")
    recommended: str | None = Field(None, description="The key of the candidate that is recommended.")
    task_id: str | None = Field(None, description="The task of that candidate's checkpoint.")
    step: int | None = Field(None, ge=0, le=MAX_COUNT, description="Its step.")
    means: dict[str, dict[str, FiniteFloat]] = Field(
        default_factory=dict, description="Mean of each score by candidates."
    )
    sentence: dict[str, str] = Field(default_factory=dict, description="What is said of it, by language.")
    is_partial: bool = Field(False, description="Whether it was stopped before every candidate was scored.")
    answer_seconds: FiniteFloat | None = Field(
        None, gt=0, description="What passed for an answer, of those that were computed; null where none was."
    )
    judge_seconds: FiniteFloat | None = Field(
        None, gt=0, description="What passed for a verdict of the judge; null where it was asked for none."
    )


class PackageMade(_Payload):
    """GGUF files are complete in the storage."""

    kind: Literal["package_made"] = "package_made"
    uri: str = Field(description="The folder.")
    step: int = Field(0, ge=0, le=MAX_COUNT, description="Of the checkpoint.")
    files: list[PackagedFile] = Field(max_length=100)
    others: list[FilePart] = Field(
        default_factory=list,
        max_length=1000,
        description="What lies beside them: the card, proofs, Modelfiles, the adapter's zip.",
    )
    importance: PackagedImportance | None = None
    version: str = Field("", max_length=40, description="Of the llama.cpp that they were proven with.")


class Serving(_Payload):
    """What a served model is doing: deployed, loading, ready, scaled to zero."""

    kind: Literal["serving"] = "serving"
    state: Literal["deploying", "ready", "loading", "loaded", "unloaded", "idle", "failed"]
    model: str | None = Field(None, description="Its name, where it is about one of several; never a prompt.")
    message: str = Field("", max_length=2000)
    seconds: float | None = Field(None, ge=0)
    bytes: int | None = Field(None, ge=0, le=MAX_COUNT, description="Of memory that it takes.")
    weights: str = Field("", max_length=100, description="What tells what is loaded from all other weights.")
    engine: str = Field("", max_length=40, description="What answers with it: `llama_cpp`, `transformers`.")
    version: str = Field("", max_length=40, description="The engine's.")
    file_type: str = Field("", max_length=20, description="What the weights are stored as: `F16`, ...")


class ModelProven(_Payload):
    """What a served model computes was held against the model itself."""

    kind: Literal["model_proven"] = "model_proven"
    engine: str = Field(max_length=40)
    version: str = Field(max_length=40)
    file_type: str = Field(max_length=20)
    state: ProofState
    words: dict[str, str] = Field(default_factory=dict, description="What it comes to, by language.")
    kl_mean: FiniteFloat | None = Field(None, description="Mean difference of the next token, in nats (KL).")
    kl_p99: FiniteFloat | None = Field(None, description="99 of 100 tokens differ by less.")
    top1: FiniteFloat | None = Field(
        None, description="Share of tokens whose likeliest next token is the same."
    )
    tokens: int = Field(0, ge=0, le=MAX_COUNT, description="How many were looked at.")
    conversations: int = Field(0, ge=0, le=MAX_COUNT, description="In how many conversations.")


class Warned(_Payload):
    """Something a user should know, with a stable code."""

    kind: Literal["warning"] = "warning"
    code: str
    message: str
    hint: str | None = None


class Finished(_Payload):
    """The job's last word."""

    kind: Literal["finished"] = "finished"
    outcome: State = Field(description="completed, stopped or failed.")
    reason: Reason
    message: str = ""
    model_uri: str | None = Field(None, description="Where the final model lies.")


class StateChanged(_Payload):
    """The task moved to another state. Only the control plane says this."""

    kind: Literal["state"] = "state"
    state: State
    reason: Reason | None = None
    message: str = ""


_OfJobs = (
    PhaseDone
    | PhaseProgress
    | TrainingStarted
    | Metrics
    | SystemMeasured
    | Progress
    | LogLine
    | SamplesAnswered
    | CheckpointSaved
    | CheckpointRemoved
    | DatasetMade
    | Scored
    | EvaluationMade
    | PackageMade
    | Serving
    | ModelProven
    | Warned
    | Finished
)
JobPayload = Annotated[_OfJobs, Field(discriminator="kind")]
AnyPayload = Annotated[_OfJobs | StateChanged, Field(discriminator="kind")]


class JobEvent(BaseModel):
    """One event as the job numbers it."""

    seq: int = Field(ge=1, le=MAX_COUNT, description="Number within the attempt, from 1, without gaps.")
    time: AwareDatetime = Field(description="When it happened, on the job's clock, with its time zone.")
    payload: JobPayload


class SilentWorker(BaseModel):
    """A worker that gives no sign of life, as its attempt's driver sees it."""

    model_config = ConfigDict(extra="forbid")
    worker: int = Field(ge=0, description="Which worker, from 0.")
    seconds: float = Field(ge=0, description="For how long.")
    message: str = Field(max_length=MAX_SILENT_CHARACTERS, description="What is known of its process.")


class Report(BaseModel):
    """A batch of one attempt's events. An empty batch is a heartbeat, unless it speaks of silent workers."""

    model_config = ConfigDict(extra="forbid")
    attempt: int = Field(ge=1, le=MAX_ATTEMPT)
    events: list[JobEvent] = Field(default_factory=list, max_length=MAX_BATCH_EVENTS)
    silent: list[SilentWorker] | None = Field(
        None,
        max_length=MAX_SILENT_WORKERS,
        description="From the driver, in place of events: the workers that give no sign of life; none are left.",
    )
    activity: Activity | None = Field(None, description="What the job is busy with, and how far it is.")


class ReportReceipt(BaseModel):
    """How far the control plane has read, and what the user wants."""

    last_seq: int = Field(ge=0, description="The last event of this attempt that is stored.")
    desired: Desired
    save_now: int = Field(0, ge=0, description="How often a checkpoint was asked for; a rise asks for one.")
    pinned: list[int] = Field(
        default_factory=list,
        description="Steps whose checkpoints are not removed: pinned, in use by other tasks, or wanted for their "
        "scores.",
    )
    early_stop: str | None = Field(
        None, description="Why to end as if the last step was done: its checkpoints' scores do not improve."
    )
    listed: list[int] | None = Field(
        None,
        description="Steps of the task's checkpoints that are listed; told to who asks, not with each report.",
    )
