"""`train` called directly lays its results where nothing of others' stands, and loses nothing over it."""

import shutil
from pathlib import Path

import pytest
import training_run as tr
from training_run import kinds, stored

from tunesmith.artifacts import Manifest, faults_of, list_files
from tunesmith.lifecycle import Reason, State
from tunesmith.removal import writer_of

pytestmark = pytest.mark.usefixtures("one_thread")


def all_of(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }


def test_training_does_not_delete_its_own_base_model(tmp_path: Path, model: Path) -> None:
    """The base at `m2/model`, the results into `m2`: it was gone after one step."""
    base = tmp_path / "m2" / "model"
    shutil.copytree(model, base)
    theirs = tmp_path / "m2" / "checkpoint-1"
    theirs.mkdir()
    (theirs / "weights").write_text("by hand")
    before = all_of(base)
    outcome = tr.run(tmp_path, base, max_steps=2, save_steps=1, output_dir=str(tmp_path / "m2"))
    assert all_of(base) == before
    assert all_of(theirs) == {"weights": b"by hand"}
    # The run goes on, everything is in the storage, and what could not be published is said by name.
    assert outcome.outcome is State.COMPLETED
    assert str(base) in outcome.message
    assert not faults_of(tmp_path / "artifacts" / "model")
    assert stored(tmp_path) == [1, 2]
    told = [event for event in kinds(tmp_path, "warning") if event["code"] == "not_published"]
    assert [str(place) in event["message"] for place, event in zip((theirs, base), told, strict=True)] == [
        True
    ] * 2
    assert writer_of(tmp_path / "m2" / "checkpoint-2") == "task-1"


@pytest.mark.parametrize("place", ["model", "checkpoints/checkpoint-1"])
def test_an_artifact_folder_that_holds_others_folders_loses_none(
    tmp_path: Path, model: Path, place: str
) -> None:
    theirs = tmp_path / "artifacts" / place
    shutil.copytree(model, theirs)
    before = all_of(theirs)
    outcome = tr.run(tmp_path, model, max_steps=1, save_steps=1)
    assert (outcome.outcome, outcome.reason) == (State.FAILED, Reason.BAD_PARAMETERS), outcome
    assert str(theirs) in outcome.message
    assert all_of(theirs) == before


def test_a_scratch_folder_that_holds_others_files_loses_none(tmp_path: Path, model: Path) -> None:
    theirs = tmp_path / "scratch" / "checkpoint-1"
    theirs.mkdir(parents=True)
    (theirs / "weights").write_text("by hand")
    outcome = tr.run(tmp_path, model, max_steps=1, save_steps=1)
    assert (outcome.outcome, outcome.reason) == (State.FAILED, Reason.BAD_PARAMETERS), outcome
    assert all_of(tmp_path / "scratch")["checkpoint-1/weights"] == b"by hand"


def test_folders_of_its_own_and_from_before_stay_usable(tmp_path: Path, model: Path) -> None:
    """An earlier attempt's, published and stored, without any mark; an empty one; one with other files."""
    out = tmp_path / "out"
    stored_at = tmp_path / "artifacts"
    for old in (
        out / "checkpoint-1",
        out / "model",
        stored_at / "checkpoints" / "checkpoint-1",
        stored_at / "model",
    ):
        old.mkdir(parents=True)
        (old / "weights").write_text("old")
        manifest = Manifest(task_id="task-1", attempt=1, step=1, files=list_files(old))
        (old / "manifest.json").write_bytes(manifest.encode())
        (old / "weights").write_text("damaged")  # so that it is not gone on from
    (out / "checkpoint-2").mkdir()
    (out / "notes.txt").write_text("by hand")
    outcome = tr.run(tmp_path, model, attempt=2, max_steps=2, save_steps=1, output_dir=str(out))
    assert outcome.outcome is State.COMPLETED, outcome
    for folder in (
        out / "model",
        out / "checkpoint-1",
        out / "checkpoint-2",
        tmp_path / "artifacts" / "model",
    ):
        assert not faults_of(folder), folder
    assert sorted(path.name for path in out.iterdir()) == [
        "checkpoint-1",
        "checkpoint-2",
        "model",
        "notes.txt",
    ]


def test_a_removed_checkpoint_leaves_what_others_laid_into_it(tmp_path: Path, model: Path) -> None:
    out = tmp_path / "out"
    assert tr.run(tmp_path, model, max_steps=2, save_steps=1, output_dir=str(out)).outcome is State.COMPLETED
    notes = [folder / "checkpoint-1" / "n.txt" for folder in (out, tmp_path / "artifacts" / "checkpoints")]
    for file in notes:
        file.write_text("by hand")
    more = {"save_steps": 1, "save_total_limit": 1, "output_dir": str(out)}
    outcome = tr.run(tmp_path, model, attempt=2, max_steps=5, **more)
    assert outcome.outcome is State.COMPLETED, outcome
    for file in notes:
        assert file.read_text() == "by hand"
        assert list(file.parent.iterdir()) == [file]
    assert [event["step"] for event in kinds(tmp_path, "checkpoint_removed", 2)] == [1, 2, 3, 4], "once each"
