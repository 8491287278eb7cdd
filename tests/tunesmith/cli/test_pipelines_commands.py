"""`tunesmith run` and `tunesmith pipelines ...`, against a control plane that answers for real."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest_platform import Plane
from data_jobs import carry_out, waiting
from served import served

from tunesmith.home import Home
from tunesmith_platform.pipelines.runner import PipelineRunner

RUNNERS: dict[int, PipelineRunner] = {}
FILE = """
components:
  - {id: data, type: datasets, provider: local, data_files: ./rows.jsonl}
  - {id: ops, type: datasets}
workflows:
  - id: clean
    jobs:
      - {id: load, component: data}
      - id: keep
        component: ops
        method: filter
        input: {dataset: "${jobs.load.output}", condition: "n > ${input.least as number | 1}"}
"""


@pytest.fixture
def plane(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Plane]:
    """A control plane on a port, found by the command line's environment."""
    home = Home(tmp_path / "home")
    home.create()
    plane = Plane(home, allowed_roots=[tmp_path])
    with served(plane.app, plane.api_key, monkeypatch):
        yield plane


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "rows.jsonl").write_text("\n".join(json.dumps({"n": n}) for n in range(5)))
    file = tmp_path / "flow.yml"
    file.write_text(FILE)
    return file


def work(plane: Plane) -> None:
    """What the platform and Ray do until nothing is left to do."""
    runner = RUNNERS.setdefault(id(plane), PipelineRunner(plane.services))  # it keeps its lease
    for _ in range(4):
        runner.tick()
        plane.tick()
        for job in waiting(plane):
            carry_out(plane, job)
        plane.tick()
        runner.tick()


def test_the_life_of_a_pipeline(plane: Plane, cli: Callable[..., Any], file: Path) -> None:
    said = cli("run", str(file), "--input", "least=2", "--name", "mine")
    assert said.code == 0, said.err
    pipeline = said.out.strip()
    assert "mine" in cli("pipelines", "list").out
    work(plane)
    watched = cli("pipelines", "watch", pipeline)
    assert (watched.code, "Step `keep` is completed" in watched.err) == (0, True)
    shown = json.loads(cli("pipelines", "show", pipeline, "--json").out)
    assert [step["outputs"]["data"]["rows"] for step in shown["steps"]] == [5, 2]
    assert cli("pipelines", "delete", pipeline).code == 2, "nobody is here to be asked"
    assert cli("pipelines", "delete", pipeline, "--yes", "--with-files").code == 0
    assert cli("pipelines", "show", pipeline).code == 1


def test_a_failed_one_is_continued(plane: Plane, cli: Callable[..., Any], file: Path) -> None:
    rows = file.with_name("rows.jsonl")
    good = rows.read_text()
    rows.write_text("{broken")
    pipeline = cli("run", str(file)).out.strip()
    work(plane)
    watched = cli("pipelines", "watch", pipeline)
    assert (watched.code, "Step `load` is failed: rows.jsonl:1" in watched.err) == (1, True)
    rows.write_text(good)
    assert cli("pipelines", "continue", pipeline).code == 0
    work(plane)
    assert cli("pipelines", "watch", pipeline).code == 0
    assert "cannot be continued" in cli("pipelines", "continue", pipeline).err
    assert "completed" in cli("pipelines", "stop", pipeline).err


def test_a_check_starts_nothing(plane: Plane, cli: Callable[..., Any], file: Path) -> None:
    said = cli("run", str(file), "--check")
    assert [line.split() for line in said.out.splitlines()[1:]] == [
        ["load", "load", "data"],
        ["keep", "filter", "ops", "load"],
    ]
    assert cli("pipelines", "list", "--json").out.strip() == "[]"


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--workflow", "clan"], "Did you mean `clean`?"),
        (["--input", "least"], "sets nothing"),
        (["--set", "fraction=1"], "names no component"),
        (["--set", "data.fractoin=1"], "Did you mean `fraction`?"),
        (["--input", "least=x"], "is no number"),
    ],
)
def test_what_is_wrong_is_said_without_a_server(
    cli: Callable[..., Any], file: Path, args: list[str], words: str
) -> None:
    said = cli("run", str(file), *args)
    assert (said.code, said.out) == (1, "")
    assert words in said.err
