"""The checker sees each kind of broken promise: a good account of a task is changed in one place, and is found out."""

import datetime as dt
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from nemesis.checker import Reference, Seen, table, violations
from nemesis.plan import Cell, Episode, Harm, Part, Phase
from safetensors.numpy import save_file

from tunesmith.artifacts import MANIFEST, Manifest, list_files
from tunesmith.lifecycle import Desired, State
from tunesmith.views import CheckpointView, EventView, ProgressView, TaskView

BEGIN = dt.datetime(2026, 11, 29, tzinfo=dt.UTC)
QUIET = Episode(0, (Cell(Part.API, Harm.KILL, Phase.TRAINING),), 0.0)
LOSSES = {step: 1.0 / step for step in range(1, 5)}


def at(seconds: float) -> dt.datetime:
    return BEGIN + dt.timedelta(seconds=seconds)


def saved(folder: Path, kind: str) -> Path:
    folder.mkdir(parents=True)
    save_file({"w": np.ones(3, np.float32)}, folder / "adapter_model.safetensors")
    manifest = Manifest.model_validate(
        {"task_id": "t1", "attempt": 1, "step": 4, "kind": kind, "files": list_files(folder)}
    )
    (folder / MANIFEST).write_bytes(manifest.encode())
    return folder


def event(n: int, seconds: float, **payload: Any) -> EventView:
    return EventView.model_validate({"n": n, "attempt": 1, "time": at(seconds), "payload": payload})


def spooled() -> list[dict[str, Any]]:
    payloads: list[dict[str, Any]] = [{"kind": "training_started", "step": 0, "total_steps": 4}]
    payloads += [{"kind": "metrics", "step": step, "values": {"loss": loss}} for step, loss in LOSSES.items()]
    return [{"seq": n, "time": at(n).isoformat(), "payload": p} for n, p in enumerate(payloads, start=1)]


@pytest.fixture
def seen(tmp_path: Path) -> Seen:
    """A task that ended as it should."""
    model = saved(tmp_path / "model", "model")
    checkpoint = saved(tmp_path / "checkpoints" / "checkpoint-4", "checkpoint")
    log = [
        event(1, 0, kind="state", state="running"),
        event(2, 1, kind="training_started", step=0, total_steps=4),
        event(3, 9, kind="state", state="completed"),
    ]
    task = TaskView(
        id="t1", kind="train", name="t", project="default", state=State.COMPLETED, desired=Desired.RUN, priority=0,
        tags=[], notes="mine", attempt=1, progress=ProgressView(), spec={}, events=3, model_uri=str(model),
        created_at=BEGIN,
    )  # fmt: skip
    view = CheckpointView(
        task_id="t1", step=4, name="checkpoint-4", attempt=1, uri=str(checkpoint), bytes=1, files=1, manifest_sha256="",
        created_at=BEGIN,
    )  # fmt: skip
    return Seen(
        task=task, notes="mine", same_key=["t1", "t1"], followed=list(log), log=log, spools={1: spooled()},
        losses=dict(LOSSES), eval_losses={4: 0.5}, checkpoints=[view], mlflow=sorted(LOSSES.items()),
    )  # fmt: skip


def changed_task(**values: Any) -> Callable[[Seen], None]:
    def change(seen: Seen) -> None:
        seen.task = seen.task.model_copy(update=values)

    return change


def a_step_of_the_old_attempt(seen: Seen) -> None:
    later = json.loads(json.dumps(spooled()))
    seen.spools[2] = [{**e, "time": at(2.5).isoformat()} for e in later]


def a_late_step(seen: Seen) -> None:
    seen.stop_accepted = at(-2)
    seen.log.insert(1, event(2, 1, kind="state", state="stopping"))
    seen.log[:] = [e.model_copy(update={"n": n}) for n, e in enumerate(seen.log, start=1)]
    seen.followed = list(seen.log)
    seen.spools[1][-1]["time"] = at(3.5).isoformat()


def a_damaged_checkpoint(seen: Seen) -> None:
    with Path(seen.checkpoints[0].uri, "adapter_model.safetensors").open("ab") as file:
        file.write(b"x")


def a_resurrection(seen: Seen) -> None:
    seen.log += [event(4, 10, kind="state", state="pending")]
    seen.followed = list(seen.log)


BROKEN: dict[str, tuple[str, Callable[[Seen], None]]] = {
    "other notes": ("I1", changed_task(notes="")),
    "a stop that left no trace": (
        "I1",
        lambda seen: (setattr(seen, "stop_accepted", at(8)), seen.log.pop())[0],
    ),
    "two tasks of one key": ("I2", lambda seen: seen.same_key.append("t2")),
    "two attempts at once": ("I2", a_step_of_the_old_attempt),
    "a failure": ("I3", changed_task(state=State.FAILED)),
    "a part that stays away": ("I3", lambda seen: setattr(seen, "is_well", False)),
    "an end that changes": ("I4", a_resurrection),
    "a process at the end": ("I5", lambda seen: seen.left_at_end.update(stopped=["12 worker"])),
    "a step after the stop": ("I5", a_late_step),
    "a damaged checkpoint": ("I6", a_damaged_checkpoint),
    "no checkpoint": ("I6", lambda seen: seen.checkpoints.clear()),
    "another loss": ("I7", lambda seen: seen.losses.update({3: 0.25})),
    "a lost step": ("I7", lambda seen: seen.losses.pop(3)),
    "another evaluation": ("I7", lambda seen: seen.eval_losses.update({4: 0.6})),
    "a gap in the log": ("I8", lambda seen: seen.log.pop(1)),
    "a gap in the stream": ("I8", lambda seen: seen.followed.pop(1)),
    "a gap in the spool": ("I8", lambda seen: seen.spools[1].pop(2)),
    "a step twice in MLflow": ("I8", lambda seen: seen.mlflow.append((2, 0.5))),
    "a step that MLflow lacks": ("I8", lambda seen: seen.mlflow.pop()),
    "training again, of an observer's harm": ("I9", lambda seen: seen.log.insert(2, seen.log[1])),
}


def test_what_ended_as_it_should_breaks_nothing(seen: Seen) -> None:
    assert violations(seen, Reference.of(seen), QUIET) == []


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_promise_is_found(seen: Seen, name: str) -> None:
    reference = Reference.of(seen)
    reference = Reference(dict(reference.losses), dict(reference.eval_losses), reference.model_sha256)
    promise, breaks = BROKEN[name]
    breaks(seen)
    assert promise in {words.split(":")[0] for words in violations(seen, reference, QUIET)}


def test_each_harm_but_to_observers_may_cost_one_start(seen: Seen) -> None:
    seen.log.insert(2, seen.log[1])
    harmed = Episode(0, (*QUIET.cells, Cell(Part.WORKER, Harm.KILL, Phase.SAVING)), 0.0)
    assert not any(words.startswith("I9") for words in violations(seen, Reference.of(seen), harmed))
    seen.log.insert(2, seen.log[1])
    assert any(words.startswith("I9") for words in violations(seen, Reference.of(seen), harmed))


def test_the_table_counts_and_names_what_was_never_reached() -> None:
    text = table([{"hit": [["api", "kill", "training"]]}, {"hit": [["api", "kill", "training"]]}])
    row = next(line for line in text.splitlines() if line.startswith("kill api"))
    assert row.split()[2:] == ["-", "-", "2", "-", "-", "-", "-", "-"]
    assert text.splitlines()[-1].startswith("1 of ")


def test_a_worker_that_is_held_still_ends_its_step_later(seen: Seen) -> None:
    reference = Reference.of(seen)
    a_late_step(seen)
    seen.suspended = [(at(-1), at(3))]
    assert not any("I5" in words for words in violations(seen, reference, QUIET))
    seen.suspended = [(at(-1), at(-0.8)), (at(4), at(9))]
    assert any("I5" in words for words in violations(seen, reference, QUIET))
