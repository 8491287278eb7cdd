"""What a job says that it is busy with: it gets on with each piece that is written, and stands still when none is."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import training_run as tr
from fake_plane import FakeControlPlane, make_document
from safetensors.torch import save_file
from test_stopping import eventually

import tunesmith_jobs.activities
from tunesmith.activity import Activity, ActivityKind, Unit
from tunesmith.lifecycle import Desired, Reason, State
from tunesmith.storage import open_storage
from tunesmith_jobs.activities import Activities
from tunesmith_jobs.artifact_store import ArtifactStore, Owner
from tunesmith_jobs.models import weights
from tunesmith_jobs.report import Reporter
from tunesmith_jobs.train.checkpoint import uploading
from tunesmith_jobs.train.checkpoint.uploading import BigFile

OWNER = Owner("task-1", 1, "m", None)


def test_of_several_the_one_that_a_stop_waits_for_is_told() -> None:
    activities = Activities()
    assert activities.now() is None
    with activities.doing(ActivityKind.SAVING, total=10) as saving:
        with activities.doing(ActivityKind.TRAINING, Unit.BATCHES) as training:
            training.advance()
            saving.advance(3)
            assert activities.now() == Activity(kind=ActivityKind.SAVING, done=3, total=10, unit=Unit.BYTES)
        saving.advance(9)
        assert activities.now() == Activity(kind=ActivityKind.SAVING, done=12, total=12, unit=Unit.BYTES), (
            "there was more than was thought"
        )
    with activities.doing(ActivityKind.EVALUATING, Unit.BATCHES, measure=lambda: 7):
        now = activities.now()
        assert now is not None
        assert (now.done, now.total) == (7, None)
    assert activities.now() is None


def test_what_cannot_be_measured_just_now_is_as_far_as_it_was() -> None:
    """The sender of heartbeats asks: a folder that vanishes meanwhile must not keep them away."""
    found: list[int] = [5]
    activities = Activities()
    with activities.doing(ActivityKind.SAVING, measure=lambda: found.pop() if found else _vanished()):
        for _ in range(2):
            now = activities.now()
            assert now is not None
            assert now.done == 5


def test_a_storage_that_hangs_keeps_no_heartbeat_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is measured may lie on a storage that is away: it is as far as it was, and is asked once at a time."""
    monkeypatch.setattr(tunesmith_jobs.activities, "_MEASURE_SECONDS", 0.05)
    is_back, asked = threading.Event(), []

    def measure() -> int:
        asked.append(1)
        is_back.wait(5)
        return 9

    activities = Activities()
    with activities.doing(ActivityKind.SAVING, measure=measure):
        for _ in range(3):
            now = activities.now()
            assert now is not None
            assert (now.done, len(asked)) == (0, 1)
        is_back.set()
        assert eventually(lambda: (now := activities.now()) is not None and now.done == 9)


def _vanished() -> int:
    raise FileNotFoundError("the folder")


def test_heartbeats_carry_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tunesmith_jobs.report.SEND_SECONDS", 0.02)
    monkeypatch.setattr("tunesmith_jobs.report.HEARTBEAT_SECONDS", 0.02)
    plane = FakeControlPlane()
    try:
        with Reporter(make_document(tmp_path, plane.url)) as reporter:
            with reporter.activities.doing(ActivityKind.SAVING, total=10) as doing:
                doing.advance(4)
                wanted = {"kind": "saving", "done": 4, "total": 10, "unit": "bytes"}
                assert eventually(lambda: plane.activity == wanted)
            assert eventually(lambda: plane.activity is None)
    finally:
        plane.close()


def recorded(monkeypatch: pytest.MonkeyPatch) -> dict[ActivityKind, list[int]]:
    """How far each kind of activity came, at every look of a sender that looks at each piece."""
    from tunesmith_jobs.activities import Doing

    found: dict[ActivityKind, list[int]] = {}
    advance = Doing.advance

    def noted(self: Doing, count: int = 1) -> None:
        advance(self, count)
        found.setdefault(self.kind, []).append(self.as_activity().done)

    monkeypatch.setattr(Doing, "advance", noted)
    return found


@pytest.mark.parametrize("place", ["folder", "bucket"])
def test_a_store_says_how_far_it_is(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    is_bucket = place == "bucket"
    uri = f"{request.getfixturevalue('s3_uri')}/{tmp_path.name}" if is_bucket else str(tmp_path / "artifacts")
    said = recorded(monkeypatch)
    folder = tmp_path / "checkpoint-1"
    folder.mkdir()
    size = 20 * 2**20
    (folder / "weights").write_bytes(b"w" * size)
    manifest, _ = ArtifactStore(uri, OWNER, activities=Activities()).put(
        folder, "checkpoints/checkpoint-1", 1
    )
    assert manifest.total_bytes == size
    assert max(said[ActivityKind.SAVING]) >= size
    assert len(said[ActivityKind.SAVING]) > 10, "while it is read for its hash"
    if is_bucket:  # in a folder it is one rename
        assert max(said[ActivityKind.UPLOADING]) == size
        assert len(said[ActivityKind.UPLOADING]) >= 3
    stored = open_storage(uri).get_folder("checkpoints/checkpoint-1", tmp_path / "fetched")
    assert (stored / "weights").stat().st_size == size


def test_a_file_says_how_far_it_is(tmp_path: Path) -> None:
    data = memoryview(bytes(range(256)) * 2**15)
    pieces: list[int] = []
    file = BigFile(tmp_path / "file", [b"head", data])
    file.write(pieces.append)
    assert sum(pieces) == file.size == (tmp_path / "file").stat().st_size
    assert len(pieces) > 2


def test_weights_are_written_as_the_library_writes_them(tmp_path: Path) -> None:
    draw = torch.Generator().manual_seed(1)
    tensors = {
        f"layer.{n}.é" if n == 3 else f"layer.{n}": torch.randn(3, n + 1, generator=draw).to(kind)
        for n, kind in enumerate(weights.TYPES)
    } | {
        "empty": torch.zeros(0, 4),
        "scalar": torch.tensor(2.0),
        "turned": torch.randn(4, 3, generator=draw).T,
    }
    save_file(
        {name: tensor.contiguous() for name, tensor in tensors.items()}, tmp_path / "theirs", {"format": "pt"}
    )
    weights.write_weights(tensors, tmp_path / "ours", {"format": "pt"}, lambda count: None)
    assert (tmp_path / "ours").read_bytes() == (tmp_path / "theirs").read_bytes()


# --- a run that is told to stop


class Held:
    """Lets the pieces of a checkpoint through one by one."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.is_held = threading.Event()
        self.through = threading.Semaphore(0)
        write = uploading.write_pieces

        def slow(path: Path, pieces: Any, advance: Callable[[int], None] = lambda count: None) -> str:
            def told(count: int) -> None:
                self.is_held.set()
                self.through.acquire()
                advance(count)

            small = (
                memoryview(piece)[i : i + 4096]
                for piece in pieces
                for i in range(0, len(memoryview(piece)), 4096)
            )
            return write(path, small, told)

        monkeypatch.setattr(uploading, "write_pieces", slow)

    def release(self) -> None:
        for _ in range(100_000):
            self.through.release()


@pytest.mark.usefixtures("one_thread")
def test_a_slow_save_gets_on_and_a_stuck_one_does_not(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the control plane decides by: a stop waits for the first and not for the second."""
    outlets: list[tr.FileOutlet] = []

    class Outlet(tr.FileOutlet):
        def __init__(self, *args: Any, **more: Any):
            super().__init__(*args, **more)
            outlets.append(self)

    monkeypatch.setattr(tr, "FileOutlet", Outlet)
    held = Held(monkeypatch)
    outcomes: list[Any] = []
    run = threading.Thread(
        target=lambda: outcomes.append(tr.run(tmp_path, model, stop_at=3, max_steps=8, save_steps=100))
    )
    run.start()
    try:
        assert held.is_held.wait(60)
        assert outlets[0].desired is Desired.STOP
        stuck = [outlets[0].activities.now() for _ in range(3)]
        assert stuck[0] is not None
        assert stuck[0].kind is ActivityKind.SAVING
        assert stuck == stuck[:1] * 3
        held.through.release()

        def has_moved() -> bool:
            now = outlets[0].activities.now()
            return now is not None and stuck[0] is not None and now.done > stuck[0].done

        assert eventually(has_moved)
        assert not outcomes
    finally:
        held.release()
        run.join(60)
    assert outcomes[0].reason is Reason.STOPPED_BY_USER
    step = max(tr.losses(tmp_path))
    assert tr.stored(tmp_path) == [step], "the save was finished, at the last whole step"


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("how", ["layer", "tensor"])
def test_a_stop_leaves_a_merge_and_it_is_made_when_the_run_goes_on(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    from tunesmith_jobs.activities import Doing

    given: dict[str, Any] = {"max_steps": 2, "save_steps": 2, "merge_lora_after_training": True}
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    whole.mkdir()
    cut.mkdir()
    assert tr.run(whole, model, **given).outcome is State.COMPLETED
    merged: list[int] = []
    outlets: list[tr.FileOutlet] = []

    class Outlet(tr.FileOutlet):
        def __init__(self, *args: Any, **more: Any):
            super().__init__(*args, **more)
            outlets.append(self)

    advance = Doing.advance

    def stop(self: Doing, count: int = 1) -> None:
        advance(self, count)
        unit = self.as_activity().unit
        if self.kind is ActivityKind.MERGING and unit is (Unit.TENSORS if how == "layer" else Unit.BYTES):
            merged.append(count)
            outlets[-1].desired = Desired.STOP

    with monkeypatch.context() as patch:
        patch.setattr(tr, "FileOutlet", Outlet)
        patch.setattr(Doing, "advance", stop)
        outcome = tr.run(cut, model, **given)
    assert outcome.reason is Reason.STOPPED_BY_USER
    assert "its checkpoint is saved, the merged model is not made" in outcome.message
    assert len(merged) == 1, "nothing more was merged"
    assert not (cut / "artifacts" / "model").exists()
    again = tr.run(cut, model, attempt=2, **given)
    assert again.outcome is State.COMPLETED
    assert tr.losses(cut, 2) == {}, "no step was taken again"
    name = Path("artifacts", "model", "model.safetensors")
    assert (cut / name).read_bytes() == (whole / name).read_bytes()


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize(
    "more",
    [{"target_modules": ["embed_tokens", "q_proj"]}, {"use_dora": True, "bias": "all"}],
)
def test_layers_that_are_merged_one_by_one_give_what_peft_gives(
    tmp_path: Path, model: Path, more: dict[str, Any]
) -> None:
    from tunesmith.spec.training import TrainSpec
    from tunesmith_jobs.models.adapters import attach, task_type
    from tunesmith_jobs.models.build import load_base
    from tunesmith_jobs.models.merge import merge

    given = {"max_steps": 2} | more
    assert tr.run(tmp_path, model, **given).outcome is State.COMPLETED
    spec = TrainSpec.read({"model_name_or_path": str(model), "train_file": "t"} | given)
    adapter = tmp_path / "artifacts" / "model"
    merge(adapter, model, tmp_path / "ours", spec, None)
    tuned = attach(load_base(model, None, {"dtype": "auto"}), adapter, task_type(spec))
    assert tuned.merge_and_unload(safe_merge=True).save_pretrained(tmp_path / "theirs") is None
    ours, theirs = (tmp_path / name / "model.safetensors" for name in ("ours", "theirs"))
    from safetensors.torch import load_file

    one, other = load_file(ours), load_file(theirs)
    for name, tensor in other.items():
        assert torch.equal(one[name], tensor), name
