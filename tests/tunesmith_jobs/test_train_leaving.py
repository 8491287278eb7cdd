"""Leaving before the end: in the middle of a step, told by a signal, or warned by the cluster."""

import signal
import threading
from pathlib import Path
from typing import Any

import pytest
import training_run as tr
from training_run import saved

from tunesmith.lifecycle import Desired, Reason, State

MORE: dict[str, Any] = {
    "max_steps": 8, "save_steps": 3, "gradient_accumulation_steps": 3, "per_device_train_batch_size": 2,
    "precision": "fp32",
}  # fmt: skip
WEIGHTS = Path("artifacts", "model", "adapter_model.safetensors")
pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, model: Path) -> Path:
    folder = tmp_path_factory.mktemp("undisturbed")
    assert tr.run(folder, model, **MORE).outcome is State.COMPLETED
    return folder


def stopped_in_batch(number: int, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Let the user's stop arrive while a batch is computed; gives the batches that were begun."""
    from tunesmith_jobs.train import trainer

    begun: list[int] = []
    outlets: list[tr.FileOutlet] = []
    take_counts = trainer.take_counts

    class Outlet(tr.FileOutlet):
        def __init__(self, *args: Any, **more: Any):
            super().__init__(*args, **more)
            outlets.append(self)

    def count(inputs: dict[str, Any]) -> Any:
        begun.append(len(begun) + 1)
        if len(begun) == number:
            outlets[-1].desired = Desired.STOP
        return take_counts(inputs)

    monkeypatch.setattr(tr, "FileOutlet", Outlet)
    monkeypatch.setattr(trainer, "take_counts", count)
    return begun


@pytest.mark.parametrize(
    ("batch", "steps", "checkpoints"),
    [
        (13, 4, [3, 4]),  # the first of the three batches of step 5
        (14, 4, [3, 4]),
        (11, 3, [3]),  # of step 4: the last whole one is saved already
        (15, 5, [3, 5]),  # in the last batch of step 5 nothing is left to give up
    ],
)
def test_a_stop_does_not_wait_for_the_whole_step(
    tmp_path: Path,
    model: Path,
    undisturbed: Path,
    monkeypatch: pytest.MonkeyPatch,
    batch: int,
    steps: int,
    checkpoints: list[int],
) -> None:
    with monkeypatch.context() as patch:
        begun = stopped_in_batch(batch, patch)
        outcome = tr.run(tmp_path, model, **MORE)
    assert (outcome.reason, outcome.message) == (
        Reason.STOPPED_BY_USER, f"Stopped after step {steps}; its checkpoint is saved.",
    )  # fmt: skip
    assert begun[-1] == batch
    assert saved(tmp_path) == checkpoints
    assert max(tr.losses(tmp_path)) == steps
    assert tr.run(tmp_path, model, attempt=2, **MORE).outcome is State.COMPLETED
    assert min(tr.losses(tmp_path, 2)) == steps + 1
    assert tr.losses(tmp_path, 1, 2) == tr.losses(undisturbed)
    assert (tmp_path / WEIGHTS).read_bytes() == (undisturbed / WEIGHTS).read_bytes()


def test_a_stop_in_the_first_step_leaves_nothing(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopped_in_batch(2, monkeypatch)
    outcome = tr.run(tmp_path, model, **MORE)
    assert (outcome.outcome, outcome.message) == (State.STOPPED, "Stopped before the first step.")
    assert not saved(tmp_path)


def test_a_step_whose_weights_have_moved_is_ended(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tunesmith_jobs.train import optimizers

    monkeypatch.setattr(optimizers, "moves_in_backward", lambda spec: True)
    begun = stopped_in_batch(13, monkeypatch)
    outcome = tr.run(tmp_path, model, **MORE)
    assert (outcome.message, begun[-1]) == ("Stopped after step 5; its checkpoint is saved.", 15)


def test_sigterm_saves_and_leaves(tmp_path: Path, model: Path, undisturbed: Path) -> None:
    before = signal.getsignal(signal.SIGTERM)
    outcome = tr.run(tmp_path, model, term_at=4, **MORE)
    assert (
        outcome.reason is Reason.STOPPED_BY_USER
    )  # the control plane knows that no user asked: it tries again
    assert saved(tmp_path) == [3, 4]
    assert signal.getsignal(signal.SIGTERM) is before
    assert tr.run(tmp_path, model, attempt=2, **MORE).outcome is State.COMPLETED
    assert tr.losses(tmp_path, 1, 2) == tr.losses(undisturbed)
    assert (tmp_path / WEIGHTS).read_bytes() == (undisturbed / WEIGHTS).read_bytes()


def test_what_fails_on_the_way_out_is_tried_again(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A signal to the whole group also ends the processes that read rows."""
    from tunesmith_jobs.train.trainer import TuneTrainer

    words = "DataLoader worker (pid 7) is killed by signal: Terminated."

    def fail(_: TuneTrainer) -> None:
        raise RuntimeError(words)

    monkeypatch.setattr(TuneTrainer, "leave", fail)
    outcome = tr.run(tmp_path, model, term_at=4, **MORE)
    assert outcome.reason is Reason.STOPPED_BY_USER
    assert words in outcome.message


def test_sigterm_is_heard_for_a_run_in_a_thread(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As Ray Train runs it: what it does in the main thread before is `hear_for_the_process`."""
    from tunesmith_jobs.train.leaving import Notices

    monkeypatch.setattr(Notices, "is_heard", False)
    before = signal.getsignal(signal.SIGTERM)
    outcomes: list[Any] = []
    run = threading.Thread(target=lambda: outcomes.append(tr.run(tmp_path, model, term_at=4, **MORE)))
    try:
        Notices.hear_for_the_process()
        run.start()
        while run.is_alive():
            run.join(0.05)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert outcomes[0].reason is Reason.STOPPED_BY_USER
    assert max(saved(tmp_path)) < MORE["max_steps"]


def test_a_node_that_goes_away_is_an_occasion_to_save_once(tmp_path: Path, model: Path) -> None:
    from tunesmith.spec.training import TrainSpec
    from tunesmith_jobs.train.core import Identity, Paths, train
    from tunesmith_jobs.train.leaving import Notices

    rows = tr.write_rows(tmp_path / "train.jsonl", 24)
    spec = TrainSpec.read(
        {"model_name_or_path": str(model), "train_file": str(rows)} | MORE | {"max_steps": 4}
    )
    paths = Paths(model, rows, None, str(tmp_path / "artifacts"), tmp_path / "scratch")
    outlet = tr.FileOutlet(tmp_path / "events-1.jsonl")
    outcome = train(spec, paths, outlet, Identity("task-1"), Notices(is_drained=lambda: True))
    assert outcome.outcome is State.COMPLETED
    assert saved(tmp_path) == [1, 3, 4]


# --- memory


def without_room_for(rows: int, after: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let batches of more than so many rows run out of memory, once some have been computed."""
    from tunesmith_jobs.train import trainer

    seen: list[int] = []
    take_counts = trainer.take_counts

    def take(inputs: dict[str, Any]) -> Any:
        seen.append(len(inputs["input_ids"]))
        if seen[-1] > rows and len(seen) > after:
            raise RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory")
        return take_counts(inputs)

    monkeypatch.setattr(trainer, "take_counts", take)


WIDE = MORE | {
    "per_device_train_batch_size": 6, "gradient_accumulation_steps": 1, "lora_dropout": 0.0, "max_steps": 5,
    "save_steps": 3,
}  # fmt: skip


@pytest.mark.parametrize(("room", "after", "batches"), [(3, 0, [(3, 2)]), (1, 4, [(3, 2), (1, 6)])])
def test_smaller_batches_go_on_where_memory_ran_out(
    tmp_path: Path,
    model: Path,
    monkeypatch: pytest.MonkeyPatch,
    room: int,
    after: int,
    batches: list[tuple[int, int]],
) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    whole.mkdir()
    cut.mkdir()
    assert tr.run(whole, model, **WIDE).outcome is State.COMPLETED
    without_room_for(room, after, monkeypatch)
    outcome = tr.run(cut, model, shrink_batch_on_oom=True, **WIDE)
    assert outcome.outcome is State.COMPLETED, outcome
    said = [e["hint"] for e in tr.events(cut) if e["kind"] == "warning" and e["code"] == "smaller_batches"]
    for hint, (fewer, more) in zip(said, batches, strict=True):
        assert f"_batch_size={fewer}` and `gradient_accumulation_steps={more}`" in hint
    assert tr.losses(cut) == pytest.approx(tr.losses(whole), rel=1e-4)
    assert sorted(tr.losses(cut)) == [1, 2, 3, 4, 5]


@pytest.mark.parametrize(("room", "more"), [(3, {}), (0, {"shrink_batch_on_oom": True})])
def test_memory_that_ran_out_ends_the_run_where_nothing_helps(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch, room: int, more: dict[str, Any]
) -> None:
    without_room_for(room, 0, monkeypatch)
    outcome = tr.run(tmp_path, model, **WIDE, **more)
    assert (outcome.outcome, outcome.reason) == (State.FAILED, Reason.OUT_OF_MEMORY), outcome
    assert not saved(tmp_path)
