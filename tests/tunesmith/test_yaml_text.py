"""YAML of users: what would take for ever to read is refused at once, by every reader of it."""

from collections.abc import Callable

import pytest

from tunesmith.errors import InvalidInput
from tunesmith.evaluation.scores.custom import read_scorers
from tunesmith.spec.pipeline_file import read_pipeline
from tunesmith.templates import from_yaml

READERS = [read_scorers, read_pipeline, from_yaml]


@pytest.mark.parametrize("read", READERS)
@pytest.mark.parametrize(
    "text", ["a: " + "[" * 5_000, "a: " + "{b: " * 5_000, "\n".join(" " * deep + "a:" for deep in range(200))]
)
def test_a_deep_one_is_refused(read: Callable[[str], object], text: str) -> None:
    """Each level costs as much as all above it: five thousand took ten seconds of processor time."""
    with pytest.raises(InvalidInput, match="deep"):
        read(text)


@pytest.mark.parametrize("read", READERS)
def test_aliases_are_refused(read: Callable[[str], object]) -> None:
    with pytest.raises(InvalidInput, match="aliases"):
        read("a: &x [1]\nb: [*x, *x]")
