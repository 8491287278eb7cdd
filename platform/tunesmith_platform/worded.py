"""What tasks, models and estimates say of themselves, in the language of who reads it on a page.

Sentences are made in English and kept so; whoever asks in Chinese (`Accept-Language`) gets them as the catalogue has
them, as errors are. Programs that say nothing get English, and translate what they show. Knows JSON and names of
fields; knows no noun.
"""

import json
from typing import Any

from fastapi import Request, Response

from tunesmith.language import Language, language_of, tr

SENTENCES = frozenset(
    {"message", "next_step", "hint", "cause", "recommendation", "found", "why", "other_ids"}
)
"""Fields that hold what the platform says to people. What users wrote stands in others: names, notes, rows."""
_WORDS_TOO = frozenset({"why"})
"""Fields that hold a sentence in one place, and in another a single word that programs read."""
_SENTENCES_BELOW = frozenset({("time", "source")})
"""What is a sentence below one field alone; elsewhere the name holds what users or programs wrote."""
_MOST_BYTES = 2**20
"""A longer answer holds measurements: it goes as it is."""


def in_readers_language(request: Request, answer: Response) -> Response:
    """An answer for who reads Chinese; any other is handed back as it is."""
    is_json = answer.headers.get("content-type", "").startswith("application/json")
    if not is_json or language_of(request.headers.get("accept-language", "")) is not Language.ZH:
        return answer
    body = bytes(getattr(answer, "body", b""))
    if not 0 < len(body) <= _MOST_BYTES:
        return answer
    said = Response(
        json.dumps(_put(json.loads(body)), ensure_ascii=False, separators=(",", ":")).encode(),
        status_code=answer.status_code,
        media_type="application/json",
        background=answer.background,
    )
    kept = {
        name: value
        for name, value in answer.headers.items()
        if name not in ("content-length", "content-type")
    }
    said.headers.update(kept)
    return said


def _put(value: Any, name: str = "", above: str = "") -> Any:
    if isinstance(value, dict):
        return {key: _put(inner, key, name) for key, inner in value.items()}
    if isinstance(value, list):
        return [_put(inner) for inner in value]
    if not isinstance(value, str) or (name in _WORDS_TOO and " " not in value):
        return value
    is_sentence = name in SENTENCES or (above, name) in _SENTENCES_BELOW
    return tr(value, Language.ZH) if is_sentence else value
