"""Losses and gradient norms of each kind of training, step by step, against the files in `tests/golden/`.

A change that should move no number shows identical files; one that should, shows by how much. To write them anew:
`TUNESMITH_WRITE_GOLDEN=1 python -m pytest tests/tunesmith_jobs/test_golden_losses.py`, and say why in the commit.
"""

import json
import os
from pathlib import Path
from typing import Any

import pytest
import training_run as tr
from tiny_model import TEXTS

from tunesmith.lifecycle import State

FOLDER = Path(__file__).resolve().parents[1] / "golden"
MAY_WRITE = os.environ.get("TUNESMITH_WRITE_GOLDEN") == "1"
SEEN = ("loss", "grad_norm", "eval_loss")
COMMON: dict[str, Any] = {
    "max_steps": 6, "save_strategy": "no", "precision": "fp32", "device": "cpu", "learning_rate": 5e-3,
    "eval_strategy": "steps", "eval_steps": 3, "eval_sampling_ratio": 0.1,
}  # fmt: skip
FULL = {"use_lora": False, "learning_rate": 1e-3}
KINDS: dict[str, dict[str, Any]] = {
    "sft-lora": {},
    "sft-lora-packed": {"packing": True, "max_length": 128},
    "sft-lora-dora": {"use_dora": True, "use_rslora": True, "bias": "all"},
    "sft-full": FULL,
    "sft-qlora-nf4": {
        "load_in_4bit": True, "bnb_4bit_quant_type": "nf4", "bnb_4bit_use_double_quant": True,
        "bnb_4bit_compute_dtype": "float32",
    },
    "pretrain-lora": {"training_type": "pretrain", "max_length": 64},
    "pretrain-full": {"training_type": "pretrain", "max_length": 64} | FULL,
    "classification-lora": {"training_type": "classification"},
    "classification-full": {"training_type": "classification"} | FULL,
}  # fmt: skip
pytestmark = pytest.mark.usefixtures("one_thread")


def write_rows(folder: Path, kind: str) -> Path:
    file = folder / "rows.jsonl"
    if kind == "sft":
        return tr.write_rows(file, 24)
    with file.open("w") as out:
        for i in range(24):
            row: dict[str, Any] = {"text": " ".join(TEXTS[(i + j) % len(TEXTS)] for j in range(1 + i % 3))}
            if kind == "classification":
                row["label"] = ["even", "odd"][i % 2]
            out.write(json.dumps(row, ensure_ascii=False) + "\n")
    return file


@pytest.mark.parametrize("name", KINDS)
def test_the_losses_are_those_on_file(tmp_path: Path, model: Path, name: str) -> None:
    rows = write_rows(tmp_path, name.split("-", maxsplit=1)[0])
    outcome = tr.run(tmp_path, model, rows=rows, **(COMMON | KINDS[name]))
    assert outcome.outcome is State.COMPLETED, outcome
    found = {
        what: {str(step): value for step, value in sorted(tr.losses(tmp_path, name=what).items())}
        for what in SEEN
    }
    file = FOLDER / f"{name}.json"
    if MAY_WRITE:
        file.write_text(json.dumps(found, indent=1) + "\n")
    expected = json.loads(file.read_text())
    assert set(found) == set(expected)
    for what in SEEN:
        # Another processor adds in another order: the loss moves in the sixth digit, a gradient's norm a little more.
        assert found[what] == pytest.approx(expected[what], rel=1e-4 if what == "grad_norm" else 1e-5), what


def test_every_file_has_its_kind() -> None:
    assert {file.stem for file in FOLDER.glob("*.json")} == set(KINDS)
