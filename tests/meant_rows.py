"""What tests of the meaning of rows share: rows, written files, what a report found."""

import json
from pathlib import Path
from typing import Any

from tunesmith.dataset_views import DataReport, Finding
from tunesmith.rows.chat.turns import Message
from tunesmith.rows.files.reading import RowFile
from tunesmith.rows.shapes import Shape, shape_of
from tunesmith.spec.training import TrainSpec

USER, ANSWER = {"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}
PAIR = [Message("user", "q"), Message("assistant", "a")]


def spec(**given: Any) -> TrainSpec:
    return TrainSpec.read({"model_name_or_path": "-", "train_file": "-"} | given)


def write(folder: Path, *rows: dict[str, Any], name: str = "train.jsonl") -> Path:
    path = folder / name
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def shape(path: Path, **given: Any) -> Shape:
    return shape_of(RowFile(path), spec(**given))


def found(report: DataReport) -> dict[str, Finding]:
    return {one.code: one for one in report.findings}


ROWS: dict[str, dict[str, Any]] = {
    "pair": {"prompt": "q", "completion": "a"},
    "instruction": {"instruction": "q", "input": "", "output": "a"},
    "messages": {"messages": [USER, ANSWER]},
    "sharegpt": {"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]},
    "lists": {"prompt": [USER], "completion": [ANSWER]},
}
