"""A fake server that the command line finds by its environment."""

import os
from collections.abc import Callable, Iterator
from typing import NamedTuple

import pytest
from fake_api import KEY, FakeApi

from tunesmith.cli.main import run


class Said(NamedTuple):
    """What a command line left behind."""

    code: int
    out: str
    err: str


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeApi]:
    with FakeApi() as server:
        monkeypatch.setenv("TUNESMITH_URL", server.url)
        monkeypatch.setenv("TUNESMITH_API_KEY", KEY)
        yield server


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Said]:
    """Runs a command line in this process, at 80 columns."""
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("NO_COLOR", "1")

    if "TUNESMITH_LANG" not in os.environ:
        monkeypatch.setenv("TUNESMITH_LANG", "en")

    def call(*args: str) -> Said:
        capsys.readouterr()
        code = run(list(args))
        out, err = capsys.readouterr()
        return Said(code, out, err)

    return call
