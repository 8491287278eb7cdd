"""Texts of other programs as JSON and every database take them.

A model, a library's message or the name of a file may hold half of a surrogate pair or a NUL. Python keeps both in a
text; UTF-8 has no form for the first, and PostgreSQL none for the second.
"""

import json

from pydantic import BaseModel
from pydantic_core import PydanticSerializationError


def plain_text(text: str) -> str:
    """A text without them: a NUL becomes the character for what is none, half of a pair a question mark."""
    return text.replace("\x00", "\ufffd").encode("utf-8", "replace").decode()


def as_json(said: BaseModel) -> bytes:
    """An object as JSON in UTF-8; half of a pair becomes a question mark. NULs stay: JSON has a form for them."""
    try:
        return said.model_dump_json().encode()
    except PydanticSerializationError:
        return json.dumps(said.model_dump(mode="json"), ensure_ascii=False).encode("utf-8", "replace")
