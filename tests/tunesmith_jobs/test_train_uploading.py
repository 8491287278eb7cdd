"""Checkpoints on their way to storage: what a storage or a crash does to those that are there already."""

import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from tunesmith.artifacts import MANIFEST, Manifest, checkpoint_name, faults_of, list_files
from tunesmith.events import CheckpointRemoved, CheckpointSaved, JobPayload
from tunesmith.removal import MARK, claim, staged
from tunesmith.storage import LocalStorage
from tunesmith_jobs import artifact_store
from tunesmith_jobs.artifact_store import ArtifactStore, Owner
from tunesmith_jobs.failures import StorageFailed
from tunesmith_jobs.train.checkpoint.uploading import Uploader

TASK = "task-01k9zzzzzzzzzzzzz1"


def stored(
    store: ArtifactStore, folder: Path, steps: list[int], keep: int, said: list[JobPayload] | None = None
) -> list[JobPayload]:
    """Bring checkpoints to a store; returns what was said, with what had been before."""
    said = [] if said is None else said
    uploader = Uploader(store, said.append, keep)
    for step in steps:
        local = folder / f"local-{step}"
        local.mkdir(parents=True)
        (local / "weights").write_text(str(step))
        uploader.submit(step, local, {})
    uploader.close()
    return said


def listed(said: Iterable[JobPayload]) -> set[int]:
    """The checkpoints that the platform lists of what was said."""
    steps: set[int] = set()
    for one in said:
        if isinstance(one, CheckpointSaved):
            steps.add(one.step)
        elif isinstance(one, CheckpointRemoved):
            steps.discard(one.step)
    return steps


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
    assert {one.step for one in said if isinstance(one, CheckpointSaved)} == {1, 2, 3, 4}
    assert listed(said) == {3, 4}
    folder = tmp_path / TASK / "artifacts" / "checkpoints"
    assert sorted(path.name for path in folder.iterdir()) == ["checkpoint-3", "checkpoint-4"]
    assert not faults_of(folder / "checkpoint-4")


@pytest.mark.parametrize("cut", ["before", "amid", "after"])
def test_a_run_that_is_killed_while_it_removes_leaves_nothing_listed_that_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cut: str
) -> None:
    """Nobody would ever say of it again that it is gone: the next run finds no folder to remove."""
    store, said = made(tmp_path), list[JobPayload]()
    real = artifact_store.remove_stored

    class Killed(BaseException):
        pass

    def killed(storage: LocalStorage, path: str, task_id: str, **more: bool) -> bool:
        if cut == "amid":
            (Path(storage.uri) / path / MANIFEST).unlink()
        elif cut == "after":
            real(storage, path, task_id, **more)
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(artifact_store, "remove_stored", killed)
        with pytest.raises(StorageFailed):
            stored(store, tmp_path / TASK, [1, 2], keep=1, said=said)
    folder = tmp_path / TASK / "artifacts" / "checkpoints"
    assert {name for name in map(checkpoint_name, listed(said)) if faults_of(folder / name)} == set()
    stored(made(tmp_path), tmp_path / TASK, [3], keep=1, said=said)
    assert listed(said) == {3}
    assert [path.name for path in folder.iterdir()] == ["checkpoint-3"]


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


@pytest.mark.parametrize("place", ["folder", "bucket"])
@pytest.mark.parametrize("is_cut_off", [False, True])
def test_weights_in_other_files_leave_no_older_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str, is_cut_off: bool
) -> None:
    """A single file of weights beside newer shards is the one that a library loads."""
    root = tmp_path / TASK / "artifacts"
    if place == "bucket":
        monkeypatch.setattr(artifact_store, "open_storage", lambda _: Bucket(root))
    store = ArtifactStore(str(root), Owner(TASK, 1, "m", None))
    for names in (["model.safetensors"], ["model-1.safetensors", "model-2.safetensors", "index.json"]):
        folder = tmp_path / TASK / "work" / "made"
        folder.mkdir(parents=True)
        for name in names:
            (folder / name).write_text(name)
        store.put(folder, "model", 3, kind="model")
        assert sorted(path.name for path in (root / "model").iterdir()) == sorted([*names, "manifest.json"])
        if is_cut_off:
            (root / "model" / "manifest.json").unlink()
        shutil.rmtree(folder, ignore_errors=True)


def test_what_is_not_listed_is_reported_once_that_is_known_and_before_it_is_removed(tmp_path: Path) -> None:
    stored(made(tmp_path), tmp_path / TASK, [1], keep=2)
    known: list[frozenset[int] | None] = [None, frozenset(), frozenset()]
    said: list[JobPayload] = []
    uploader = Uploader(made(tmp_path), said.append, 1, listed=lambda: known.pop(0) if known else frozenset())
    uploader.report_unlisted(1, {"loss": 2.0}, best_step=1)
    local = tmp_path / TASK / "local-2"
    local.mkdir()
    (local / "weights").write_text("2")
    uploader.submit(2, local, {})
    uploader.close()
    kinds = [(one.kind, one.step) for one in said if isinstance(one, CheckpointSaved | CheckpointRemoved)]
    assert kinds == [("checkpoint", 1), ("checkpoint", 2), ("checkpoint_removed", 1)]
    first = said[0]
    assert isinstance(first, CheckpointSaved)
    assert (first.metrics, first.best) == ({"loss": 2.0}, True)


def test_a_run_ends_where_nobody_says_what_is_listed(tmp_path: Path) -> None:
    stored(made(tmp_path), tmp_path / TASK, [1], keep=2)
    said: list[JobPayload] = []
    uploader = Uploader(made(tmp_path), said.append, 1)
    uploader.report_unlisted(1, {}, best_step=None)
    uploader.close()
    assert said == []
