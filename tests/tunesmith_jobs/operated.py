"""Rows, the files that hold them, and operations on these."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tunesmith.data_step import DataOutput
from tunesmith.spec.dataset import read_operation
from tunesmith_jobs.data.operations import run

ROWS: list[dict[str, Any]] = [{"n": n, "text": f"row {n}", "even": n % 2 == 0} for n in range(20)]


@pytest.fixture
def file(tmp_path: Path) -> Callable[..., str]:
    def write(rows: list[dict[str, Any]], name: str = "in.jsonl") -> str:
        path = tmp_path / name
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return str(path)

    return write


@pytest.fixture
def work(tmp_path: Path) -> Callable[..., dict[str, DataOutput]]:
    def call(method: str, **parameters: Any) -> dict[str, DataOutput]:
        return run(read_operation(method, parameters), tmp_path / "out")

    return call


def rows_of(output: DataOutput) -> list[dict[str, Any]]:
    return [json.loads(line) for line in Path(output.path).read_text().splitlines()]


def numbers(output: DataOutput) -> list[int]:
    return [row["n"] for row in rows_of(output)]
