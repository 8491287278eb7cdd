"""What a report shows of rows: how one begins, what kind of trouble it is in, which scripts its letters belong to."""

import re
import unicodedata
from collections import Counter
from functools import lru_cache
from itertools import islice
from typing import Any

from tunesmith.rows.files.decoding import Row

_EXCERPT = 160

_NUMBERS = re.compile(r"\d+")
_QUOTED = re.compile(r"(?<=near )`[^`]*`|(?<=is )`[^`]*`")


def kind_of_reason(message: str) -> str:
    """A message without what differs from row to row."""
    return _NUMBERS.sub("N", _QUOTED.sub("`...`", message))[:200]


def beginning_of(row: Row) -> str:
    """How a row begins, on one line."""
    parts: list[str] = []
    size = 0
    for name, value in row.items():
        parts.append(f"{str(name)[:40]}: {_short(value)}")
        size += len(parts[-1])
        if size > _EXCERPT:
            break
    return " ".join(", ".join(parts).split())[:_EXCERPT]


def _short(value: Any) -> str:
    if isinstance(value, str):
        return value[:_EXCERPT]
    # Only its beginning is written out: a row may be megabytes.
    if isinstance(value, list):
        return (
            f"{_shorter(value[0]) if value else ''}{f', ... (+{len(value) - 1})' if len(value) > 1 else ''}"
        )
    return _shorter(value) if isinstance(value, dict) else str(value)[:_EXCERPT]


def _shorter(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{str(k)[:20]}: {_scalar(v)}" for k, v in islice(value.items(), 4))
    return _scalar(value)


def _scalar(value: Any) -> str:
    return value[:60] if isinstance(value, str) else type(value).__name__


def count_letters(text: str, letters: "Counter[str]") -> None:
    """Add a text's letters to the counts of their scripts."""
    if text.isascii():
        letters["Latin"] += sum(map(str.isalpha, text))
        return
    for char, count in Counter(text).items():
        script = _script(char)
        if script:
            letters[script] += count


_SCRIPTS: dict[str, str] = {"CJK": "Han", "FULLWIDTH": "Latin"}


@lru_cache(maxsize=65536)
def _script(char: str) -> str | None:
    """The script of a letter, as its Unicode name begins; None for what is no letter."""
    if not char.isalpha():
        return None
    word = unicodedata.name(char, "").partition(" ")[0]
    return _SCRIPTS.get(word, word.title()) or None
