"""What is wrong with what was given, in words: each problem with its place and its cure.

Turns pydantic's errors into ours. Knows nothing of any single parameter.
"""

import itertools
import re
from collections.abc import Collection, Iterable, Sequence
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import PydanticCustomError

from tunesmith.errors import MAX_PROBLEMS, InvalidInput, Problem, UnknownField, shortened
from tunesmith.spec.parameter import aliases_of

_RULED_OUT = "ruled_out"
_MAX_WORD = 64
"""A longer word is none that was mistyped."""
_LETTERS_A_SLIP = 6
"""A part of a word may have one slip in it, one of twice so many letters two."""
_LEAST_LETTERS = 3
_MAX_KNOWN = 500
"""Words that one is held against: each costs some microseconds."""


def ruled_out(problems: Iterable[Problem]) -> PydanticCustomError:
    """What a validator raises for values that cannot be together: each problem with its parameter and cure."""
    found = list(problems)
    first = found[:MAX_PROBLEMS]
    return PydanticCustomError(
        _RULED_OUT,
        "{words}",
        {
            "words": " ".join(problem.message for problem in first),
            "problems": [problem.model_dump() for problem in first],
            "more": len(found) - len(first),
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


def did_you_mean(word: str, known: Collection[str]) -> str | None:
    """The known word that was probably meant: mistyped, with other separators, or with its parts in another order.

    Strict, because a suggestion is followed: a word that merely looks alike means something else (`lr_scheduler` is not
    `lr_end`, `use_qlora` is not `use_lora`), and so does one with another number in it. Of very many, only the first
    are looked at.
    """
    if len(word) > _MAX_WORD or not _parts(word):
        return None
    slips: dict[str, int] = {}
    for name in itertools.islice(known, _MAX_KNOWN):
        if len(name) > _MAX_WORD or not _parts(name) or re.findall(r"\d+", name) != re.findall(r"\d+", word):
            continue
        count = _slips(_parts(word), _parts(name))
        if count is not None:
            slips[name] = count
    return min(slips, key=lambda name: slips[name]) if slips else None


def _slips(given: list[str], known: list[str]) -> int | None:
    """How many slips lead from one word to another; None where it is another word."""
    if sorted(given) == sorted(known):
        return 0
    if len(given) != len(known):
        if min(map(len, [*given, *known])) == 1:
            return None  # a letter of its own (`lora_r`) is no slip
        given, known = ["".join(given)], ["".join(known)]
    counts = [_distance(a, b) if a[0] == b[0] else None for a, b in zip(given, known, strict=True) if a != b]
    return None if None in counts else sum(count or 0 for count in counts)


def _parts(word: str) -> list[str]:
    return [part for part in re.split(r"[-_. ]+", word.lower()) if part]


def _distance(a: str, b: str) -> int | None:
    """Letters that are too many, missing, wrong or swapped; None for more than such a word has by a slip."""
    most = max(1, max(len(a), len(b)) // _LETTERS_A_SLIP)
    if abs(len(a) - len(b)) > most or min(len(a), len(b)) < _LEAST_LETTERS:
        return None
    before: list[int] = []
    row = list(range(len(b) + 1))
    for i, letter in enumerate(a, 1):
        older, before, row = before, row, [i]
        for j, other in enumerate(b, 1):
            cost = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (letter != other))
            if i > 1 and j > 1 and letter == b[j - 2] and a[i - 2] == other:
                cost = min(cost, older[j - 2] + 1)
            row.append(cost)
    return row[-1] if row[-1] <= most else None


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
    count = unknown = 0
    for item in errors:
        place = tuple(item["loc"])[skip:]
        if item["type"] == _RULED_OUT:
            inner = item["ctx"]["problems"]
            problems += [_inside(place, problem) for problem in inner[: MAX_PROBLEMS - len(problems)]]
            count += len(inner) + item["ctx"].get("more", 0)
            continue
        count += 1
        unknown += item["type"] == "extra_forbidden"
        # Words for as many as are read: those for thousands would take minutes.
        if len(problems) < MAX_PROBLEMS:
            problems.append(_worded(item, place, model))
    kind = UnknownField if unknown == count else InvalidInput
    return as_error(kind, problems, more=count - len(problems))


def _inside(place: Sequence[int | str], problem: dict[str, Any]) -> Problem:
    """A problem that a validator had words for, at its place."""
    where = ".".join(map(str, (*place, *([problem["field"]] if problem["field"] else ()))))
    return Problem(field=where or None, message=problem["message"], hint=problem["hint"])


def _worded(item: Any, place: Sequence[int | str], model: type[BaseModel] | None) -> Problem:
    """One of pydantic's errors in our words."""
    hint: str | None = None
    message = str(item["msg"]).removeprefix("Value error, ")
    if item["type"] == "extra_forbidden":
        name = str(place[-1])
        message = f"`{shortened(name)}` is not a known field."
        home = _model_at(model, place[:-1]) if model else None
        spellings = _spellings(home) if home else {}
        meant = did_you_mean(name, spellings)
        hint = f"Did you mean `{spellings[meant]}`?" if meant else "`tunesmith parameters` lists them all."
    elif item["type"] == "string_pattern_mismatch":
        # A pattern is no sentence: the parameter's own help says what is expected.
        message = f"It is not of the form that is asked for (given: {_given(str(item['input']))})."
        home = _model_at(model, place[:-1]) if model and place else None
        field = home.model_fields.get(str(place[-1])) if home else None
        hint = (
            field.description if field and field.description else f"It must match `{item['ctx']['pattern']}`."
        )
    elif isinstance(item.get("input"), str | int | float | bool):
        message = f"{message.rstrip('.')} (given: {_given(item['input'])})."
    return Problem(field=".".join(map(str, place)) or None, message=message, hint=hint)


def _given(value: str | float | bool) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    try:
        # The end of a long text is cut before it is quoted.
        return repr(shortened(value)) if isinstance(value, str) else shortened(repr(value))
    except ValueError:  # an integer of so many digits that Python writes none of them
        return "a number of very many digits"


def as_error(kind: type[InvalidInput], problems: list[Problem], more: int = 0) -> InvalidInput:
    """One error of several problems: the first in its words, those that there are words for with it.

    Args:
        kind: The error.
        problems: What is wrong; at least one.
        more: How many further problems there are no words for.
    """
    first = problems[0]
    head = f"{first.field}: {first.message}" if first.field else first.message
    others = len(problems) - 1 + more
    rest = f" (and {others} more)" if others else ""
    return kind(head + rest, hint=first.hint, problems=problems, more_problems=more)
