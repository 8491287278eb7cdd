"""Arrow batches as Python rows, with what lies in them as JSON (the type `arrow.json`) read.

`datasets` gives this type to turns whose keys differ; pyarrow hands its values out as text. Knows Arrow's types; knows
nothing of files.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

from tunesmith.rows.files.decoding import DECODER

_JSON = "arrow.json"
_Read = Callable[[Any], Any]


def python_rows(batch: Any) -> list[dict[str, Any]]:
    """The rows of a batch.

    Raises:
        UnicodeDecodeError: A text in it is not UTF-8.
    """
    rows: list[dict[str, Any]] = batch.to_pylist()
    for field in batch.schema:
        read = _reader(field.type)
        if read is not None:
            for row in rows:
                row[field.name] = read(row[field.name])
    return rows


def _reader(kind: Any) -> _Read | None:
    """What reads the values of a type; None where they are read already."""
    if getattr(kind, "extension_name", None) == _JSON:
        return _from_json
    parts = {kind.field(i).name: kind.field(i).type for i in range(kind.num_fields)}
    readers = {name: read for name, part in parts.items() if (read := _reader(part)) is not None}
    if not readers:
        return None
    if str(kind).startswith("struct"):
        return partial(_in_object, readers)
    return partial(_in_list, next(iter(readers.values()))) if len(parts) == 1 else None


def _from_json(value: Any) -> Any:
    try:
        return DECODER.decode(value) if isinstance(value, str) else value
    except (ValueError, RecursionError):
        return value


def _in_object(readers: dict[str, _Read], value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    return {key: readers[key](item) if key in readers else item for key, item in value.items()}


def _in_list(read: _Read, value: Any) -> Any:
    return [read(item) for item in value] if isinstance(value, list) else value
