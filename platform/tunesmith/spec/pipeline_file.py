"""The YAML of components and workflows, read and checked by itself: which are there, each named once.

What its jobs do is `tunesmith.spec.pipeline`'s.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import (
    AfterValidator,
    AliasChoices,
    BaseModel,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    ModelWrapValidatorHandler,
    PrivateAttr,
    StringConstraints,
    ValidationError,
    model_validator,
)

from tunesmith.errors import InvalidInput, Problem
from tunesmith.spec.base import Notice
from tunesmith.spec.given import Given
from tunesmith.spec.kinds import components, former_components
from tunesmith.spec.problems import as_error, did_you_mean, invalid_input
from tunesmith.yaml_text import holds_aliases, load_yaml

MAX_YAML_CHARACTERS = 200_000
MAX_STEPS = 100

Id = Annotated[str, StringConstraints(min_length=1, max_length=80, pattern=r"^[A-Za-z0-9_][\w-]*$")]


class _Listed:
    """Shows a component's type as one of those that are installed."""

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: Any, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return handler(schema) | {"enum": list(components())}


def _known_type(name: str) -> str:
    if name not in components():
        listed = ", ".join(f"`{known}`" for known in components())
        raise ValueError(f"A component is one of {listed}")
    return name


ComponentType = Annotated[str, AfterValidator(_known_type), _Listed]
"""What a component may be."""


class Component(BaseModel):
    """Something that jobs use. What besides these fields is given are its parameters."""

    model_config = ConfigDict(extra="allow")
    id: Id = "__default__"
    type: ComponentType
    method: str | None = None
    _notices: list[Notice] = PrivateAttr(default_factory=list)

    @model_validator(mode="wrap")
    @classmethod
    def _of_before(cls, given: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        written = given.get("type") if isinstance(given, dict) else None
        meant = former_components().get(written) if isinstance(written, str) else None
        found = handler(given if meant is None else given | {"type": meant})
        if meant is not None:
            found._notices.append(Notice(field="type", message=f"`{written}` was read as `{meant}`."))
        return found

    @property
    def notices(self) -> list[Notice]:
        """What of it was written as it was called before."""
        return self._notices

    @property
    def parameters(self) -> dict[str, Any]:
        """Its parameters as they are written."""
        return dict(self.model_extra or {})


class Job(Given):
    """One use of a component."""

    id: Id = "__default__"
    type: Literal["component", "action"] = "component"
    component: Id = "__default__"
    method: str | None = Field(None, validation_alias=AliasChoices("method", "action"))
    input: dict[str, Any] | None = None
    output: Any = None
    depends_on: list[Id] = Field(default_factory=list)


class Workflow(Given):
    """Jobs that belong together."""

    id: Id = "__default__"
    title: str | None = None
    description: str | None = None
    default: bool = False
    jobs: list[Job] = Field(default_factory=list)
    job: Job | None = None
    output: Any = None


class Pipeline(Given):
    """A whole file."""

    components: list[Component] = Field(min_length=1, max_length=MAX_STEPS)
    workflows: list[Workflow] = Field(default_factory=list, max_length=MAX_STEPS)
    controller: Any = Field(None, description="Taken and not used: the platform is its own controller.")


def read_pipeline(text: str) -> Pipeline:
    """Read a pipeline's YAML.

    Raises:
        InvalidInput: It is not YAML, or not a pipeline; with every problem and its place.
    """
    if len(text) > MAX_YAML_CHARACTERS:
        raise InvalidInput(f"A pipeline has at most {MAX_YAML_CHARACTERS} characters.")
    try:
        if holds_aliases(text):
            raise InvalidInput("A pipeline holds no YAML aliases (`*name`).", hint="Write the values out.")
        data = load_yaml(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        where = " ".join(str(error).split())[:300] if str(error) else "it is nested too deeply"
        raise InvalidInput(f"The pipeline cannot be read as YAML: {where}.") from error
    if not isinstance(data, dict):
        raise InvalidInput("A pipeline is a mapping.", hint="It begins with `components:`.")
    for one, many in (("component", "components"), ("workflow", "workflows")):  # model-compose's short forms
        if one in data and many not in data:
            data[many] = [data.pop(one)]
    try:
        pipeline = Pipeline.model_validate({str(key): value for key, value in data.items()})
    except ValidationError as error:
        raise _named(invalid_input(error, Pipeline), data) from error
    _refuse_twice("components", pipeline.components)
    _refuse_twice("workflows", pipeline.workflows)
    for workflow in pipeline.workflows:
        _refuse_twice(f"workflows[{workflow.id}].jobs", jobs_of(workflow))
    return pipeline


def jobs_of(workflow: Workflow) -> list[Job]:
    """A workflow's jobs, however it spells them."""
    return [*workflow.jobs, *([workflow.job] if workflow.job else [])]


def chosen_workflow(pipeline: Pipeline, wanted: str | None) -> Workflow:
    """The workflow of a name; without a name the only one, or the default. A lone component is a workflow too.

    Raises:
        InvalidInput: There is none of this name, or several and none is named.
    """
    found = pipeline.workflows
    if not found and len(pipeline.components) == 1:
        only = pipeline.components[0]
        found = [Workflow(id=only.id, jobs=[Job(id=only.id, component=only.id)])]
    names = [workflow.id for workflow in found]
    listed = ", ".join(f"`{name}`" for name in names)
    if wanted is not None:
        for workflow in found:
            if workflow.id == wanted:
                return workflow
        meant = did_you_mean(wanted, names)
        hint = f"Did you mean `{meant}`?" if meant else f"There are {listed}." if names else None
        raise InvalidInput(f"There is no workflow `{wanted}`.", hint=hint, field="workflow")
    default = [workflow for workflow in found if workflow.default]
    if len(found) == 1 or len(default) == 1:
        return (default or found)[0]
    if not found:
        raise InvalidInput(
            "The file has several components and no workflow.",
            hint="Write `workflows:` with `jobs:` that say which component comes after which.",
            field="workflows",
        )
    raise InvalidInput(
        f"The file has {len(found)} workflows: {listed}.", hint="Name one of them.", field="workflow"
    )


def together(problems: list[Problem], more: int = 0) -> InvalidInput:
    """One error of several problems, and of `more` that there are no words for."""
    return as_error(InvalidInput, problems, more)


def _refuse_twice(place: str, items: Sequence[Component | Workflow | Job]) -> None:
    seen: set[str] = set()
    for item in items:
        if item.id in seen:
            raise InvalidInput(
                f"{place}: `{item.id}` is there twice.", hint="Give each an `id` of its own.", field=place
            )
        seen.add(item.id)


def _named(error: InvalidInput, data: Mapping[Any, Any]) -> InvalidInput:
    """Places that say `components[trainer]` instead of a number, as far as what was written has ids."""
    problems = [
        problem.model_copy(update={"field": _place(problem.field, data)}) if problem.field else problem
        for problem in error.problems
    ]
    return together(problems, error.more_problems)


def _place(field: str, data: Any) -> str:
    found = ""
    for part in field.split("."):
        inner = None
        if isinstance(data, list) and part.isdigit() and int(part) < len(data):
            inner = data[int(part)]
            name = inner.get("id") if isinstance(inner, dict) else None
            found += f"[{name or part}]"
        else:
            inner = data.get(part) if isinstance(data, dict) else None
            found += f".{part}" if found else part
        data = inner
    return found
