"""A run that is killed three times, wherever it happens to be, also while a checkpoint is saved, and started again."""

import json
import random
from pathlib import Path

import file_watch
import forked
import pytest
import training_run as tr

WEIGHTS = Path("artifacts", "model", "adapter_model.safetensors")


def run_apart(
    folder: Path, model: Path, attempt: int, place: str = "", number: int = 0
) -> dict[str, int] | None:
    """Train in a process of its own; returns its counts, None where it was killed."""
    said = folder.with_name(f"{folder.name}-said-{attempt}")
    code = forked.run(file_watch.main, str(folder), str(model), attempt, place, number, said=said)
    assert code in (0, -9), said.read_text()[-3000:]
    return json.loads(said.read_text().splitlines()[-1]) if code == 0 else None


@pytest.mark.slow
def test_three_kills_leave_the_weights_bit_for_bit(tmp_path: Path, model: Path) -> None:
    whole = tmp_path / "whole"
    whole.mkdir()
    counts = run_apart(whole, model, 1)
    assert counts is not None
    assert min(counts.values()) >= 16, f"the watch sees too little: {counts}"
    for seed in (1,):
        cut = tmp_path / f"cut-{seed}"
        cut.mkdir()
        draw = random.Random(seed)
        places = list(file_watch.PLACES)
        draw.shuffle(places)
        for attempt, place in enumerate(places, start=1):
            # Early enough that there are steps left for the next one.
            number = draw.randint(1, counts[place] // 4)
            assert run_apart(cut, model, attempt, place, number) is None, (seed, attempt, place, number)
        assert run_apart(cut, model, 4) is not None
        attempts = [n for n in range(1, 5) if (cut / f"events-{n}.jsonl").exists()]
        assert tr.losses(cut, *attempts) == tr.losses(whole), seed
        assert (cut / WEIGHTS).read_bytes() == (whole / WEIGHTS).read_bytes(), seed
        kept = [
            {path.name for path in (folder / "artifacts" / "checkpoints").iterdir()}
            for folder in (cut, whole)
        ]
        assert kept[0] == kept[1], seed
