"""A training that is killed at the touch of a file: on its way to a report, a save or the storage."""

import json
import os
import sys
from pathlib import Path
from typing import Any

import training_run as tr

MORE: dict[str, Any] = {
    "max_steps": 16, "save_steps": 2, "save_total_limit": 2, "precision": "fp32", "reshuffle_each_epoch": True,
}  # fmt: skip
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


def main(folder: str, model: str, attempt: int, place: str, number: int) -> None:
    """Train, and be killed in a place; prints what was counted."""
    watch = FileWatch(Path(folder), place, number)
    sys.addaudithook(watch)
    outcome = tr.run(Path(folder), Path(model), attempt=attempt, **MORE)
    assert outcome.outcome == "completed", outcome
    print(json.dumps(watch.counts))
