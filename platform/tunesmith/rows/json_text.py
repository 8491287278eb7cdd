"""Lists and objects that a table keeps as text: JSON, or the way pandas writes a Python list into a CSV file.

Knows JSON and Python's literals; knows nothing of what they mean.
"""

import ast
import json
from typing import Any

from tunesmith.rows.files.decoding import DECODER

_MOST_LITERAL = 2**20
"""Characters of a Python literal: its parser is slow, and takes a hundred times the memory of its text."""
_KINDS = (dict, list, str, int, float, bool, type(None))


def unpacked(value: Any) -> Any:
    """The list or object that a text holds; the value itself where it is no text, or a text of its own."""
    if not isinstance(value, str):
        return value
    text = value.strip()
    if text[:1] not in ("[", "{") or text[-1:] not in ("]", "}"):
        return value
    try:
        return DECODER.decode(text)
    except (ValueError, RecursionError):
        pass
    if len(text) > _MOST_LITERAL or "'" not in text:
        return value
    # numpy prints the items of an array, as pandas and `datasets` keep lists, without commas.
    for literal in (text, text.replace("}\n {", "},\n {")):
        try:
            found = ast.literal_eval(literal)  # builds values, runs nothing
        except (ValueError, SyntaxError, RecursionError, MemoryError, TypeError):
            continue
        if _is_plain(found):
            return _parted(found)
    return value


def _parted(found: Any) -> Any:
    """A list of one text that is several objects behind each other: Python joins texts without a comma between them."""
    if not (
        isinstance(found, list) and len(found) == 1 and isinstance(found[0], str) and found[0][:1] == "{"
    ):
        return found
    text, at, parts = found[0], 0, []
    try:
        while at < len(text):
            part, at = DECODER.raw_decode(text, at)
            parts.append(part)
    except (ValueError, RecursionError):
        return found
    return parts


def _is_plain(value: Any) -> bool:
    if isinstance(value, dict):
        return all(isinstance(key, str) and _is_plain(item) for key, item in value.items())
    if isinstance(value, list):
        return all(map(_is_plain, value))
    return isinstance(value, _KINDS)


def without_nulls(value: Any) -> Any:
    """The same without the keys of objects that hold null.

    A table gives all its objects the same keys, and fills those that one lacks with null; a chat template would write
    them out.
    """
    if isinstance(value, dict):
        return {key: without_nulls(item) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [without_nulls(item) for item in value]
    return value


def packed(value: Any) -> str:
    """A value as JSON that any reader takes, letters as they are."""
    return json.dumps(value, ensure_ascii=False)
