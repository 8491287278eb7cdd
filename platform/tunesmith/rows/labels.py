"""The classes of a classification file: their names, their numbers, and whether two files agree.

Knows names only; knows nothing of files or models.
"""

import unicodedata
from collections.abc import Iterable, Sequence
from typing import Any

from tunesmith.errors import InvalidData
from tunesmith.row_problem import RowProblem
from tunesmith.rows.chat.content_parts import kind_of
from tunesmith.rows.columns import plain_name

MAX_CLASSES = 1000


def label_name(value: Any, column: str) -> str:
    """The name of a row's class: a string, or a whole number, which a table with gaps writes as `1.0`.

    Raises:
        RowProblem: It is neither.
    """
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise RowProblem(f"`{column}` is {kind_of(value)}.", "Write the class as a string or a whole number.")
    name = class_name(str(value))
    if not name:
        raise RowProblem(f"`{column}` is empty.", "Write the class or remove the row.")
    return name


def class_name(name: str) -> str:
    """A class's name in one Unicode form: `é` is one letter or two, and looks the same."""
    return unicodedata.normalize("NFC", name).strip()


def alike_classes(classes: Iterable[str]) -> list[tuple[str, str]]:
    """Classes whose names differ in width, case or blanks alone: two spellings of one, most likely."""
    seen: dict[str, str] = {}
    return [
        (seen[plain], name) for name in classes if seen.setdefault(plain := plain_name(name), name) != name
    ]


def sort_classes(names: Iterable[str]) -> tuple[str, ...]:
    """The classes in the order of their numbers: by value when all are whole numbers, else by name."""
    found = set(names)
    if all(name.removeprefix("-").isdecimal() for name in found):
        return tuple(sorted(found, key=lambda name: (int(name), name)))
    return tuple(sorted(found))


def check_classes(classes: Sequence[str], column: str = "label") -> None:
    """Whether a training file's classes can be told apart by a model.

    Raises:
        InvalidData: There is only one, or more than 1000.
    """
    if len(classes) < 2:
        raise InvalidData(
            f"Every row has the same class, `{classes[0][:80]}`: there is nothing to tell apart.",
            hint="Give rows of two classes or more, or name another `label_column`.",
            field=column,
        )
    if len(classes) > MAX_CLASSES:
        raise InvalidData(
            f"The rows have more than {MAX_CLASSES} classes.",
            hint="Is `label_column` the column that holds the class?",
            field=column,
        )


def check_known(classes: Iterable[str], known: Sequence[str], file: str) -> None:
    """Whether an evaluation file has only classes that are trained.

    Raises:
        InvalidData: It has others; says which.
    """
    others = sort_classes(set(classes) - {class_name(name) for name in known} - set(known))
    if others:
        shown = ", ".join(f"`{name[:40]}`" for name in others[:5]) + (", ..." if len(others) > 5 else "")
        raise InvalidData(
            f"`{file}` has classes that the training file does not have: {shown}.",
            hint="Train on rows of every class, or remove these rows from the evaluation file.",
            field=file,
        )
