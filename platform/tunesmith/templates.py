"""Templates: part of a task's parameters under a name, and the YAML form in which they travel.

A template is checked as a task's parameters are (names, values, what excludes what), but may leave out any of them:
the model and the data come with the task. Knows parameters; knows nothing of where templates are kept.
"""

import datetime as dt
from collections.abc import Mapping
from typing import Any, Literal, get_args, get_origin

import yaml
from pydantic import ConfigDict, Field, ValidationError

from tunesmith.errors import InvalidInput
from tunesmith.spec.base import Notice, Spec
from tunesmith.spec.given import Given
from tunesmith.spec.kinds import DEFAULT_KIND, KindName, kind_of
from tunesmith.spec.parameter import Group, default_of, names_with
from tunesmith.spec.problems import invalid_input
from tunesmith.spec.roles import Role
from tunesmith.spec.task import Name
from tunesmith.yaml_text import holds_aliases, load_yaml

MAX_YAML_CHARACTERS = 200_000
_STAND_IN = "-"


class Template(Given):
    """A template as it is written down: in YAML, and where it is saved or changed."""

    name: Name
    kind: KindName = DEFAULT_KIND
    description: str = Field("", max_length=2000, description="What it is for.")
    description_zh: str = Field("", max_length=2000, description="The same in Chinese.")
    hides: list[Group] = Field(
        default_factory=list, description="Sections that the form leaves out with this template."
    )
    parameters: dict[str, Any] = Field(
        default_factory=dict, description="Some of a task's parameters; the others keep their defaults."
    )


class TemplateView(Template):
    """A template as it is kept."""

    model_config = ConfigDict(extra="ignore")
    builtin: bool = Field(
        False, description="Whether it came with the platform: it can be read, not changed."
    )
    notices: list[Notice] = Field(
        default_factory=list, description="What was mapped, when it was saved just now."
    )
    created_at: dt.datetime | None = None
    updated_at: dt.datetime | None = None


class NewTemplate(Template):
    """What is sent to save a template: parameters, or the task whose parameters it takes."""

    from_task: str | None = Field(
        None, max_length=40, description="Take the parameters of this task; `parameters` win over them."
    )
    with_places: bool = Field(
        False, description="Keep the task's model, data and output folder too; else they are left out."
    )


class TemplateChange(Given):
    """What of a template may be changed; what is left out stays. `parameters` replace the former ones."""

    name: Name | None = None
    description: str | None = Field(None, max_length=2000)
    hides: list[Group] | None = None
    parameters: dict[str, Any] | None = None


def check_parameters(
    given: Mapping[str, Any], kind: str = DEFAULT_KIND
) -> tuple[dict[str, Any], list[Notice]]:
    """Check some of the parameters of a task.

    Args:
        given: The parameters.
        kind: The task's kind.

    Returns:
        Their values under the parameters' own names, and what was mapped or has no effect.

    Raises:
        UnknownField: A key that is neither a parameter nor an alias, with a "did you mean".
        InvalidInput: A value of a wrong type or out of bounds, or parameters that rule each other out.
    """
    form = kind_of(kind).spec
    named = set(form.canonical(given)[0])
    stand_ins = {
        name: _STAND_IN
        for name, info in form.model_fields.items()
        if info.is_required() and name not in named
    }
    spec, more = _read_part(form, {**stand_ins, **given})
    values = spec.model_dump(mode="json")
    return {name: value for name, value in values.items() if name in named}, [
        notice for notice in spec.notices if notice.field not in stand_ins and notice.field not in more
    ]


def _read_part(form: type[Spec], given: Mapping[str, Any]) -> tuple[Spec, Mapping[str, str]]:
    """Parameters, and what stood in for the model and the rows that they lack: those come with the task.

    Raises:
        InvalidInput: What is wrong with them is something else.
    """
    added: dict[str, str] = {}
    try:
        return form.read(given), added
    except InvalidInput as error:
        first = error
    least, places = _count(first), names_with(form, Role.PLACE)
    if least > len(places):  # more than what may be missing: reading it again only costs
        raise first
    for name in places:
        info = form.model_fields[name]
        if name in given or str not in (info.annotation, *get_args(info.annotation)):
            continue
        try:
            return form.read({**given, **added, name: _STAND_IN}), added | {name: _STAND_IN}
        except InvalidInput as error:
            if _count(error) < least:
                added[name], least = _STAND_IN, _count(error)
    raise first


def _count(error: InvalidInput) -> int:
    return len(error.problems) + error.more_problems


def chosen(values: Mapping[str, Any], kind: str = DEFAULT_KIND) -> dict[str, Any]:
    """The parameters of a task that are not what they would be if nobody had chosen them."""
    form = kind_of(kind).spec
    spec = form.stored(values)
    dumped = spec.model_dump(mode="json")
    return {
        name: dumped[name]
        for name, info in form.model_fields.items()
        if info.is_required() or getattr(spec, name) != default_of(info, spec.__dict__)
    }


def as_template(
    values: Mapping[str, Any], kind: str = DEFAULT_KIND, *, with_places: bool = False
) -> dict[str, Any]:
    """A task's chosen parameters as a template keeps them."""
    found = chosen(values, kind)
    places = () if with_places else names_with(kind_of(kind).spec, Role.PLACE)
    return {name: value for name, value in found.items() if name not in places}


# --- YAML


def to_yaml(template: Template) -> str:
    """A template as YAML, which `from_yaml` reads back as it was."""
    data = template.model_dump(mode="json", include=set(Template.model_fields), exclude_defaults=True)
    ordered = {name: data[name] for name in Template.model_fields if name in data}
    ordered = {"name": ordered.pop("name"), "kind": template.kind, **ordered}
    return yaml.safe_dump(ordered, sort_keys=False, allow_unicode=True, width=100)


def from_yaml(text: str) -> Template:
    """Read a template from YAML. Its parameters are looked at where it is saved.

    Raises:
        InvalidInput: It is not YAML, or not a template.
    """
    if len(text) > MAX_YAML_CHARACTERS:
        raise InvalidInput(f"A template has at most {MAX_YAML_CHARACTERS} characters.")
    try:
        if holds_aliases(text):
            raise InvalidInput("A template holds no YAML aliases (`*name`).", hint="Write the values out.")
        data = load_yaml(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        where = str(error).splitlines()[0] if str(error) else "it is nested too deeply"
        raise InvalidInput(f"The template cannot be read as YAML: {where}.") from error
    if not isinstance(data, dict):
        raise InvalidInput(
            "A template is a mapping.",
            hint="It begins with `name: ...`; `tunesmith templates export` shows one.",
        )
    try:
        template = Template.model_validate({str(key): value for key, value in data.items()})
    except ValidationError as error:
        raise invalid_input(error, Template) from error
    form = kind_of(template.kind).spec
    template.parameters = {name: _unspoilt(form, name, value) for name, value in template.parameters.items()}
    return template


def _unspoilt(form: type[Spec], name: str, value: Any) -> Any:
    """YAML reads a bare `no` as false, where it is one of a parameter's choices."""
    info = form.model_fields.get(name)
    choices = get_args(info.annotation) if info and get_origin(info.annotation) is Literal else ()
    return "no" if value is False and "no" in choices else value
