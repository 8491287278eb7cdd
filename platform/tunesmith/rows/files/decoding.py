"""One row out of its bytes: a line of JSON or of plain text, or the problem that it is.

Twice the same name, numbers that are none, NUL and half characters are problems: each would be lost or break later.
Knows bytes, encodings and JSON; knows nothing of files.
"""

import json
import math
import re
from typing import Any, NoReturn

from tunesmith.row_problem import RowProblem

Row = dict[str, Any]

_EXCERPT = 24
_BLANK = re.compile(r"[ \t\r\n]*")


class NotFinite(ValueError):
    """A number that no JSON can hold."""


def refuse_constant(word: str) -> NoReturn:
    """Take no `NaN` and no `Infinity`, which Python's decoder knows and JSON does not."""
    raise NotFinite(word)


def finite(digits: str) -> float:
    """A number with a point or an exponent, unless it is too large to be one."""
    value = float(digits)
    if math.isinf(value):
        raise NotFinite(digits[:_EXCERPT])
    return value


class Twice(ValueError):
    """A name that stands twice in one object."""


def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object, unless one of its names stands twice in it."""
    found = dict(pairs)
    if len(found) < len(pairs):
        # Once over all of them: a hostile row has millions of names.
        seen: set[str] = set()
        raise Twice(next(name for name, _ in pairs if name in seen or seen.add(name)))  # type: ignore[func-returns-value]
    return found


DECODER = json.JSONDecoder(parse_constant=refuse_constant, parse_float=finite, object_pairs_hook=once)
_SCAN: Any = DECODER.scan_once  # type: ignore[attr-defined]


def parse_line(line: bytes, offset: int) -> Row | RowProblem:
    """One line's row; `offset` is where the line begins in the file, in bytes."""
    try:
        text = line.decode()
    except UnicodeDecodeError as error:
        return not_utf8(offset + error.start)
    try:
        # What nearly every line is, at twice the speed of what can say what is wrong.
        value, end = _SCAN(text, 0)
    except (StopIteration, ValueError, RecursionError):
        return _parse_with_care(line, text.rstrip("\r\n"))
    rest = text[end:]
    if rest and rest != "\n" and rest.strip(" \t\r\n"):
        return _parse_with_care(line, text.rstrip("\r\n"))
    return as_row(value, may_smuggle(line))


def _parse_with_care(line: bytes, text: str) -> Row | RowProblem:
    """As `parse_line`, for a line that is wrong, or begins with white space."""
    try:
        value = DECODER.decode(text)
    except json.JSONDecodeError as error:
        hint = "Each line must be one JSON object."
        if error.msg == "Extra data":
            rest = text[error.pos :].strip()
            hint = (
                "Remove the comma after the object." if rest == "," else "Put each row on a line of its own."
            )
        return RowProblem(
            f"Broken JSON: {error.msg} at column {error.pos + 1}, near `{excerpt(text, error.pos)}`.", hint
        )
    except NotFinite as error:
        return not_finite(error)
    except Twice as error:
        return twice(error)
    except (ValueError, RecursionError) as error:  # a number of thousands of digits; brackets a thousand deep
        return unreadable(error)
    return as_row(value, may_smuggle(line))


def parse_text(line: bytes, offset: int) -> Row | RowProblem:
    """One line of a plain text file as a row; `offset` is where the line begins in the file, in bytes."""
    try:
        row = {"text": line.decode()}
    except UnicodeDecodeError as error:
        return not_utf8(offset + error.start)
    return unusable_text(row) or row


def may_smuggle(line: bytes) -> bool:
    """Whether a line may hold, as an escape, what its decoder would refuse."""
    # One byte is found ten times as fast as two.
    return b"\\" in line and b"\\u" in line


def as_row(value: Any, suspicious: bool) -> Row | RowProblem:
    """A decoded value as a row; `suspicious` where its texts have to be looked through."""
    if not isinstance(value, dict):
        names = {list: "an array", str: "a string", type(None): "`null`", bool: "a boolean"}
        return RowProblem(
            f"The row is {names.get(type(value), 'a number')}, not a JSON object.",
            'Write it as `{"messages": [...]}`.',
        )
    # Only an escape can smuggle these in: the decoders refuse them raw.
    problem = unusable_text(value) if suspicious else None
    return problem or value


def unusable_text(row: Row) -> RowProblem | None:
    """What is wrong with the texts in a row, however deep."""
    waiting: list[Any] = [row]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            waiting += value.keys()
            waiting += value.values()
        elif isinstance(value, list):
            waiting += value
        elif isinstance(value, str):
            if "\x00" in value:
                return RowProblem("The row holds the character `\\u0000`.", "Remove it: no text needs it.")
            if not value.isascii() and any("\ud800" <= char <= "\udfff" for char in value):
                return RowProblem(
                    "The row holds half of a surrogate pair (`\\ud800` to `\\udfff` alone), which is no character.",
                    "The text was cut inside a character, often an emoji: write it whole or remove it.",
                )
    return None


def not_utf8(offset: int) -> RowProblem:
    """A byte of the file that no UTF-8 text has."""
    return RowProblem(
        f"The text is not UTF-8: byte {offset} of the file does not fit.",
        "Save the file as UTF-8, e.g. `iconv -f GB18030 -t UTF-8 in.jsonl > out.jsonl` for older Chinese files.",
    )


def not_finite(error: ValueError) -> RowProblem:
    """`NotFinite` as a row's problem."""
    return RowProblem(f"`{error}` is no JSON number that can be kept.", "Use `null` or leave the field out.")


def twice(error: ValueError) -> RowProblem:
    """`Twice` as a row's problem."""
    return RowProblem(
        f"The name `{str(error)[:40]}` stands twice in one object, so one of the two values would be lost.",
        "Keep one of them.",
    )


def unreadable(error: Exception) -> RowProblem:
    """What else a decoder may raise, as a row's problem."""
    why = "brackets nested too deep" if isinstance(error, RecursionError) else str(error)
    return RowProblem(f"The JSON cannot be read: {why}.", "Fix or remove the row.")


def skip(text: str, at: int) -> int:
    """The next place that is no white space."""
    match = _BLANK.match(text, at)  # a loop over half a gigabyte of blanks would take minutes
    assert match is not None
    return match.end()


def excerpt(text: str, at: int) -> str:
    """What stands round a place, for a message."""
    part = text[max(0, at - _EXCERPT) : at + _EXCERPT]
    return " ".join(part.split()).replace("`", "'")
