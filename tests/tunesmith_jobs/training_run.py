"""Runs `core.train` on a tiny model and writes what it says to a file. No test itself: tests import it, and start
`main` in a process of its own that they may kill (`forked`, or `python training_run.py <arguments as JSON>`)."""

import datetime as dt
import errno
import json
import os
import random
import signal
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from unittest import mock

from tunesmith.artifacts import checkpoint_step
from tunesmith.events import JobPayload
from tunesmith.lifecycle import Desired
from tunesmith_jobs.activities import Activities

_OF_THE_OUTLET = ("stop_at", "kill_at", "gone_at", "save_at", "term_at", "pinned", "listed", "end_at")


class FileOutlet:
    """Writes each event to a file; may ask for a stop, or kill the process, at a step."""

    superseded = False

    def __init__(
        self,
        file: Path,
        stop_at: int | None = None,
        kill_at: int | None = None,
        gone_at: int | None = None,
        save_at: int | None = None,
        term_at: int | None = None,
        pinned: Iterable[int] | None = (),
        listed: Iterable[int] | None = None,
        end_at: int | None = None,
    ):
        self.desired = Desired.RUN
        self.activities = Activities()
        self.save_now = 0
        self.early_stop: str | None = None
        self.pinned = frozenset(pinned) if pinned is not None else None
        self.listed = frozenset(listed) if listed is not None else None
        self._file, self._stop_at, self._kill_at, self._gone_at = file, stop_at, kill_at, gone_at
        self._save_at, self._term_at, self._end_at = save_at, term_at, end_at

    def emit(self, payload: JobPayload, time: dt.datetime | None = None) -> None:
        with self._file.open("a") as file:
            file.write(payload.model_dump_json() + "\n")
        step = payload.step if payload.kind == "metrics" else -1
        if step == self._stop_at:
            self.desired = Desired.STOP
        if step == self._save_at:
            self.save_now = 1
        if step == self._end_at:
            self.early_stop = "Early stopping by composite."
        if step == self._gone_at:
            self.superseded = True
        if step == self._kill_at:
            os.kill(os.getpid(), 9)
        if step == self._term_at:
            os.kill(os.getpid(), signal.SIGTERM)


def write_rows(file: Path, count: int, seed: int = 1) -> Path:
    draw = random.Random(seed)
    with file.open("w") as stream:
        for _ in range(count):
            question = "what is " + "so very " * draw.randint(0, 6) + str(draw.randint(0, 99)) + "?"
            answer = "The answer is the number " + str(draw.randint(0, 9)) + "." * draw.randint(1, 3)
            turns = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
            stream.write(json.dumps({"messages": turns}) + "\n")
    return file


def write_lines(file: Path, rows: Iterable[dict[str, Any]]) -> Path:
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def source(file: Path, model: Path, **parameters: Any) -> Any:
    """A file as the trainer reads it."""
    from tunesmith.spec.training import TrainSpec
    from tunesmith_jobs.batches.tokenize import EncodingSource

    spec = TrainSpec.read(
        {"model_name_or_path": str(model), "train_file": str(file), "use_lora": False} | parameters
    )
    return EncodingSource(file, spec, model, samples=spec.max_samples)


def run(
    folder: Path,
    model: Path,
    *,
    attempt: int = 1,
    rows: Path | None = None,
    eval_rows: str | None = None,
    output_dir: str | None = None,
    tokenizer: Path | None = None,
    rank: int = 0,
    parts: tuple[Any, ...] = (),
    artifacts: str | None = None,
    **more: Any,
) -> Any:
    """Train in `folder`; returns the outcome. Keys that are no parameter of a spec go to the outlet."""
    from tunesmith.spec.training import TrainSpec
    from tunesmith_jobs.train.core import train
    from tunesmith_jobs.train.job import Identity, Paths

    outlet = FileOutlet(
        folder / (f"events-{attempt}-rank-{rank}.jsonl" if rank else f"events-{attempt}.jsonl"),
        **{k: more.pop(k) for k in _OF_THE_OUTLET if k in more},
    )
    if tokenizer is not None:
        more["tokenizer_name_or_path"] = str(tokenizer)
    rows = Path(rows) if rows else folder / "train.jsonl"
    if not rows.exists():
        write_rows(rows, 24)
    spec = {
        "model_name_or_path": str(model),
        "train_file": str(rows),
        "max_steps": 12,
        "logging_steps": 1,
        "save_steps": 4,
        "per_device_train_batch_size": 2,
        "gradient_accumulation_steps": 2,
        "lora_dropout": 0.1,
        "learning_rate": 1e-2,
        "target_modules": "all-linear",
        "gradient_checkpointing": False,
        "precision": "fp32",  # what is compared must not depend on what a machine's processor has
    } | more
    paths = Paths(
        model=model,
        train=rows,
        eval=Path(eval_rows) if eval_rows else None,
        artifact_uri=artifacts or str(folder / "artifacts"),
        scratch=folder / "scratch",
        output_dir=Path(output_dir) if output_dir else None,
        tokenizer=tokenizer,
        tokens=folder / "tokens",
        parts=parts,
    )
    with mock.patch(
        "tunesmith_jobs.train.steps.LISTED_SECONDS", 0.0
    ):  # what this outlet knows it knows at once
        return train(TrainSpec.read(spec), paths, outlet, Identity("task-1", attempt, rank=rank))


def events(folder: Path, attempt: int = 1) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / f"events-{attempt}.jsonl").read_text().splitlines()]


def kinds(folder: Path, kind: str, attempt: int = 1) -> list[dict[str, Any]]:
    return [event for event in events(folder, attempt) if event["kind"] == kind]


def facts(folder: Path, attempt: int = 1) -> dict[str, Any]:
    """What a run said of itself when it started."""
    found: dict[str, Any] = kinds(folder, "training_started", attempt)[0]["facts"]
    return found


def saved(folder: Path, attempt: int = 1) -> list[int]:
    """The steps whose checkpoints a run told of."""
    return [event["step"] for event in kinds(folder, "checkpoint", attempt)]


def stored(folder: Path) -> list[int]:
    """The steps whose checkpoints are there."""
    root = folder / "artifacts" / "checkpoints"
    return sorted(step for path in root.iterdir() if (step := checkpoint_step(path.name)) is not None)


def losses(folder: Path, *attempts: int, name: str = "loss") -> dict[int, float]:
    """Step -> value, as the charts show it: where a step was done again, the newest counts."""
    found: dict[int, float] = {}
    for attempt in attempts or (1,):
        for event in events(folder, attempt):
            if event["kind"] == "metrics" and name in event["values"]:
                found[event["step"]] = event["values"][name]
    return found


def _disk_full() -> Any:
    raise OSError(errno.ENOSPC, "No space left on device")


def main(given: dict[str, Any]) -> None:
    """Train as it was given; prints the outcome."""
    if "full_rank" in given and given.pop("full_rank") == given.get("rank"):
        from tunesmith_jobs.train.checkpoint import states

        states.random_states = _disk_full
    print(run(Path(given.pop("folder")), Path(given.pop("model")), **given).model_dump_json())


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
