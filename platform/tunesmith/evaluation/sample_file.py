"""The entries of a sample file by their splits: one JSON object of two lists, or rows as a training reads them.

    {"train": [{"prompt": "...", "completion": "..."}], "validation": [...]}

Knows splits, places and bounds; knows nothing of what an entry means.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, get_args

from tunesmith.errors import InvalidData
from tunesmith.evaluation.results import Split
from tunesmith.row_problem import RowProblem
from tunesmith.rows.chat.content_parts import kind_of
from tunesmith.rows.columns import plain_name
from tunesmith.rows.files.decoding import DECODER, NotFinite, Row, Twice, as_row, not_finite, twice
from tunesmith.rows.files.decompress import open_plain
from tunesmith.rows.files.reading import RowFile
from tunesmith.rows.problems import bad_file

MAX_SAMPLES = 10_000
"""Of all splits together: as many as one evaluation takes."""
MAX_BYTES = 64 * 1024**2
"""Of a file, packed or not."""
SPLITS: tuple[Split, ...] = get_args(Split)
_MEANT: dict[str, Split] = {
    "training": "train",
    "trainset": "train",
    "训练": "train",
    "valid": "validation",
    "val": "validation",
    "dev": "validation",
    "test": "validation",
    "eval": "validation",
    "evaluation": "validation",
    "验证": "validation",
    "测试": "validation",
}
"""What other files call their splits: told, not guessed."""
_BEGINS_AS_SPLITS = re.compile(r'\{\s*"([^"]{1,40})"\s*:\s*\[')
_SHAPE = 'A sample file is `{"train": [...], "validation": [{"prompt": "...", "completion": "..."}, ...]}`.'


class Entry(NamedTuple):
    """What stands at one place of a sample file."""

    place: str
    split: Split
    number: int
    """From 1: in its split, or in a file of rows the row's own."""
    row: Row | RowProblem


def entries_of(path: Path, default_split: Split) -> list[Entry]:
    """Every entry of a sample file, in the file's order.

    Args:
        path: The file.
        default_split: What rows belong to that name no `split`.

    Raises:
        InvalidData: The file as a whole cannot be read, has none, names an unknown split, or is larger than allowed.
    """
    file = RowFile(path)
    if file.bytes > MAX_BYTES:
        raise _too_large(file.name, f"has {file.bytes} bytes; a sample file has {MAX_BYTES} at most")
    may_be_splits = file.format == "jsonl" or file.is_table_in_json
    splits = _splits_in(file) if may_be_splits else None
    found = _of_rows(file, default_split) if splits is None else _of_splits(file.name, splits)
    entries: list[Entry] = []
    size = 0
    for entry in found:
        size += 0 if isinstance(entry.row, RowProblem) else text_size(entry.row)
        if len(entries) >= MAX_SAMPLES or size > MAX_BYTES:
            more = (
                f"more than {MAX_SAMPLES} samples" if size <= MAX_BYTES else f"more than {MAX_BYTES} letters"
            )
            raise _too_large(file.name, f"holds {more}")
        entries.append(entry)
    if not entries:
        raise bad_file(file.name, f"`{file.name}` holds no sample.", _SHAPE)
    return entries


def split_named(value: Any) -> Split:
    """The split of a name.

    Raises:
        RowProblem: There is none of that name.
    """
    name = value if isinstance(value, str) else ""
    for split in SPLITS:
        if plain_name(name) == split:
            return split
    meant = _MEANT.get(plain_name(name))
    shown = f"`{name[:40]}`" if name else kind_of(value)
    raise RowProblem(
        f"The split {shown} is unknown: there are `train` and `validation`.",
        f"Did you mean `{meant}`?" if meant else "What is compared stands in `validation`.",
    )


def text_size(value: Any) -> int:
    """The letters in a value, however deep."""
    size, waiting = 0, [value]
    while waiting:
        one = waiting.pop()
        if isinstance(one, str):
            size += len(one)
        elif isinstance(one, dict):
            waiting += one.values()
        elif isinstance(one, list):
            waiting += one
    return size


def _of_rows(file: RowFile, default_split: Split) -> Iterator[Entry]:
    for number, row in file.scan():
        entry = Entry(file.place(number), default_split, number, row)
        yield entry if isinstance(row, RowProblem) else _placed(entry, row)


def _placed(entry: Entry, row: Row) -> Entry:
    """A row in the split that it names."""
    given = row.get("split")
    rest = {key: value for key, value in row.items() if key != "split"}
    try:
        split = entry.split if given in (None, "") else split_named(given)
    except RowProblem as problem:
        return entry._replace(row=problem)
    return entry._replace(split=split, row=rest)


def _of_splits(name: str, splits: dict[str, Any]) -> Iterator[Entry]:
    for given, rows in splits.items():
        try:
            split = split_named(given)
        except RowProblem as problem:
            raise problem.at(name) from None
        if not isinstance(rows, list):
            raise bad_file(f"{name}:{given}", f"`{given}` is {kind_of(rows)}, not a list of samples.", _SHAPE)
        for number, value in enumerate(rows, 1):
            yield Entry(f"{name}:{given} row {number}", split, number, as_row(value, suspicious=True))


def _splits_in(file: RowFile) -> dict[str, Any] | None:
    """The object that the file is; None where it holds rows."""
    with open_plain(file.path, file.packing) as plain:
        first = plain.readline(MAX_BYTES + 1)
        head = _decoded(first)
        if head is not None and not _is_splits(head):
            return None
        raw = first + plain.read(MAX_BYTES + 1 - len(first))
    if len(raw) > MAX_BYTES:
        raise _too_large(file.name, f"unpacks to more than {MAX_BYTES} bytes")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        return None  # read as rows, it is told where
    try:
        value = DECODER.decode(text)
    except (ValueError, RecursionError) as error:
        begin = _BEGINS_AS_SPLITS.match(text.lstrip())
        if begin is None or not _is_split_name(begin[1]):
            return None
        raise _broken(file.name, text, error) from None
    return value if isinstance(value, dict) and _is_splits(value) else None


def _decoded(line: bytes) -> Any:
    """What a line says as JSON; None where it says nothing by itself."""
    try:
        return DECODER.decode(line.decode("utf-8-sig").strip())
    except (ValueError, RecursionError):
        return None


def _is_split_name(name: str) -> bool:
    return plain_name(name) in SPLITS or plain_name(name) in _MEANT


def _is_splits(value: Any) -> bool:
    """Whether an object is lists by splits, rather than the one row of its file."""
    if not isinstance(value, dict) or not value:
        return False
    known = [key for key in value if _is_split_name(key)]
    return len(known) == len(value) or any(isinstance(value[key], list) for key in known)


def _broken(name: str, text: str, error: Exception) -> InvalidData:
    if isinstance(error, NotFinite | Twice):
        return (not_finite(error) if isinstance(error, NotFinite) else twice(error)).at(name)
    line, column = getattr(error, "lineno", 0), getattr(error, "colno", 0)
    why = getattr(error, "msg", None) or "brackets nested too deep"
    place = f"{name}:{line}" if line else name
    at_column = f" at column {column}" if column else ""
    rest = text.rstrip()
    is_cut = getattr(error, "pos", 0) >= len(rest)
    return bad_file(
        place,
        f"Broken JSON: {why}{at_column}.",
        "The file ends too early: was it copied whole?"
        if is_cut
        else "Fix it there; nothing of the file is used.",
    )


def _too_large(name: str, why: str) -> InvalidData:
    return bad_file(
        name,
        f"`{name}` {why}.",
        "Give a part of it: `tunesmith data run split` or `tunesmith data run select` makes one.",
    )
