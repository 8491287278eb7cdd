"""Checkpoints on their way to storage: what a storage or a crash does to those that are there already."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tunesmith.artifacts import MANIFEST, Manifest, faults_of, list_files
from tunesmith.events import CheckpointRemoved, CheckpointSaved, JobPayload
from tunesmith.removal import MARK, claim, staged
from tunesmith.storage import LocalStorage
from tunesmith_jobs import artifact_store
from tunesmith_jobs.artifact_store import ArtifactStore, Owner
from tunesmith_jobs.train.checkpoint.uploading import Uploader

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
    owner: object = artifact_store if hasattr(artifact_store, name) else ArtifactStore
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


@pytest.mark.parametrize("fault", ["shorter", "gone", "a folder", "another manifest", None])
def test_what_is_whole_has_all_its_files_in_their_sizes(tmp_path: Path, fault: str | None) -> None:
    """Names alone would let an older checkpoint be removed for one that was cut off."""
    store = made(tmp_path)
    folder = tmp_path / "local"
    (folder / "deep").mkdir(parents=True)
    for name in ("weights", "deep/state"):
        (folder / name).write_text("12345")
    manifest, uri = store.put(folder, "checkpoints/checkpoint-1", 1)
    file = Path(uri) / "deep" / "state"
    if fault == "shorter":
        file.write_text("123")
    elif fault in ("gone", "a folder"):
        file.unlink()
        if fault == "a folder":
            file.mkdir()
    elif fault == "another manifest":
        other = manifest.model_copy(update={"attempt": 2})
        (Path(uri) / MANIFEST).write_bytes(other.encode())
    assert store.is_whole(1, manifest) == (fault is None)


def test_a_save_that_was_cut_off_leaves_nothing_behind(tmp_path: Path) -> None:
    """Of a step that the next attempt never saves: it was asked for, or came by the clock."""
    folder = tmp_path / TASK / "artifacts" / "checkpoints"
    folder.mkdir(parents=True)
    with staged(folder / "checkpoint-7", TASK) as new:
        (new / "weights").write_text("7")
        new.parent.rename(tmp_path / "cut")
    (tmp_path / "cut").rename(new.parent)
    assert [path.name for path in folder.iterdir()] == [new.parent.name]
    stored(made(tmp_path), tmp_path / TASK, [10], keep=2)
    assert [path.name for path in folder.iterdir()] == ["checkpoint-10"]


def test_a_save_that_was_cut_off_before_there_were_marks_is_made_anew(tmp_path: Path) -> None:
    """In a folder whose path does not name the task: a whole checkpoint beside it says whose it is."""
    folder = tmp_path / "1" / "artifacts"
    for step in (1, 2):
        checkpoint = folder / "checkpoints" / f"checkpoint-{step}"
        checkpoint.mkdir(parents=True)
        (checkpoint / "weights").write_text("old")
    whole = folder / "checkpoints" / "checkpoint-1"
    manifest = Manifest(task_id=TASK, attempt=1, step=1, files=list_files(whole))
    (whole / "manifest.json").write_bytes(manifest.encode())
    said = stored(ArtifactStore(str(folder), Owner(TASK, 2, "m", None)), tmp_path / TASK, [2], keep=5)
    assert [one.step for one in said if isinstance(one, CheckpointSaved)] == [2]
    assert not faults_of(folder / "checkpoints" / "checkpoint-2")
    assert (folder / MARK).read_text() == TASK


class Bucket(LocalStorage):
    """A storage that is no folder of this machine."""

    def local(self, path: str = "") -> Path | None:
        return None

    def get_folder(self, path: str, scratch: Path) -> Path:
        return Path(shutil.copytree(self.root / path, scratch / path))


def test_what_was_fetched_to_be_shown_does_not_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(artifact_store, "open_storage", lambda _: Bucket(tmp_path / "bucket"))
    scratch = tmp_path / TASK
    claim(scratch, TASK)
    stored(made(tmp_path, tmp_path / "out"), scratch, [1, 2, 3], keep=2)
    assert [path.name for path in sorted((tmp_path / "out").iterdir())] == ["checkpoint-2", "checkpoint-3"]
    left = [path for path in scratch.rglob("*") if path.is_file() and path.name != MARK]
    assert not left, "a copy of each checkpoint"
