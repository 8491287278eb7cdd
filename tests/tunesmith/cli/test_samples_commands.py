"""`tunesmith samples ...`: files of this machine without a server, and data sets of samples against the real one."""

import json
import re
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from guide_pages import ROOT, blocks
from served import served

from tunesmith.evaluation.samples import read_samples
from tunesmith.home import Home
from tunesmith.job import read_secret
from tunesmith_platform.app import create_app
from tunesmith_platform.settings import Settings
from tunesmith_platform.testing.fakes import FakeJobs

Cli = Callable[..., Any]
PAIR = {"prompt": "What is 2 + 2?", "completion": "4"}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Home]:
    home = Home(tmp_path / "home")
    home.create()
    settings = Settings(home=home.root, run_loops=False)
    with served(create_app(settings, FakeJobs()), read_secret(home.api_key_file), monkeypatch):
        yield home


@pytest.fixture
def nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUNESMITH_URL", "http://127.0.0.1:1")


@pytest.mark.usefixtures("nowhere")
def test_a_file_is_checked_without_a_server(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "mine.json"
    path.write_text(json.dumps({"validation": [PAIR, PAIR]}))
    said = cli("samples", "check", str(path))
    assert said.code == 0
    assert "validation 1" in said.err
    assert "asked once: 1" in said.err
    assert "What is 2 + 2?" in said.out
    path.write_text(json.dumps({"validation": [PAIR, {"prompt": "x"}]}))
    said = cli("samples", "check", str(path), "--json")
    assert (said.code, json.loads(said.out)["bad"]) == (1, 1)
    said = cli("samples", "check", str(path))
    assert "mine.json:validation row 2" in said.out
    path.write_text("")
    said = cli("samples", "check", str(path))
    assert (said.code, "is empty" in said.err) == (1, True)


@pytest.mark.usefixtures("nowhere")
def test_ours_are_shown_and_saved_to_start_from(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "validation 128" in cli("samples", "show").err
    assert json.loads(cli("samples", "show", "--language", "en", "--first", "0", "--json").out)["more"] == 70
    path = tmp_path / "ours.json"
    assert cli("samples", "show", "--language", "zh", "--save", str(path)).code == 0
    assert read_samples(path).counts == {"train": 6, "validation": 64}
    again = cli("samples", "show", "--save", str(path))
    assert (again.code, "--force" in again.err) == (1, True)
    assert cli("samples", "show", "--save", str(path), "--force").code == 0
    assert read_samples(path).counts["validation"] == 128
    assert cli("samples", "show", "--language", "fr").code == 1
    monkeypatch.setenv("TUNESMITH_LANG", "zh")
    assert "validation 128" in cli("samples", "show").err


def test_from_adding_to_removing(cli: Cli, home: Home, tmp_path: Path) -> None:
    said = cli("samples", "add", "questions", "--prompt", "What is 2 + 2?", "--completion", "4",
               "--keyword", "4", "--check", "words<=1", "--label", "4", "--system", "Be brief.")  # fmt: skip
    assert (said.code, "`questions@1`: train 0, validation 1. Added: 1, removed: 0." in said.err) == (
        0,
        True,
    ), said.err
    [sample] = json.loads(cli("samples", "show", "questions", "--json").out)["samples"]
    assert (sample["keywords"], sample["checks"], sample["label"]) == (["4"], ["words<=1"], "4")
    assert [turn["role"] for turn in sample["turns"]] == ["system", "user"]

    file = tmp_path / "more.json"
    file.write_text(json.dumps({"train": [{"prompt": "a", "completion": "b"}], "validation": [PAIR]}))
    assert "train 1, validation 2" in cli("samples", "add", "questions", str(file)).err
    said = cli(
        "samples",
        "add",
        "questions",
        "--prompt",
        "What is 3?",
        "--completion",
        "3",
        "--instead-of",
        sample["id"],
    )
    assert "Added: 1, removed: 1" in said.err
    gone = cli("samples", "remove", "questions", sample["id"])
    assert (gone.code, f"There is no sample `{sample['id']}`" in gone.err) == (1, True)
    saved = tmp_path / "saved.json"
    assert cli("samples", "show", "questions", "--save", str(saved)).code == 0
    assert read_samples(saved).counts == {"train": 1, "validation": 2}
    assert cli("samples", "check", "questions").code == 0
    assert cli("samples", "add", "questions").code == 1
    assert cli("samples", "add", "questions", "--prompt", "only").code == 1


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.usefixtures("home")
def test_what_the_guide_shows_of_samples_runs(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, language: str
) -> None:
    """What the guide's own test does with every command, for those that need no training."""
    page = ROOT / "platform" / "guide" / language / "evaluate.md"
    lines = [line for block in blocks(page) if not block.needs for line in block.commands]
    shown = [line for line in lines if line.startswith("tunesmith samples ")]
    assert len(shown) >= 6
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TUNESMITH_LANG", language)
    for line in shown:
        said = cli(*shlex.split(line)[1:])
        assert said.code == 0, (line, said)
        assert language == "en" or not said.err or re.search(r"[\u4e00-\u9fff]", said.err), (line, said.err)
