"""What a user sends to create a task: the common envelope, and one variant a task kind."""

import datetime as dt
from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import Field, GetJsonSchemaHandler, StringConstraints, ValidationError

from tunesmith.limits import MAX_COUNT
from tunesmith.spec.given import Given
from tunesmith.spec.problems import invalid_input
from tunesmith.spec.training import TrainSpec

Name = Annotated[
    str, StringConstraints(min_length=1, max_length=120, strip_whitespace=True, pattern=r"^[^\x00-\x1f/\\]+$")
]
DATASET_NAME = r"^[A-Za-z0-9\u4e00-\u9fff][\w\-]{0,99}$"
"""No `.` and no `/`: a file's path has one of them, so that neither is taken for the other."""
Tag = Annotated[str, StringConstraints(min_length=1, max_length=60, strip_whitespace=True)]


class Kind(StrEnum):
    """The kinds of task that exist now."""

    TRAIN = "train"
    DATASET = "dataset"
    EVALUATE = "evaluate"
    GENERATE = "generate"
    PACKAGE = "package"


RENAMED_KINDS = {"chat": Kind.GENERATE}
"""What a kind was called before: pipeline files and queued attempts that say so are still read."""
IN_TRAIN_ROOM = (Kind.TRAIN, Kind.EVALUATE, Kind.GENERATE, Kind.PACKAGE)
"""What takes memory as training does, and shares its room on the cluster."""


class _Envelope(Given):
    name: Name | None = Field(
        None, description="Shown name; `{training_type}_{YYYYMMDD_HHmmss}` when none is given."
    )
    project: Name = Field("default", description="The MLflow experiment it belongs to.")
    priority: int = Field(0, ge=-100, le=100, description="Higher starts first; then the older one.")
    tags: list[Tag] = Field(default_factory=list, max_length=20)
    notes: str = Field("", max_length=10_000)


class _NewTask(_Envelope):
    template: Name | None = Field(
        None,
        description="A template whose parameters lie under those of `spec`. The task keeps a copy of its own.",
    )


class NewTrainTask(_NewTask):
    """A training task."""

    kind: Literal[Kind.TRAIN] = Kind.TRAIN
    spec: TrainSpec

    def default_name(self, now: dt.datetime) -> str:
        """The name that a task gets when the user gave none."""
        return f"{self.spec.training_type}_{now:%Y%m%d_%H%M%S}"


NewTask = NewTrainTask
"""A new task that trains. A new task on data is made by `POST /v1/datasets:run`."""


class NewDataTask(_Envelope):
    """An operation on data sets, as it is sent."""

    name: Name | None = Field(
        None, description="Shown name; `{operation}_{YYYYMMDD_HHmmss}` when none is given."
    )
    operation: str = Field(min_length=1, max_length=40, description="`load`, `filter`, `split`, ...")
    parameters: dict[str, Any] = Field(
        default_factory=dict,
        description="The operation's. A data set is named by `name`, `name@number` or an absolute path.",
    )
    into: str | None = Field(
        None,
        pattern=DATASET_NAME,
        max_length=100,
        description="The data set whose next version is made; told by what it is made of when left out. A split makes "
        "one for each of its parts (`name-train`).",
    )

    def default_name(self, now: dt.datetime) -> str:
        """The name that a task gets when the user gave none."""
        return f"{self.operation}_{now:%Y%m%d_%H%M%S}"


class NewModelTask(_Envelope):
    """A task that uses a model: evaluates it, lets it answer, packages it. A pipeline's step makes one."""

    kind: Literal[Kind.EVALUATE, Kind.GENERATE, Kind.PACKAGE]
    parameters: dict[str, Any] = Field(default_factory=dict)

    def default_name(self, now: dt.datetime) -> str:
        """The name that a task gets when the user gave none."""
        return f"{self.kind}_{now:%Y%m%d_%H%M%S}"


class _PartOfTrainSpec:
    """Shows a mapping as `TrainSpec` of which nothing is required."""

    @classmethod
    def __get_pydantic_json_schema__(cls, _schema: Any, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        whole = handler.resolve_ref_schema(handler(TrainSpec.__pydantic_core_schema__))
        return {name: value for name, value in whole.items() if name != "required"}


Parameters = Annotated[dict[str, Any], _PartOfTrainSpec]
"""Some of a task's parameters; they are checked once all are together."""


class TaskRequest(_NewTask):
    """A new task as it is sent. With `template`, `spec` may leave out what the template holds."""

    kind: Literal[Kind.TRAIN] = Kind.TRAIN
    spec: Parameters

    def complete(self, parameters: Mapping[str, Any]) -> NewTask:
        """The new task with all its parameters.

        Raises:
            InvalidInput: The parameters are not those of a task.
        """
        envelope = self.model_dump(exclude={"spec"}, exclude_unset=True)
        try:
            return NewTask.model_validate(envelope | {"spec": dict(parameters)})
        except ValidationError as error:
            raise invalid_input(error, NewTask) from error


class TaskCopy(Given):
    """What of a task is different in the one made from it; what is left out is the same."""

    name: Name | None = None
    project: Name | None = None
    priority: int = Field(0, ge=-100, le=100)
    tags: list[Tag] | None = Field(None, max_length=20)
    notes: str | None = Field(None, max_length=10_000)
    spec: Parameters = Field(default_factory=dict)


class NewStage(TaskCopy):
    """A new task that starts from the weights of another one's checkpoint."""

    step: int | None = Field(
        None, ge=0, le=MAX_COUNT, description="The checkpoint's step; the newest when none is given."
    )


class MoreSteps(Given):
    """How much longer a task is to train. At most one of the two; each more than it had."""

    num_train_epochs: float | None = Field(None, gt=0, le=1000)
    max_steps: int | None = Field(None, ge=1, le=MAX_COUNT)
