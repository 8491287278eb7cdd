"""Going on from a checkpoint, without Ray: after a kill, a stop or damage a run goes on as if nothing had been."""

from pathlib import Path
from typing import Any

import forked
import pytest
import training_run as tr
from training_run import kinds, stored

from tunesmith.artifacts import Manifest, faults_of
from tunesmith.lifecycle import Reason, State

pytestmark = pytest.mark.usefixtures("one_thread")


def run_and_die(folder: Path, model: Path, **more: Any) -> None:
    said = folder / "said"
    code = forked.run(tr.main, {"folder": str(folder), "model": str(model)} | more, said=said)
    assert code == -9, said.read_text()[-3000:]


@pytest.mark.slow
@pytest.mark.parametrize(("kill_at", "logging_steps"), [(3, 1), (7, 1), (9, 3), (6, 3)])
def test_a_killed_run_goes_on_bit_for_bit(
    tmp_path: Path, model: Path, kill_at: int, logging_steps: int
) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    whole.mkdir()
    cut.mkdir()
    more = {
        "logging_steps": logging_steps,
        "save_steps": 4,
        "eval_strategy": "epoch",
        "eval_sampling_ratio": 0.1,
    }
    assert tr.run(whole, model, **more).outcome is State.COMPLETED
    run_and_die(cut, model, kill_at=kill_at, **more)
    outcome = tr.run(cut, model, attempt=2, **more)
    assert outcome.outcome is State.COMPLETED, outcome
    resumed = kinds(cut, "training_started", 2)[0]["step"]
    assert resumed in ({0, 4} if kill_at < 8 else {4, 8})  # the kill may come before the upload
    assert tr.losses(cut, 1, 2) == tr.losses(whole)
    assert tr.losses(cut, 1, 2, name="eval_loss") == tr.losses(whole, name="eval_loss")
    assert tr.losses(cut, 1, 2, name="supervised_tokens") == tr.losses(whole, name="supervised_tokens")
    one, other = (f / "artifacts" / "model" / "adapter_model.safetensors" for f in (whole, cut))
    assert one.read_bytes() == other.read_bytes()


def test_a_resume_across_reshuffled_epochs_and_with_all_weights_is_exact(tmp_path: Path, model: Path) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    whole.mkdir()
    cut.mkdir()
    # 24 rows in batches of 2x2 are 6 steps an epoch: the checkpoint at 6 lies on the boundary, the one at 8 beyond it.
    more = {"use_lora": False, "learning_rate": 1e-3, "reshuffle_each_epoch": True, "save_steps": 2}
    assert tr.run(whole, model, **more).outcome is State.COMPLETED
    for attempt, stop_at in enumerate((6, 10), start=1):
        outcome = tr.run(cut, model, attempt=attempt, stop_at=stop_at, **more)
        assert outcome.reason is Reason.STOPPED_BY_USER
    assert tr.run(cut, model, attempt=3, **more).outcome is State.COMPLETED
    assert tr.losses(cut, 1, 2, 3) == tr.losses(whole)
    assert len({tr.losses(whole)[step] for step in range(1, 13)}) == 12


def test_a_stop_saves_and_can_be_continued(tmp_path: Path, model: Path, undisturbed: Path) -> None:
    outcome = tr.run(tmp_path, model, stop_at=5)
    assert (outcome.outcome, outcome.reason) == (State.STOPPED, Reason.STOPPED_BY_USER)
    assert "step 5" in outcome.message  # asked for in its report
    assert stored(tmp_path) == [4, 5]
    assert not (tmp_path / "artifacts" / "model").exists()
    assert tr.run(tmp_path, model, attempt=2).outcome is State.COMPLETED
    assert tr.losses(tmp_path, 1, 2) == tr.losses(undisturbed)


def as_before(folder: Path) -> None:
    """Make a checkpoint one that was saved before states were safetensors: as the library wrote them, by torch."""
    import numpy as np
    import torch

    from tunesmith.artifacts import list_files
    from tunesmith_jobs.train.checkpoint import states

    found = states.read_tensors(folder / "random_state.safetensors")
    kind, keys, *rest = found["numpy"]
    torch.save({**found, "numpy": (kind, np.asarray(keys, dtype=np.uint32), *rest)}, folder / "rng_state.pth")
    torch.save(states.read_tensors(folder / "optimizer.safetensors"), folder / "optimizer.pt")
    torch.save(states.read_json(folder / "scheduler.json"), folder / "scheduler.pt")
    for name in ("random_state.safetensors", "optimizer.safetensors", "scheduler.json"):
        (folder / name).unlink()
    seal(folder, files=list_files(folder))


def seal(folder: Path, **values: Any) -> None:
    """Write a manifest that fits what lies in a folder, with other values where some are given."""
    from tunesmith.artifacts import list_files

    manifest = Manifest.decode((folder / "manifest.json").read_bytes())
    assert manifest is not None
    values = {"files": list_files(folder)} | values
    (folder / "manifest.json").write_bytes(manifest.model_copy(update=values).encode())
    assert not faults_of(folder)


def test_a_state_that_the_library_wrote_is_gone_on_from(
    tmp_path: Path, model: Path, undisturbed: Path
) -> None:
    """So was every state before states were safetensors. Another task's is not read: it could hold anything."""
    tr.run(tmp_path, model, stop_at=6)
    folder = tmp_path / "artifacts" / "checkpoints" / "checkpoint-6"
    as_before(folder)
    other = tmp_path / "other"
    other.mkdir()
    refused = tr.run(other, model, resume_from_checkpoint=str(folder))
    assert (refused.outcome, refused.reason) == (State.FAILED, Reason.BAD_PARAMETERS)
    assert "`optimizer.pt`, a pickle" in refused.message
    assert tr.run(tmp_path, model, attempt=2).outcome is State.COMPLETED
    assert kinds(tmp_path, "training_started", 2)[0]["resumed_from"] == "checkpoint-6"
    assert tr.losses(tmp_path, 1, 2) == tr.losses(undisturbed)


def text(name: str, words: str) -> Any:
    return lambda folder: (folder / name).write_text(words) and None


def gone(name: str) -> Any:
    return lambda folder: (folder / name).unlink()


def other_shapes(folder: Path) -> None:
    import torch
    from safetensors.torch import load_file, save_file

    tensors = load_file(folder / "adapter_model.safetensors")
    name = min(tensors)
    save_file(tensors | {name: torch.zeros(3, 3)}, folder / "adapter_model.safetensors")


def other_names(folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    tensors = load_file(folder / "adapter_model.safetensors")
    save_file({f"other.{name}": one for name, one in tensors.items()}, folder / "adapter_model.safetensors")


def other_groups(folder: Path) -> None:
    """A sound state, of an optimizer with other weights."""
    from tunesmith_jobs.train.checkpoint import states

    state = states.read_tensors(folder / "optimizer.safetensors")
    state["param_groups"][0]["params"] = [0]
    states.write_tensors(folder / "optimizer.safetensors", state)


def a_pickle(folder: Path) -> None:
    import pickle

    (folder / "optimizer.safetensors").unlink()
    (folder / "optimizer.pt").write_bytes(pickle.dumps(Mark(folder.parent / "mark")))


class Mark:
    """Leaves a file where it is read as a pickle."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def __reduce__(self) -> Any:
        return (Path.touch, (self.place,))


@pytest.mark.parametrize(
    ("change", "more", "why"),
    [
        (lambda folder: None, {"step": 7}, "its manifest is of a checkpoint of step 7"),
        (text("trainer_state.json", "{"), {}, "`trainer_state.json` cannot be read"),
        (text("trainer_state.json", '{"global_step": 3}'), {}, "`trainer_state.json` is of step 3"),
        (text("tunesmith_window.json", "[]"), {}, "`tunesmith_window.json` cannot be read"),
        (text("tunesmith_standing.json", "no"), {}, "`tunesmith_standing.json` cannot be read"),
        (text("scheduler.json", '{"d": 1}'), {}, "`scheduler.json`: its structure is broken"),
        (text("random_state.safetensors", "x"), {}, "`random_state.safetensors`"),
        (text("optimizer.safetensors", "x" * 99), {}, "`optimizer.safetensors`"),
        (gone("optimizer.safetensors"), {}, "`optimizer.pt` is missing"),
        (gone("adapter_model.safetensors"), {}, "`adapter_model.safetensors` is missing"),
        (other_shapes, {}, "another model's"),
        (other_names, {}, "another model's"),
        (other_groups, {}, "param"),
        (a_pickle, {}, "`optimizer.pt` holds more than numbers"),
    ],
)
def test_a_checkpoint_that_does_not_fit_is_told_of_and_the_one_before_is_taken(
    tmp_path: Path, saved: Path, model: Path, change: Any, more: dict[str, Any], why: str
) -> None:
    """Every file is as its manifest says: what is wrong is what they hold, or whose they are."""
    import shutil

    for name in ("artifacts", "train.jsonl", "eval.jsonl"):
        place = saved / name
        if place.is_dir():
            shutil.copytree(place, tmp_path / name)
        elif place.exists():
            shutil.copy(place, tmp_path / name)
    root = tmp_path / "artifacts" / "checkpoints"
    change(root / "checkpoint-2")
    seal(root / "checkpoint-2", **more)
    outcome = tr.run(tmp_path, model, attempt=2, max_steps=3, save_steps=1)
    assert outcome.outcome is State.COMPLETED, outcome
    (warning,) = kinds(tmp_path, "warning", 2)
    assert warning["code"] == "checkpoint_damaged"
    assert warning["message"].startswith("`checkpoint-2` is not used: ")
    assert why in warning["message"], warning["message"]
    assert kinds(tmp_path, "training_started", 2)[-1]["resumed_from"] == "checkpoint-1"
    assert not (root / "mark").exists()


def test_another_tasks_checkpoint_is_told_of_and_never_removed(
    tmp_path: Path, saved: Path, model: Path
) -> None:
    """The one before is taken; where this run would save in its place the run ends, and says what stands there."""
    import shutil

    for name in ("artifacts", "train.jsonl"):
        place = saved / name
        (shutil.copytree if place.is_dir() else shutil.copy)(place, tmp_path / name)
    root = tmp_path / "artifacts" / "checkpoints"
    seal(root / "checkpoint-2", task_id="task-of-another")
    before = {path.name: path.read_bytes() for path in (root / "checkpoint-2").iterdir()}
    outcome = tr.run(tmp_path, model, attempt=2, max_steps=3, save_steps=1)
    warning = kinds(tmp_path, "warning", 2)[0]
    assert warning["code"] == "checkpoint_damaged"
    assert "it is of another task (`task-of-another`)" in warning["message"]
    assert kinds(tmp_path, "training_started", 2)[-1]["resumed_from"] == "checkpoint-1"
    assert outcome.reason is Reason.BAD_PARAMETERS, outcome
    assert "`task-of-another`: it is left as it is" in outcome.message
    assert {path.name: path.read_bytes() for path in (root / "checkpoint-2").iterdir()} == before


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory, model: Path) -> Path:
    """A run with checkpoints at its first two steps."""
    folder = tmp_path_factory.mktemp("saved")
    assert tr.run(folder, model, max_steps=3, save_steps=1, stop_at=2).outcome is State.STOPPED
    return folder


def test_a_superseded_run_leaves_at_once_and_without_a_trace(tmp_path: Path, model: Path) -> None:
    outcome = tr.run(tmp_path, model, gone_at=6)
    assert outcome.superseded
    assert stored(tmp_path) == [4]
    assert max(tr.losses(tmp_path)) == 6
    assert not [line for line in kinds(tmp_path, "log") if line["level"] != "info"]
    said = [event["kind"] for event in tr.events(tmp_path)]
    last = len(said) - said[::-1].index("metrics")
    # The uploader's thread may be about to say that the fourth step's is stored.
    assert set(said[last:]) <= {"checkpoint", "log"}, "nothing is said after it has heard"


def test_a_damaged_newest_checkpoint_is_passed_over(tmp_path: Path, model: Path, undisturbed: Path) -> None:
    tr.run(tmp_path, model, stop_at=9)
    assert stored(tmp_path) == [4, 8, 9]
    root = tmp_path / "artifacts" / "checkpoints"
    (root / "checkpoint-9" / "manifest.json").unlink()
    weights = root / "checkpoint-8" / "adapter_model.safetensors"
    data = bytearray(weights.read_bytes())
    data[len(data) // 2] ^= 1
    weights.write_bytes(data)
    assert tr.run(tmp_path, model, attempt=2).outcome is State.COMPLETED
    warnings = kinds(tmp_path, "warning", 2)
    assert [w["code"] for w in warnings] == ["checkpoint_damaged"] * 2
    assert "checkpoint-8" in warnings[1]["message"]
    assert kinds(tmp_path, "training_started", 2)[0]["resumed_from"] == "checkpoint-4"
    assert tr.losses(tmp_path, 1, 2) == tr.losses(undisturbed)
    assert not faults_of(root / "checkpoint-8")


def test_a_run_that_had_finished_only_publishes_again(tmp_path: Path, model: Path) -> None:
    import shutil

    assert tr.run(tmp_path, model, max_steps=4).outcome is State.COMPLETED
    shutil.rmtree(tmp_path / "artifacts" / "model")
    assert tr.run(tmp_path, model, max_steps=4, attempt=2).outcome is State.COMPLETED
    assert not faults_of(tmp_path / "artifacts" / "model")
    assert not tr.losses(tmp_path, 2)


@pytest.mark.parametrize("left", ["steps", "nothing"])
def test_a_checkpoint_whose_report_was_cut_off_is_listed_by_the_run_that_goes_on_from_it(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch, left: str
) -> None:
    """Killed between the storing and the report. What is told then is what would have been told, once."""
    from tunesmith_jobs.train.checkpoint.uploading import Uploader

    whole, cut = tmp_path / "whole", tmp_path / "cut"
    whole.mkdir()
    cut.mkdir()
    more = {
        "max_steps": 6,
        "save_steps": 2,
        "eval_strategy": "steps",
        "eval_steps": 2,
        "eval_sampling_ratio": 0.1,
    }
    lost = 4 if left == "steps" else 6
    tr.run(whole, model, **more)

    class Killed(BaseException):
        pass

    def cut_off(self: Any, step: int, *given: Any, **named: Any) -> None:
        if step == lost:
            raise Killed
        plain(self, step, *given, **named)

    plain = Uploader._report
    with monkeypatch.context() as patched:
        patched.setattr(Uploader, "_report", cut_off)
        assert tr.run(cut, model, **more).outcome is State.FAILED
    listed = [step for step in (2, 4, 6) if step < lost]
    assert (stored(cut), tr.saved(cut)) == ([*listed, lost], listed)
    assert tr.run(cut, model, attempt=2, listed=listed, **more).outcome is State.COMPLETED
    assert [*tr.saved(cut), *tr.saved(cut, 2)] == [2, 4, 6]
    once, late = (
        {event["step"]: event for folder, attempt in runs for event in kinds(folder, "checkpoint", attempt)}
        for runs in ([(whole, 1)], [(cut, 1), (cut, 2)])
    )
    for step, event in late.items():
        assert event["metrics"] == once[step]["metrics"], step
        assert (event["best"], event["files"]) == (once[step]["best"], once[step]["files"]), step


@pytest.mark.parametrize("listed", [[4, 5], [4], None], ids=["listed", "not listed", "not known"])
def test_a_run_reports_again_only_what_is_known_not_to_be_listed(
    tmp_path: Path, model: Path, listed: list[int] | None
) -> None:
    tr.run(tmp_path, model, stop_at=5, max_steps=8)
    assert stored(tmp_path) == [4, 5]
    tr.run(tmp_path, model, attempt=2, max_steps=8, listed=listed)
    assert tr.saved(tmp_path, 2) == ([5, 8] if listed == [4] else [8])
