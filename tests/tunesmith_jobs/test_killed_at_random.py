"""A run that is killed three times, wherever it happens to be, also while a checkpoint is saved, and started again."""

import json
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import training_run as tr

MORE: dict[str, Any] = {
    "max_steps": 16, "save_steps": 2, "save_total_limit": 2, "precision": "fp32", "reshuffle_each_epoch": True,
}  # fmt: skip
WEIGHTS = Path("artifacts", "model", "adapter_model.safetensors")
PLACES = {"step": "events-", "save": "scratch/checkpoint-", "upload": "artifacts/checkpoints"}
"""What a file's path holds when it is touched: by a report, by the Trainer's save, on the way to the storage."""


class FileWatch:
    """Counts what the process does with files in each place; kills it at one of them."""

    def __init__(self, folder: Path, place: str = "", number: int = 0) -> None:
        self.counts = dict.fromkeys(PLACES, 0)
        self._folder, self._place, self._number = f"{folder}/", place, number

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not (event == "open" or event.startswith(("os.", "shutil."))) or not arguments:
            return
        path = str(arguments[0])
        if not path.startswith(self._folder):
            return
        for place, part in PLACES.items():
            if part in path:
                self.counts[place] += 1
                if place == self._place and self.counts[place] == self._number:
                    os.kill(os.getpid(), 9)


def run_apart(
    folder: Path, model: Path, attempt: int, place: str = "", number: int = 0
) -> dict[str, int] | None:
    """Train in a process of its own; returns its counts, None where it was killed."""
    given = [str(folder), str(model), str(attempt), place, str(number)]
    done = subprocess.run(
        [sys.executable, __file__, *given],
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[1])},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode in (0, -9), done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1]) if done.returncode == 0 else None


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
        places = list(PLACES)
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


def main() -> None:
    """Train as `run_apart` says."""
    folder, model, attempt, place, number = sys.argv[1:]
    watch = FileWatch(Path(folder), place, int(number))
    sys.addaudithook(watch)
    outcome = tr.run(Path(folder), Path(model), attempt=int(attempt), **MORE)
    assert outcome.outcome == "completed", outcome
    print(json.dumps(watch.counts))


if __name__ == "__main__":
    main()
