"""What is wrong with what was given, in words: each problem with its place and its cure.

Turns pydantic's errors into ours. Knows nothing of any single parameter.
"""

import difflib
from collections.abc import Iterable, Sequence
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import PydanticCustomError

from tunesmith.errors import InvalidInput, Problem, UnknownField
from tunesmith.spec.parameter import aliases_of

_RULED_OUT = "ruled_out"


def ruled_out(problems: Iterable[Problem]) -> PydanticCustomError:
    """What a validator raises for values that cannot be together: each problem with its parameter and cure."""
    found = list(problems)
    return PydanticCustomError(
        _RULED_OUT,
        "{words}",
        {
            "words": " ".join(problem.message for problem in found),
            "problems": [problem.model_dump() for problem in found],
        },
    )


def _model_at(model: type[BaseModel], path: Sequence[int | str]) -> type[BaseModel] | None:
    """The model that a location inside an error points into, as far as it is a plain field path."""
    for part in path:
        field = model.model_fields.get(str(part))
        if field is None:
            continue  # a union's tag, which is no field
        inner = field.annotation
        if not (isinstance(inner, type) and issubclass(inner, BaseModel)):
            return None
        model = inner
    return model


def did_you_mean(word: str, known: Sequence[str]) -> str | None:
    """The known word that was probably meant."""
    close = difflib.get_close_matches(word.lower().replace("-", "_"), known, n=1, cutoff=0.6)
    return close[0] if close else None


def _spellings(model: type[BaseModel]) -> dict[str, str]:
    spellings = {name: name for name in model.model_fields}
    for name, info in model.model_fields.items():
        spellings |= dict.fromkeys(aliases_of(info), name)
    return spellings


def invalid_input(error: ValidationError, model: type[BaseModel] | None, skip: int = 0) -> InvalidInput:
    """A pydantic error in our words: each problem with its place and its cure.

    Args:
        error: What pydantic raised.
        model: What was being read, for "did you mean".
        skip: Leading parts of each location that a user did not write (FastAPI's `body`).
    """
    return problems_error(error.errors(include_url=False), model, skip)


def problems_error(errors: Sequence[Any], model: type[BaseModel] | None, skip: int = 0) -> InvalidInput:
    """As `invalid_input`, from a list of pydantic's error dictionaries."""
    problems: list[Problem] = []
    unknown = 0
    for item in errors:
        place = tuple(item["loc"])[skip:]
        if item["type"] == _RULED_OUT:
            for inner in item["ctx"]["problems"]:
                where = ".".join(map(str, (*place, *([inner["field"]] if inner["field"] else ()))))
                problems.append(Problem(field=where or None, message=inner["message"], hint=inner["hint"]))
            continue
        hint: str | None = None
        message = str(item["msg"]).removeprefix("Value error, ")
        if item["type"] == "extra_forbidden":
            unknown += 1
            message = f"`{place[-1]}` is not a known field."
            home = _model_at(model, place[:-1]) if model else None
            spellings = _spellings(home) if home else {}
            meant = did_you_mean(str(place[-1]), list(spellings))
            hint = (
                f"Did you mean `{spellings[meant]}`?" if meant else "`tunesmith parameters` lists them all."
            )
        elif isinstance(item.get("input"), str | int | float | bool):
            message = f"{message.rstrip('.')} (given: {item['input']!r})."
        problems.append(Problem(field=".".join(map(str, place)) or None, message=message, hint=hint))
    return as_error(UnknownField if unknown == len(problems) else InvalidInput, problems)


def as_error(kind: type[InvalidInput], problems: list[Problem]) -> InvalidInput:
    """One error of several problems: the first in its words, all of them with it."""
    first = problems[0]
    head = f"{first.field}: {first.message}" if first.field else first.message
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    return kind(head + more, hint=first.hint, problems=problems)
