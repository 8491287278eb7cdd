"""Texts of other programs become JSON and rows, whatever they hold."""

import datetime as dt
import json
from typing import Any

import pytest

from tunesmith.chat.wire import LINE, Failed, Piece
from tunesmith.events import JobEvent, Warned
from tunesmith.plain_text import as_json, plain_text

HALVES = ["\ud800", "a\udfff", "\udc00\ud800 b", "\udcff/file"]
SAID: Any = [
    lambda text: Piece(text=text, tokens=1),
    lambda text: Failed(message=text, hint=text),
    lambda text: JobEvent(
        seq=1, time=dt.datetime(2026, 11, 30, tzinfo=dt.UTC), payload=Warned(code="x", message=text)
    ),
]


@pytest.mark.parametrize("text", HALVES, ids=ascii)
@pytest.mark.parametrize("made", SAID)
def test_what_holds_half_of_a_pair_is_json_all_the_same(made: Any, text: str) -> None:
    read = json.loads(as_json(made(text)).decode("utf-8"))
    assert read == json.loads(as_json(made(plain_text(text))))
    if "type" in read:
        LINE.validate_json(as_json(made(text)))


def test_what_holds_none_is_as_it_was() -> None:
    said = Piece(text="a\x00é文😀\\ud800", tokens=2)
    assert as_json(said) == said.model_dump_json().encode()
    assert plain_text("a\x00é文😀") == "a\ufffdé文😀"
