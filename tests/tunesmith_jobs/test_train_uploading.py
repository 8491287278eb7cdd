"""Checkpoints on their way to storage: what a storage or a crash does to those that are there already."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tunesmith.artifacts import faults_of
from tunesmith.events import CheckpointRemoved, CheckpointSaved, JobPayload
from tunesmith.removal import staged
from tunesmith_jobs.train import checkpoints
from tunesmith_jobs.train.checkpoints import ArtifactStore, Owner, Uploader

TASK = "task-01k9zzzzzzzzzzzzz1"


def stored(store: ArtifactStore, folder: Path, steps: list[int], keep: int) -> list[JobPayload]:
    """Bring checkpoints to a store; returns what was said."""
    said: list[JobPayload] = []
    uploader = Uploader(store, said.append, keep)
    for step in steps:
        local = folder / f"local-{step}"
        local.mkdir(parents=True)
        (local / "weights").write_text(str(step))
        uploader.submit(step, local, {})
    uploader.close()
    return said


def made(tmp_path: Path, output_dir: Path | None = None) -> ArtifactStore:
    return ArtifactStore(str(tmp_path / TASK / "artifacts"), Owner(TASK, 1, "m", None), output_dir)


@pytest.mark.parametrize(
    ("name", "cut"),
    [
        ("remove_stored", "before"),
        ("remove_stored", "after"),
        ("remove_result", "before"),
        ("steps", "before"),
        ("is_whole", "before"),
    ],
)
def test_a_checkpoint_that_cannot_be_removed_costs_no_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, cut: str
) -> None:
    """What is older is in the way of nothing; it goes the next time, and is said to be gone when it is."""
    store = made(tmp_path, tmp_path / "out")
    owner: object = checkpoints if hasattr(checkpoints, name) else ArtifactStore
    real: Callable[..., object] = getattr(owner, name)
    failures = [1]

    def failing(*arguments: object, **more: object) -> object:
        if failures and cut == "before":
            failures.pop()
            raise OSError("busy")
        answer = real(*arguments, **more)
        if failures:
            failures.pop()
            raise OSError("busy")
        return answer

    monkeypatch.setattr(owner, name, failing)
    said = stored(store, tmp_path / TASK, [1, 2, 3, 4], keep=2)
    assert [one.step for one in said if isinstance(one, CheckpointSaved)] == [1, 2, 3, 4]
    assert sorted(one.step for one in said if isinstance(one, CheckpointRemoved)) == [1, 2]
    folder = tmp_path / TASK / "artifacts" / "checkpoints"
    assert sorted(path.name for path in folder.iterdir()) == ["checkpoint-3", "checkpoint-4"]
    assert not faults_of(folder / "checkpoint-4")


def test_a_save_that_was_cut_off_leaves_nothing_behind(tmp_path: Path) -> None:
    """Of a step that the next attempt never saves: it was asked for, or came by the clock."""
    folder = tmp_path / TASK / "artifacts" / "checkpoints"
    folder.mkdir(parents=True)
    with staged(folder / "checkpoint-7", TASK) as new:
        (new / "weights").write_text("7")
        os.rename(new.parent, tmp_path / "cut")
    os.rename(tmp_path / "cut", new.parent)
    assert [path.name for path in folder.iterdir()] == [new.parent.name]
    stored(made(tmp_path), tmp_path / TASK, [10], keep=2)
    assert [path.name for path in folder.iterdir()] == ["checkpoint-10"]
