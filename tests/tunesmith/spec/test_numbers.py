"""`true` is no number, and every number has bounds: held over all parameters and all fields that users fill in."""

import math
from collections.abc import Iterator
from typing import Annotated, Any, get_args

import pytest
from pydantic import BaseModel, Field, TypeAdapter, ValidationError

from tunesmith import notifications, pipelines, templates
from tunesmith.errors import InvalidInput
from tunesmith.spec.dataset import OPERATIONS
from tunesmith.spec.given import Given
from tunesmith.spec.kinds import kinds
from tunesmith.spec.task import MoreSteps, NewDataTask, NewStage, TaskCopy, TaskRequest
from tunesmith.spec.training import TrainSpec
from tunesmith_platform.app import create_app  # noqa: F401  (so that the control plane's own models are known)

SPECS = [*(kind.spec for kind in kinds().values()), *OPERATIONS.values()]


def _all(kind: type[Given]) -> Iterator[type[Given]]:
    for inner in kind.__subclasses__():
        yield inner
        yield from _all(inner)


GIVEN = sorted(
    {kind for kind in _all(Given) if kind.__module__.startswith("tunesmith")}, key=lambda k: k.__name__
)


def _takes_numbers(annotation: Any) -> bool:
    if annotation in (int, float):
        return True
    return type(annotation) is int or any(
        map(_takes_numbers, get_args(annotation))
    )  # a choice of numbers too


NUMBERS = [
    (kind, name)
    for kind in GIVEN
    for name, info in kind.model_fields.items()
    if _takes_numbers(info.annotation)
]


def _wrapped(annotation: Any, value: Any) -> Any:
    """A value as a field of this type would hold it: in a list or a mapping, where that is what it takes."""
    text = str(annotation)
    if "list[int]" in text or "list[float]" in text:
        return [value]
    return {"CPU": value} if "dict[str, float]" in text else value


def problems_of(kind: type[BaseModel], name: str, value: Any) -> list[str]:
    """What is said of one field."""
    try:
        kind.model_validate({name: value})
    except ValidationError as error:
        found = []
        for item in error.errors():
            inner = [problem["field"] for problem in item.get("ctx", {}).get("problems", [])]
            found += [name] if name in (*item["loc"], *inner) else []
        return found
    return []


def test_the_table_is_whole() -> None:
    assert len(NUMBERS) > 60
    assert {TrainSpec, MoreSteps, NewStage, TaskCopy, TaskRequest, NewDataTask} <= set(GIVEN)
    assert {notifications.NewWebhook, pipelines.NewPipeline, templates.NewTemplate} <= set(GIVEN)
    assert set(SPECS) <= set(GIVEN)


@pytest.mark.parametrize(("kind", "name"), NUMBERS, ids=lambda value: getattr(value, "__name__", value))
def test_true_is_no_number(kind: type[Given], name: str) -> None:
    annotation = kind.model_fields[name].annotation
    for value in (True, False, math.nan, math.inf, -math.inf, 10**400, -(10**400), "nan", "1e999"):
        if "str" in str(annotation) and isinstance(value, str):
            continue  # a text is a name there
        assert problems_of(kind, name, _wrapped(annotation, value)), value


def test_numbers_may_come_as_texts() -> None:
    """YAML 1.1 reads `5e-4` as a text, and a flag is one."""
    given = {"model": "m", "train_file": "/t", "learning_rate": "5e-4", "r": "16", "max_steps": 10.0}
    spec = TrainSpec.read(given)
    assert (spec.learning_rate, spec.r, spec.max_steps) == (5e-4, 16, 10)


@pytest.mark.parametrize("word", ["yes", "true", "1", 1, "on"])
def test_switches_take_the_words_that_others_take(word: Any) -> None:
    assert TrainSpec.read({"model": "m", "train_file": "/t", "packing": word}).packing is True


def test_what_says_nothing_is_no_boolean_either() -> None:
    """`fraction=1` is passed over; `fraction=true` is a mistake."""
    TrainSpec.read({"model": "m", "train_file": "/t", "fraction": 1})
    with pytest.raises(InvalidInput, match="fraction"):
        TrainSpec.read({"model": "m", "train_file": "/t", "fraction": True})


def test_every_whole_number_has_bounds() -> None:
    """One of 2**70 fits into no database."""
    unbounded = [
        f"{kind.__name__}.{path}"
        for kind in GIVEN
        for path, schema in _numbers(TypeAdapter(kind).json_schema(), "")
        if not (
            {"minimum", "exclusiveMinimum"} & schema.keys()
            and {"maximum", "exclusiveMaximum"} & schema.keys()
        )
    ]
    assert unbounded == []


def _numbers(schema: Any, path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    if isinstance(schema, dict):
        if schema.get("type") == "integer" and "enum" not in schema and "const" not in schema:
            yield path, schema
        for name, inner in schema.items():
            if name not in ("default", "tunesmith", "examples"):
                yield from _numbers(inner, f"{path}.{name}")
    elif isinstance(schema, list):
        for number, inner in enumerate(schema):
            yield from _numbers(inner, f"{path}[{number}]")


def test_reading_the_schema_again_adds_nothing_to_it() -> None:
    """Each application asks for the schemas of its bodies anew: a process that made a thousand could make no more."""

    def depth(schema: Any) -> int:
        inner = schema.values() if isinstance(schema, dict) else schema if isinstance(schema, list) else ()
        return 1 + max((depth(part) for part in inner), default=0)

    first, *more = [
        depth(TypeAdapter(Annotated[TaskRequest, Field(title="new")]).core_schema) for _ in range(4)
    ]
    assert more == [first] * 3
