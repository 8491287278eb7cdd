"""A real part that is missing is skipped on a developer's machine, and fails in CI."""

import pytest
from _pytest.outcomes import Failed, Skipped
from required import require


def test_what_is_here_is_no_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "true")
    require("/usr/bin/part", "The part")


@pytest.mark.parametrize(("ci", "outcome"), [("true", Failed), ("", Skipped)])
def test_what_is_missing_fails_in_ci_alone(
    monkeypatch: pytest.MonkeyPatch, ci: str, outcome: type[BaseException]
) -> None:
    monkeypatch.setenv("CI", ci)
    with pytest.raises(outcome, match="The part is not here"):
        require(None, "The part")
