"""A table as one JSON object: as pandas' `to_json` writes it (by columns, its default, `split`, `index`, `table`), a
list of values for each column, or rows under a name such as `data`.

Such an object is read whole, so its size is bounded; the other ways to write rows are streamed. Knows JSON; knows
nothing of what a row means.
"""

import re
from typing import Any, BinaryIO

from tunesmith.errors import InvalidData
from tunesmith.rows.columns import plain_name
from tunesmith.rows.files.decoding import (
    DECODER,
    NotFinite,
    Row,
    Twice,
    excerpt,
    not_finite,
    not_utf8,
    twice,
    unreadable,
)
from tunesmith.rows.problems import bad_file

MAX_BYTES = 64 * 1024**2
HEAD = 512
"""Bytes of a file's beginning that tell whether it may be such a table."""
_NAME = rb'"(?:[^"\\]|\\.)*"'
_BEGINS = re.compile(
    rb"\{\s*(?:"
    rb'"(?:columns|index|data|rows|train|examples|samples|instances|records)"\s*:\s*\['  # split, or rows
    rb"|" + _NAME + rb'\s*:\s*\[\s*(?:"|[-\dntf])'  # values of a column
    rb'|"(?:features|dataset)"\s*:\s*["\[]'  # the hub's viewer
    rb'|"schema"\s*:\s*\{\s*"fields"'  # table
    rb'|"\d+"\s*:\s*\{'  # index
    rb"|" + _NAME + rb'\s*:\s*\{\s*"\d+"\s*:'  # columns
    rb")"
)
_LISTS = ("data", "rows", "train", "examples", "samples", "instances", "records")
"""Names under which all rows are put."""
_TALKS = ("conversation", "conversations", "messages", "dialog", "dialogue")
"""Names whose list of texts is one conversation, and no column of a table."""
_CURE = "Write the rows one by one: in pandas, `df.to_json(path, orient='records', lines=True, force_ascii=False)`."


def may_be_table(head: bytes) -> bool:
    """Whether a file that begins so may hold a table as one object."""
    return bool(_BEGINS.match(head))


def is_one_object(file: BinaryIO) -> bool:
    """Whether a file holds one object, be it over many lines: no line that ends with a brace stands before others."""
    line = b""
    for _ in range(MAX_BYTES // 2**20):
        line = file.readline(2**20)
        if not line or line.endswith(b"\n"):
            break
    if not line.rstrip().endswith(b"}"):
        return True
    while rest := file.read(2**20):
        if rest.strip():
            return False
    return True


def rows_of(name: str, file: BinaryIO) -> tuple[str, list[Row]]:
    """How the table in a file is laid out, and its rows. A single object that is no table is one row.

    Args:
        name: The file's name, for messages.
        file: Its plain bytes, behind a byte order mark.

    Raises:
        InvalidData: It is broken, too large, or its parts do not fit each other.
    """
    raw = file.read(MAX_BYTES + 1)
    if len(raw) > MAX_BYTES:
        raise bad_file(
            name,
            f"`{name}` holds a table as one JSON object of more than {MAX_BYTES // 1024**2} MB, which is read whole.",
            _CURE,
        )
    found = _object_in(name, raw)
    if not isinstance(found, dict):
        raise bad_file(name, f"`{name}` holds no JSON object.", _CURE)
    if isinstance(found.get("columns"), list) and isinstance(found.get("data"), list):
        return "pandas: columns and data apart", _split(name, found["columns"], found["data"])
    schema, data = found.get("schema"), found.get("data")
    if isinstance(schema, dict) and isinstance(data, list) and all(isinstance(row, dict) for row in data):
        key = schema.get("primaryKey")
        keys = set(key if isinstance(key, list) else [key]) if key else set()
        return "pandas: table with a schema", [
            {column: value for column, value in row.items() if column not in keys} for row in data
        ]
    inner = list(found.values())
    if inner and all(isinstance(one, dict) for one in inner):
        if all(_are_numbers(one) for one in inner):
            return "pandas: column by column", _columns(found)
        if _are_numbers(found):
            return "pandas: row by row under its number", inner
        return "", [found]
    is_talk = any(plain_name(str(column)) in _TALKS for column in found)
    if inner and not is_talk and all(_are_values(one) and len(one) == len(inner[0]) for one in inner):
        return "a list of values for each column", [
            dict(zip(found, values, strict=True)) for values in zip(*inner, strict=True)
        ]
    lists = [column for column, value in found.items() if isinstance(value, list) and column != "features"]
    if len(lists) == 1 and lists[0] in _LISTS and _are_rows(found[lists[0]]):
        return "rows under one name", _of_a_viewer(name, found[lists[0]])
    return "", [found]


def _are_values(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and not any(isinstance(one, list | dict) for one in value)


def _are_rows(value: list[Any]) -> bool:
    """Whether it lists rows: not the turns of one."""
    return bool(value) and all(
        isinstance(row, dict) and "role" not in row and "from" not in row for row in value
    )


def _of_a_viewer(name: str, rows: list[dict[str, Any]]) -> list[Row]:
    """Rows as they are; out of the wrapping that the hub's viewer (`/rows`, `/first-rows`) puts round each.

    Raises:
        InvalidData: The viewer cut a value of one.
    """
    if not all(isinstance(row.get("row"), dict) and "row_idx" in row for row in rows):
        return rows
    for row in rows:
        if row.get("truncated_cells"):
            place = f"{name}:row {str(row['row_idx'])[:20]}"
            raise bad_file(
                place,
                f"{place}: The viewer that wrote the file cut the row (`truncated_cells`): an answer may lack its "
                "end.",
                "Take the data set's own file instead, e.g. by its name on the hub.",
            )
    return [row["row"] for row in rows]


def _are_numbers(value: dict[str, Any]) -> bool:
    return bool(value) and all(key.isdecimal() for key in value)


def _split(name: str, columns: list[Any], data: list[Any]) -> list[Row]:
    names = [str(column) for column in columns]
    if len(set(names)) < len(names):
        twice_named = next(column for column in names if names.count(column) > 1)
        raise bad_file(name, f"`{name}` has two columns `{twice_named[:80]}`.", "Rename one of them.")
    rows: list[Row] = []
    for number, values in enumerate(data, 1):
        if not isinstance(values, list) or len(values) != len(names):
            raise bad_file(
                f"{name}:row {number}",
                f"{name}:row {number}: The row in `data` has not as many values as `columns` has names: "
                f"{len(names)}.",
                "Write the table anew.",
            )
        rows.append(dict(zip(names, values, strict=True)))
    return rows


def _columns(found: dict[str, dict[str, Any]]) -> list[Row]:
    """Rows of columns; one that a column has not is null there, as in a table."""
    numbers = dict.fromkeys(number for column in found.values() for number in column)
    return [{column: values.get(number) for column, values in found.items()} for number in numbers]


def _object_in(name: str, raw: bytes) -> Any:
    try:
        text = raw.decode()
    except UnicodeDecodeError as error:
        raise not_utf8(error.start).at(name) from None
    try:
        return DECODER.decode(text)
    except NotFinite as error:
        raise not_finite(error).at(name) from None
    except Twice as error:
        raise twice(error).at(name) from None
    except (ValueError, RecursionError) as error:
        at = getattr(error, "pos", None)
        if at is None:
            raise unreadable(error).at(name) from None
        raise _broken(name, str(getattr(error, "msg", error)), text, at) from None


def _broken(name: str, message: str, text: str, at: int) -> InvalidData:
    line = text.count("\n", 0, at) + 1
    place = f"{name}:{line}"
    return bad_file(
        place,
        f"{place}: Broken JSON: {message} near `{excerpt(text, at)}`.",
        "A file that begins so is read as one table: where it is none, write the rows one by one.",
    )
