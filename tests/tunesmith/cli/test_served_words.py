"""What becomes of a served model, as one line."""

import pytest

from tunesmith.cli.format import sentence
from tunesmith.events import Serving


@pytest.mark.parametrize(
    ("event", "words"),
    [
        (Serving(state="deploying"), "the model is being deployed"),
        (Serving(state="ready", seconds=2.5), "the model can be asked, 2.5 s"),
        (Serving(state="loading", model="a"), "`a` is being loaded"),
        (Serving(state="loaded", model="a", seconds=1.2, bytes=5 * 2**20), "`a` is loaded, 1.2 s, 5.0 MiB"),
        (Serving(state="unloaded", model="a"), "`a` has left the memory"),
        (Serving(state="idle"), "the model has left the memory"),
        (Serving(state="failed", message="It ended."), "the model does not answer: It ended."),
        (Serving(state="failed", model="a", message="Cut off."), "`a` could not be loaded: Cut off."),
    ],
)
def test_each_state_has_words(event: Serving, words: str) -> None:
    assert sentence(event) == words
