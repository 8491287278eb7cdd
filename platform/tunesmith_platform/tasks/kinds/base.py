"""What the platform asks of a kind of task, and what it does with one that answers nothing of its own.

Everything outside this folder is written once for all kinds and asks here. Knows tasks; knows no kind.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import tunesmith
from tunesmith import views
from tunesmith.data_step import DataOutput
from tunesmith.errors import Conflict, InvalidInput
from tunesmith.job import AttemptDocument, read_secret, report_token
from tunesmith.spec.base import Notice, Spec
from tunesmith.spec.kinds import Kind
from tunesmith.spec.pipeline import Step
from tunesmith.spec.task import MoreSteps, NewTask
from tunesmith.spec.training import TrainSpec
from tunesmith.spec.variables import resolve
from tunesmith_platform.backends.compute import ComputeService
from tunesmith_platform.backends.protocols import RowsUsed
from tunesmith_platform.clock import now
from tunesmith_platform.db.engine import Database
from tunesmith_platform.db.tables import CheckpointRow, TaskRow
from tunesmith_platform.scope import Scope
from tunesmith_platform.settings import Settings
from tunesmith_platform.tasks.find_inputs import AllDatasets, AllModels
from tunesmith_platform.tasks.step_paths import StepPaths

_DIGEST_CHARACTERS = 16


@dataclass(frozen=True)
class Parts:
    """What a kind may work with."""

    database: Database
    settings: Settings
    models: AllModels
    datasets: AllDatasets
    compute: ComputeService


@dataclass(frozen=True)
class Prepared:
    """A task that was looked at and may be entered.

    Attributes:
        spec: Its parameters as they are shown.
        inputs: What it is given, resolved; its attempts' documents are made of it.
        notices: What was mapped or has no effect.
        parent: The task that it is made from, and the step of its checkpoint.
        artifact_uri: Where its files go; the platform finds a place when it starts where None.
        output_dir: The folder of its user's in which it publishes.
        results: The names of what it publishes there; those of a training when None.
        uses: The checkpoints that it uses, each by its task and its step: these are spared until it is over.
    """

    spec: dict[str, Any]
    inputs: dict[str, Any]
    notices: tuple[Notice, ...] = ()
    parent: tuple[str, int | None] | None = None
    artifact_uri: str | None = None
    output_dir: str | None = None
    results: tuple[str, ...] | None = None
    uses: tuple[tuple[str, int], ...] = ()


def rows_of_file(
    path: str, version: str | None, sha256: str | None, *, context: str, rows: int | None = None
) -> RowsUsed:
    """A file of rows by its data set's name where it has one, told by its content where that is known.

    Args:
        path: Where it lies.
        version: `name@number` of its data set.
        sha256: Of its bytes.
        context: What it is read for: `training`, `evaluation`.
        rows: How many.
    """
    told_by = sha256 or hashlib.sha256(path.encode()).hexdigest()
    return RowsUsed(version or Path(path).name, path, told_by[:_DIGEST_CHARACTERS], context, rows)


class Result(NamedTuple):
    """What a completed task hands on to later steps: its files of rows, and what `${jobs.x.output}` stands for."""

    rows: Mapping[str, DataOutput]
    handed_on: Any


@dataclass(frozen=True)
class Asking:
    """What a task would have models answer.

    Attributes:
        models: What each is called.
        folder: Of the model that is loaded; what else there is are adapters over it, or as large.
        training: How it was trained, and so how it is computed.
        device: What is asked for: `auto`, `cpu`, `gpu`.
        samples: How many each is asked, and how often.
        prompt_tokens: Of a prompt, about; an expected answer's are `reference_tokens`.
        longest_tokens: Of the longest prompt with its answer, about.
        new_tokens: At most so many of an answer.
        batch: So many at once.
    """

    models: tuple[str, ...]
    folder: Path
    training: TrainSpec
    device: str
    samples: int
    repeats: int
    prompt_tokens: float
    reference_tokens: float
    longest_tokens: int
    new_tokens: int
    batch: int


class Pinned(NamedTuple):
    """A step's parameters with all that may change later named for good; and what tells it from other steps."""

    parameters: dict[str, Any]
    told_by: dict[str, Any]


@dataclass
class KindBehaviour:
    """A kind of task, as the platform asks it. A kind answers `prepare` and `document`, and the rest where it differs.

    Args:
        kind: Its declaration.
        parts: What it may work with.
    """

    kind: Kind
    parts: Parts
    paths: StepPaths = field(init=False)

    def __post_init__(self) -> None:
        """Take up what its steps' paths are told by."""
        self.paths = StepPaths(self.kind.spec)

    # --- a task's life

    def prepare(self, scope: Scope, new: NewTask, task_id: str, rows_dir: Path | None = None) -> Prepared:
        """Look at everything that a new task is given. No transaction is open.

        Args:
            scope: Whose models, data sets and tasks it may use.
            new: What to do.
            task_id: Its id.
            rows_dir: The folder for rows that it makes for a pipeline; the task's own when None.

        Raises:
            InvalidInput: With every problem found, each with its place and cure.
        """
        raise NotImplementedError

    def document(self, task: TaskRow, number: int) -> AttemptDocument:
        """What an attempt of a task is handed."""
        raise NotImplementedError

    def attempt(self, task: TaskRow, number: int) -> dict[str, Any]:
        """The part of an attempt's document that all kinds have."""
        settings = self.parts.settings
        return {
            "task_id": task.id,
            "attempt": number,
            "kind": task.kind,
            "name": task.name,
            "spec": task.spec,
            "api_url": settings.api_url,
            "token": report_token(read_secret(settings.report_secret_file), task.id, number),
            "spare_cpus": settings.spare_cpus,
            "silent_seconds": settings.silent_worker_seconds,
            "stuck_seconds": settings.stuck_worker_seconds,
            "work_dir": f"{settings.work_dir}/{task.id}",
            "submitted_at": now(),
            "tunesmith": tunesmith.__version__,
        }

    def is_wanted(self, task: TaskRow) -> bool:
        """Whether a task whose job was lost is begun again; one that is not is over. No transaction is open."""
        return True

    def rows_used(self, task: TaskRow) -> list[RowsUsed]:
        """The rows that a task reads, for those who look at its run."""
        return []

    def result(self, scope: Scope, task: views.TaskView) -> Result:
        """What a completed task made."""
        return Result({}, task.model_uri)

    # --- what is made from a task

    def go_on(self, scope: Scope, task: TaskRow, more: MoreSteps, *, has_state: bool) -> Prepared:
        """An ended task that saves checkpoints, looked at once more and with more to do.

        Args:
            scope: As of `prepare`.
            task: As it ended.
            more: How much more.
            has_state: Whether it has a checkpoint to go on from.

        Raises:
            Conflict: It has nothing left to do.
            InvalidInput: Not more than it had.
        """
        raise NotImplementedError

    def stage(
        self, task: TaskRow, checkpoint: CheckpointRow, over: Mapping[str, Any], *, is_newest: bool
    ) -> dict[str, Any]:
        """The parameters of a new task that starts from the weights of a checkpoint.

        Args:
            task: The checkpoint's.
            checkpoint: Where it starts.
            over: Parameters that are different.
            is_newest: Whether it is the task's newest.

        Raises:
            Conflict: No task of this kind starts from a checkpoint, or this one cannot be taken.
            InvalidInput: A parameter is what a new stage sets by itself.
        """
        raise Conflict(
            f"Task `{task.name}` is of kind `{task.kind}`: no new stage starts from it.",
            hint="Clone it, or name its checkpoint as a model.",
        )

    def as_training(self, new: NewTask) -> TrainSpec:
        """The training whose steps, memory and time are estimated.

        Raises:
            InvalidInput: It is none.
        """
        raise InvalidInput(f"A task of kind `{new.kind}` is not estimated: only trainings are.", field="kind")

    def asking(self, scope: Scope, new: NewTask) -> Asking:
        """What it would have models answer, for a forecast. No transaction is open.

        Raises:
            InvalidInput: It cannot be done, or nothing is asked.
        """
        raise InvalidInput(f"A task of kind `{new.kind}` compares no candidates.", field="kind")

    # --- as a pipeline's step

    def read_step(self, step: Step, environment: Mapping[str, str | None]) -> Spec:
        """A step's parameters, checked once more now that all are known.

        Args:
            step: The step; what it reads from the environment is put in its place.
            environment: The variables that pipelines may read.

        Raises:
            InvalidInput: They cannot be, or a variable is not set.
        """
        step.parameters = resolve(step.parameters, {"env": environment})
        return self.kind.spec.read(step.parameters)

    def look_ahead(self, scope: Scope, step: Step) -> None:
        """Look at a step of which nothing is made by another one, when its pipeline is sent.

        Raises:
            InvalidInput: It cannot be done.
        """

    def look_again(self, scope: Scope, step: Step, before: Mapping[str, Any]) -> None:
        """Look at a step's paths now that what it takes from other steps is known. Its task looks at them too.

        Raises:
            InvalidInput: One leads out of the folders that may be used.
        """

    def pinned(self, scope: Scope, spec: Spec, given: Mapping[str, Any]) -> Pinned:
        """A step with the versions of its data sets and all else that may change named for good.

        Args:
            spec: Its parameters, read.
            given: Its parameters as they were given.

        Raises:
            InvalidInput: Something that it names is not there.
            NotFound: There is no data set of a name.
        """
        return Pinned(spec.model_dump(exclude_unset=True), dict(given))

    def of_step(self, step: Step, parameters: dict[str, Any]) -> dict[str, Any]:
        """The parameters of a step's task."""
        return parameters
