"""The measuring job: it trains for real, takes the longest rows, leaves nothing but the result."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from training_run import write_rows

from tunesmith.probe import ProbeDocument, ProbeResult
from tunesmith.spec.training import TrainSpec
from tunesmith_jobs.probe import _choose, _reduced, measure

CODE = """
import sys
from tunesmith.probe import ProbeDocument
from tunesmith_jobs.probe import measure
print(measure(ProbeDocument.model_validate_json(sys.argv[1])).model_dump_json())
"""


def document(tiny_model: Path, folder: Path, **spec: Any) -> ProbeDocument:
    rows = folder / "rows.jsonl"
    if not rows.exists():
        write_rows(rows, 24)
    given = {
        "model_name_or_path": str(tiny_model),
        "train_file": str(rows),
        "target_modules": "all-linear",
        "per_device_train_batch_size": 2,
        "gradient_accumulation_steps": 2,
        "device": "cpu",
        "max_length": 64,
    }
    return ProbeDocument(
        id="measure-1",
        spec=TrainSpec.read(given | spec).model_dump(mode="json"),
        model_path=str(tiny_model),
        train_path=str(rows),
        work_dir=str(folder / "work"),
        limit_seconds=100,
    )


# The second one is long: how a whole model is trained packed and saved by epochs, other tests of trainings show; what a
# fresh process measures, the first.
@pytest.mark.slow
@pytest.mark.parametrize(
    "spec",
    [
        {},
        pytest.param({"use_lora": False, "packing": True, "save_strategy": "epoch"}, marks=pytest.mark.long),
    ],
)
def test_it_measures_in_a_fresh_process(tiny_model: Path, tmp_path: Path, spec: dict[str, Any]) -> None:
    given = document(tiny_model, tmp_path, **spec)
    done = subprocess.run(
        [sys.executable, "-c", CODE, given.model_dump_json()],
        capture_output=True,
        text=True,
        timeout=200,
        check=True,
    )
    found = ProbeResult.model_validate_json(done.stdout.strip().splitlines()[-1])
    assert found.error == ""
    assert 300e6 < found.peak_bytes < 2e9
    assert 0 < found.seconds_per_step < 30
    assert found.longest_step_seconds > 0
    assert found.start_seconds > 0
    assert found.steps >= 4
    assert found.checkpoint_bytes > 1000
    assert not (tmp_path / "work").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["rows.jsonl"]


def test_what_cannot_be_trained_is_a_result_with_words(tiny_model: Path, tmp_path: Path) -> None:
    found = measure(document(tiny_model, tmp_path, max_length=8))
    assert "has anything to train on" in found.error
    (tmp_path / "rows.jsonl").write_text("{broken\n")
    assert "Broken JSON" in measure(document(tiny_model, tmp_path)).error
    assert not (tmp_path / "work").exists()


def test_the_longest_rows_are_taken_wherever_they_stand(tiny_model: Path, tmp_path: Path) -> None:
    given = document(tiny_model, tmp_path, max_length=512)
    rows = [json.loads(line) for line in (tmp_path / "rows.jsonl").read_text().splitlines()]
    long = {
        "messages": [{"role": "user", "content": "so long " * 60}, {"role": "assistant", "content": "Yes."}]
    }
    rows.insert(17, long)
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    chosen = _choose(TrainSpec.stored(given.spec), given)
    assert chosen.longest[0] == long
    assert len(chosen.longest) == 2 * 2 * 2
    assert len(chosen.typical) == 2 * 2 * 5
    assert chosen.longest_tokens > 100


def test_a_step_of_many_batches_is_measured_with_few(tiny_model: Path, tmp_path: Path) -> None:
    given = document(tiny_model, tmp_path, gradient_accumulation_steps=64, num_workers=2, learning_rate=1e-3)
    reduced = _reduced(TrainSpec.stored(given.spec))
    assert reduced.gradient_accumulation_steps == 8
    assert reduced.workers == (1, 1)
    assert reduced.learning_rate == 1e-3
    assert reduced.per_device_train_batch_size == 2
