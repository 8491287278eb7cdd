"""A checkpoint taken in memory holds what the library's would, whatever the optimizer keeps; one is taken at a time."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import training_run as tr

from tunesmith.artifacts import faults_of, sha256_of
from tunesmith.lifecycle import State

pytestmark = pytest.mark.usefixtures("one_thread")


def folders(folder: Path) -> list[Path]:
    found = (folder / "artifacts" / "checkpoints").iterdir()
    return sorted(found, key=lambda path: int(path.name.rsplit("-", 1)[1]))


@pytest.mark.parametrize(
    "more", [{}, {"bias": "all", "use_dora": True}, {"use_lora": False, "learning_rate": 1e-3}]
)
def test_later_checkpoints_hold_what_the_library_would_write(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch, more: dict[str, Any]
) -> None:
    from tunesmith_jobs.train.checkpoint.snapshots import Snapshots

    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    ours.mkdir()
    theirs.mkdir()
    given = {"max_steps": 3, "save_steps": 1} | more
    assert tr.run(ours, model, **given).outcome is State.COMPLETED
    monkeypatch.setattr(Snapshots, "plan_weights", lambda *_: False)
    assert tr.run(theirs, model, **given).outcome is State.COMPLETED
    for mine, other in zip(folders(ours), folders(theirs), strict=True):
        assert not faults_of(mine)
        assert {path.name for path in mine.iterdir()} == {path.name for path in other.iterdir()}
        # The arguments name their run's folder.
        names = {path.name for path in other.iterdir()} - {
            "manifest.json",
            "training_args.json",
            "tunesmith_window.json",
        }
        assert {name for name in names if sha256_of(mine / name) != sha256_of(other / name)} == set()
    first, last = folders(ours)[0], folders(ours)[-1]
    shared = "adapter_config.json" if (first / "adapter_config.json").exists() else "tokenizer.json"
    assert (first / shared).stat().st_ino == (last / shared).stat().st_ino  # not written again


def test_a_state_comes_back_as_it_was(tmp_path: Path) -> None:
    import torch

    from tunesmith_jobs.train.checkpoint.snapshots import OPTIMIZER_FILE, Snapshots
    from tunesmith_jobs.train.checkpoint.states import read_tensors

    shared = torch.arange(5, dtype=torch.uint8)
    state = {
        "state": {
            0: {"step": torch.tensor(3.0), "exp_avg": torch.randn(4, 3), "map": shared},
            7: {
                "half": torch.randn(3).to(torch.bfloat16),
                "map": shared,
                "none": torch.empty(0),
                "big": torch.tensor([2**40]),
            },
        },
        "param_groups": [{"lr": 1e-3, "betas": (0.9, 0.999), "params": [0, 7], "name": None, "fused": True}],
    }
    snapshots = Snapshots(tmp_path / "kept")
    snapshots.plan_state(tmp_path / OPTIMIZER_FILE, state)
    (file,) = snapshots.take()
    state["state"][0]["exp_avg"] += 1  # the snapshot is taken: this comes too late
    assert file.write() == sha256_of(tmp_path / OPTIMIZER_FILE)
    back = read_tensors(tmp_path / OPTIMIZER_FILE)
    assert back["param_groups"] == state["param_groups"]
    assert back["state"][7]["map"] is back["state"][0]["map"]
    state["state"][0]["exp_avg"] -= 1
    for place, one in state["state"].items():
        for name, tensor in one.items():
            found = back["state"][place][name]
            assert (found.dtype, found.shape) == (tensor.dtype, tensor.shape), name
            assert torch.allclose(found, tensor, atol=1e-6), name


def test_a_state_of_numbers_alone_is_written_at_once(tmp_path: Path) -> None:
    from tunesmith_jobs.train.checkpoint.snapshots import Snapshots
    from tunesmith_jobs.train.checkpoint.states import read_tensors

    snapshots, state = (
        Snapshots(tmp_path / "kept"),
        {"state": {}, "param_groups": [{"lr": 0.1, "params": [0]}]},
    )
    assert not snapshots.take()  # nothing was laid out: a worker that is not the first
    snapshots.plan_state(tmp_path / "file", state)
    assert not snapshots.take()
    assert read_tensors(tmp_path / "file") == state


@pytest.mark.parametrize("value", [object(), {1, 2}, print, b"bytes"])
def test_what_the_format_cannot_hold_is_no_state(tmp_path: Path, value: Any) -> None:
    from tunesmith_jobs.train.checkpoint.snapshots import Snapshots
    from tunesmith_jobs.train.checkpoint.states import Unfit

    with pytest.raises(Unfit):
        Snapshots(tmp_path / "kept").plan_state(tmp_path / "file", {"state": {0: {"x": value}}})


def test_one_snapshot_is_held_at_a_time(tmp_path: Path) -> None:
    import torch

    from tunesmith_jobs.train.checkpoint.snapshots import Snapshots

    snapshots, taken = Snapshots(tmp_path / "kept"), threading.Event()

    def take() -> None:
        snapshots.plan_state(tmp_path / "second", {"x": torch.ones(3)})
        snapshots.take()
        taken.set()

    snapshots.plan_state(tmp_path / "first", {"x": torch.zeros(3)})
    assert snapshots.take()
    thread = threading.Thread(target=take)
    thread.start()
    assert not taken.wait(0.1)
    snapshots.release()
    assert taken.wait(10)
    thread.join()


def test_without_memory_for_a_copy_the_files_are_written_at_once(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tunesmith_jobs.train.checkpoint import snapshots

    monkeypatch.setattr(snapshots, "spare_memory", lambda: 1000)
    assert tr.run(tmp_path, model, max_steps=3, save_steps=1).outcome is State.COMPLETED
    assert [faults_of(folder) for folder in folders(tmp_path)] == [[], [], []]


@pytest.fixture
def full_disk(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    import errno

    from tunesmith_jobs.train.checkpoint.uploading import BigFile

    def fail(_: BigFile, advance: object) -> str:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(BigFile, "write", fail)
        yield


@pytest.mark.usefixtures("full_disk")
def test_a_disk_that_fills_up_meanwhile_ends_the_run(tmp_path: Path, model: Path) -> None:
    from tunesmith.lifecycle import Reason

    outcome = tr.run(tmp_path, model, max_steps=4, save_steps=1)
    assert (outcome.outcome, outcome.reason) == (State.FAILED, Reason.DISK_FULL), outcome
    assert not list((tmp_path / "artifacts" / "checkpoints").glob("*/manifest.json"))


@pytest.mark.parametrize("written", [b"", b"\x08\x00", b"whole"])
def test_what_other_workers_write_meanwhile_is_none_of_its_own(tmp_path: Path, written: bytes) -> None:
    """A worker that has no weights to save comes to its random states first; they may be half written."""
    import torch
    from safetensors.torch import save_file

    from tunesmith_jobs.train.checkpoint import states
    from tunesmith_jobs.train.checkpoint.snapshots import Snapshots

    class Model(torch.nn.Linear):
        _keys_to_ignore_on_save = None

    network = Model(2, 2)
    first, second = tmp_path / "checkpoint-1", tmp_path / "checkpoint-2"
    for folder in (first, second):
        folder.mkdir()
    save_file(dict(network.state_dict()), first / "model.safetensors")
    (first / "config.json").write_text("{}")
    other = first / states.random_file(1, 2)
    if written == b"whole":
        states.write_tensors(other, states.random_states())
    else:
        other.write_bytes(written)
    snapshots = Snapshots(tmp_path / "kept")
    snapshots.learn(first, network)
    assert snapshots.plan_weights(second), "it was learned"
    assert [path.name for path in second.iterdir()] == ["config.json"], "another step's random states"
