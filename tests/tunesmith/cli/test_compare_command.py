"""`tunesmith compare`, `tasks metrics --export` and `client.series`, against the real control plane over HTTP."""

import csv
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest_platform import Plane, home
from served import served

from tunesmith.client import Client
from tunesmith.curves import Axis, Mode
from tunesmith.errors import InvalidInput, NotFound
from tunesmith.views import TaskView

__all__ = ["home"]


@pytest.fixture
def plane(home: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Plane]:
    """A control plane that answers where the command line looks."""
    plane = Plane(home, max_concurrent_jobs=3)
    with served(plane.app, plane.api_key, monkeypatch):
        yield plane


def trained(plane: Plane, name: str, *losses: float, **spec: Any) -> TaskView:
    task = plane.running(name=name, spec=spec)
    points = [{"kind": "metrics", "step": i, "values": {"loss": loss}} for i, loss in enumerate(losses, 1)]
    plane.report(task, *points)
    return task


def test_two_tasks_side_by_side(plane: Plane, cli: Callable[..., Any]) -> None:
    a = trained(plane, "first", 3.0, 1.25, 1.5, learning_rate=1e-4)
    b = trained(plane, "second", 3.0, 2.5, 2.25, learning_rate=5e-4)
    said = cli("compare", "first", b.id)
    assert said.code == 0, said.err
    (loss,) = [line for line in said.out.splitlines() if line.startswith("loss")]
    assert loss.split() == ["loss", "1.5", "(lowest", "1.25", "at", "2)", "2.25"]
    (rate,) = [line for line in said.out.splitlines() if line.startswith("learning_rate")]
    assert rate.split()[-2:] == ["0.0001", "0.0005"]
    assert said.out.count("Training loss by step") == 2
    found = json.loads(cli("compare", a.id, b.id, "--json").out)
    assert [curve["value"] for curve in found["comparison"]["curves"]] == [[3.0, 1.25, 1.5], [3.0, 2.5, 2.25]]
    assert found["differences"][0]["differences"][0]["name"] == "learning_rate"
    assert "学习率" in cli("compare", a.id, b.id, "--lang", "zh").out


def test_three_tasks_have_a_column_each(plane: Plane, cli: Callable[..., Any]) -> None:
    for name, rank in (("r8", 8), ("r16", 16), ("also8", 8)):
        trained(plane, name, 1.0, r=rank)
    said = cli("compare", "r8", "r16", "also8")
    (rank_line,) = [line for line in said.out.splitlines() if line.startswith("r ")]
    assert rank_line.split()[-3:] == ["8", "16", "8"]


def test_what_cannot_be_compared_is_said(plane: Plane, cli: Callable[..., Any]) -> None:
    trained(plane, "a", 1.0)
    trained(plane, "b", 1.0)
    assert "Between 2 and 20" in cli("compare", "a").err
    assert "Between 2 and 20" in cli("compare", "a", "a").err
    assert cli("compare", "a", "nobody").code == 1
    said = cli("compare", "a", "b", "--name", "eval_f1")
    assert "None of them has measured eval_f1" in said.err
    assert "parameters are the same" in said.err


def test_measurements_are_exported(plane: Plane, cli: Callable[..., Any], tmp_path: Path) -> None:
    task = trained(plane, "a", 3.0, 1.25)
    said = cli("tasks", "metrics", "a", "--export", str(tmp_path / "loss.csv"))
    assert (said.code, said.out) == (0, "")
    with (tmp_path / "loss.csv").open(newline="") as file:
        assert [row["value"] for row in csv.DictReader(file)] == ["3.0", "1.25"]
    with Client() as client:
        parquet = client.series.export(task.id, tmp_path / "loss.parquet", ["loss"])
        assert parquet.read_bytes()[:4] == b"PAR1"
        with pytest.raises(NotFound):
            client.series.export("task-0", tmp_path / "none.csv")
        with pytest.raises(InvalidInput):
            client.series.export(task.id, tmp_path / "loss.xlsx")
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_file()) == ["loss.csv", "loss.parquet"]


def test_the_client_asks_for_curves(plane: Plane) -> None:
    task = trained(plane, "a", 4.0, 2.0, 1.0)
    with Client() as client:
        found = client.series.curves(task.id, ["loss"], mode=Mode.SEGMENTS, first=2, x=Axis.STEP, ema=0.5)
        (curve,) = found.curves
        assert (curve.attempt, curve.step, curve.value) == (1, [2, 3], [3.0, 2.0])
        with pytest.raises(InvalidInput):
            client.series.curves(task.id, points=5)
