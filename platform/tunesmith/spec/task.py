"""What a user sends to create a task: one envelope for every kind, with the kind's own parameters in it."""

import datetime as dt
import functools
from collections.abc import Mapping
from typing import Annotated, Any, Literal, cast

from pydantic import (
    BaseModel,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    SerializeAsAny,
    StringConstraints,
    ValidationError,
    create_model,
)
from pydantic_core import CoreSchema, core_schema

from tunesmith.limits import MAX_COUNT
from tunesmith.spec.base import Spec
from tunesmith.spec.dataset import DATASET, DATASET_NAME
from tunesmith.spec.given import Given
from tunesmith.spec.kinds import DEFAULT_KIND, Feature, KindName, kind_of, kinds, supporting
from tunesmith.spec.problems import invalid_input
from tunesmith.spec.training import TRAIN, TrainSpec

Name = Annotated[
    str, StringConstraints(min_length=1, max_length=120, strip_whitespace=True, pattern=r"^[^\x00-\x1f/\\]+$")
]
Tag = Annotated[str, StringConstraints(min_length=1, max_length=60, strip_whitespace=True)]


class _Envelope(Given):
    name: Name | None = Field(
        None,
        description="Shown name; made from what it does and the time (`sft_20261121_093000`) when none is given.",
    )
    project: Name | None = Field(
        None,
        description="The project, and MLflow experiment, it belongs to; `default`, or where your key works, when left "
        "out.",
    )
    priority: int = Field(0, ge=-100, le=100, description="Higher starts first; then the older one.")
    tags: list[Tag] = Field(default_factory=list, max_length=20)
    notes: str = Field("", max_length=10_000)


class _NewTask(_Envelope):
    template: Name | None = Field(
        None,
        description="A template whose parameters lie under those of `spec`. The task keeps a copy of its own.",
    )


class NewTask(_NewTask):
    """A new task of some kind, with all its parameters read. Made by `new_task`."""

    kind: str
    spec: SerializeAsAny[Spec]

    def default_name(self, now: dt.datetime) -> str:
        """The name that a task gets when the user gave none."""
        return kind_of(self.kind).default_name(self.spec, now)


class NewTrainTask(NewTask):
    """A training task."""

    kind: Literal["train"] = "train"
    spec: TrainSpec


@functools.cache
def envelope_of(kind: str) -> type[NewTask]:
    """The envelope with the parameters of a kind.

    Raises:
        InvalidInput: No such kind is installed.
    """
    if kind == TRAIN.name:
        return NewTrainTask
    fields: dict[str, Any] = {"kind": (Literal[kind], kind), "spec": (kind_of(kind).spec, ...)}
    return create_model(f"New{kind.title()}Task", __base__=NewTask, __module__=__name__, **fields)


def new_task(kind: str, parameters: Mapping[str, Any], envelope: Mapping[str, Any] | None = None) -> NewTask:
    """A new task from what its user gave.

    Args:
        kind: Its kind.
        parameters: All of them.
        envelope: Its name, project, tags, ...

    Raises:
        InvalidInput: No such kind is installed, or the parameters are not those of such a task.
    """
    made = envelope_of(kind)
    try:
        return made.model_validate({**(envelope or {}), "kind": kind, "spec": dict(parameters)})
    except ValidationError as error:
        raise invalid_input(error, made) from error


class NewDataTask(_Envelope):
    """An operation on data sets, as `POST /v1/datasets:run` takes it."""

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

    def as_task(self) -> NewTask:
        """The same as a new task.

        Raises:
            InvalidInput: A parameter cannot be one of a task's.
        """
        spec = self.model_dump(include={"operation", "parameters", "into"})
        return new_task(DATASET.name, spec, self.model_dump(include=set(_Envelope.model_fields)))


class _Part:
    """Shows a mapping as the parameters of a kind, of which nothing is required."""

    def __init__(self, spec: type[Spec]) -> None:
        self._spec = spec

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return handler(source)

    def __get_pydantic_json_schema__(self, _schema: Any, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        whole = handler.resolve_ref_schema(handler(self._spec.__pydantic_core_schema__))
        return {name: value for name, value in whole.items() if name != "required"}


class TaskRequest(_NewTask):
    """A new task as it is sent. With `template`, `spec` may leave out what the template holds."""

    kind: KindName = DEFAULT_KIND
    spec: dict[str, Any] = Field(description="Its parameters; which there are depends on the kind.")

    @classmethod
    def __get_pydantic_json_schema__(cls, _schema: Any, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """One shape for each kind, told apart by `kind`."""
        shapes = {name: _with_name(_shape(name)) for name in kinds()}
        union = handler(core_schema.tagged_union_schema(shapes, discriminator="kind"))
        return {"title": cls.__name__, "description": cls.__doc__, **union}

    def complete(self, parameters: Mapping[str, Any]) -> NewTask:
        """The new task with all its parameters.

        Raises:
            InvalidInput: The parameters are not those of a task.
        """
        return new_task(self.kind, parameters, self.model_dump(exclude={"kind", "spec"}, exclude_unset=True))


@functools.cache
def _shape(kind: str) -> type[_NewTask]:
    """A request for a task of one kind, as it is documented."""
    spec = Annotated[dict[str, Any], _Part(kind_of(kind).spec)]
    fields: dict[str, Any] = {"spec": (spec, Field(description="Its parameters."))}
    # Who says no kind means the default one.
    fields["kind"] = (Literal[kind], DEFAULT_KIND if kind == DEFAULT_KIND else ...)
    return create_model(
        f"{kind.title()}TaskRequest",
        __base__=_NewTask,
        __module__=__name__,
        __doc__=f"A task of kind `{kind}`.",
        **fields,
    )


def _with_name(model: type[BaseModel]) -> CoreSchema:
    """A model's schema under the name by which a document refers to it."""
    return cast(CoreSchema, {**model.__pydantic_core_schema__, "ref": f"{model.__name__}:{__name__}"})


class _AnyPart:
    """Shows a mapping as some parameters of a task that can be cloned."""

    @classmethod
    def __get_pydantic_json_schema__(cls, _schema: Any, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        parts = (_Part(kind_of(name).spec) for name in supporting(Feature.CLONE))
        return {
            "type": "object",
            "anyOf": [part.__get_pydantic_json_schema__(None, handler) for part in parts],
        }


Parameters = Annotated[dict[str, Any], _AnyPart]
"""Some of a task's parameters; they are checked once all are together."""


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
