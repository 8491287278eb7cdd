"""Leaving before the end: in the middle of a step, told by a signal, or warned by the cluster."""

import os
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
    from tunesmith_jobs.train.run import trainer

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
    from tunesmith_jobs.train.run import build_optimizer

    monkeypatch.setattr(build_optimizer, "moves_in_backward", lambda spec: True)
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
    from tunesmith_jobs.train.run.trainer import TuneTrainer

    words = "DataLoader worker (pid 7) is killed by signal: Terminated."

    def fail(_: TuneTrainer) -> None:
        raise RuntimeError(words)

    monkeypatch.setattr(TuneTrainer, "stop_in_step", fail)
    outcome = tr.run(tmp_path, model, term_at=4, **MORE)
    assert outcome.reason is Reason.STOPPED_BY_USER
    assert words in outcome.message


def test_sigterm_is_heard_for_a_run_in_a_thread(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As Ray Train runs it: what it does in the main thread before is `handle_sigterm_for_process`."""
    from tunesmith_jobs.train.run.interruption import Notices

    monkeypatch.setattr(Notices, "got_sigterm", False)
    before = signal.getsignal(signal.SIGTERM)
    outcomes: list[Any] = []
    run = threading.Thread(target=lambda: outcomes.append(tr.run(tmp_path, model, term_at=4, **MORE)))
    try:
        Notices.handle_sigterm_for_process()
        run.start()
        while run.is_alive():
            run.join(0.05)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert outcomes[0].reason is Reason.STOPPED_BY_USER
    assert max(saved(tmp_path)) < MORE["max_steps"]


def test_a_node_that_goes_away_is_an_occasion_to_save_once(tmp_path: Path, model: Path) -> None:
    from tunesmith.spec.training import TrainSpec
    from tunesmith_jobs.train.core import train
    from tunesmith_jobs.train.job import Identity, Paths
    from tunesmith_jobs.train.run.interruption import Notices

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
    from tunesmith_jobs.train.run import trainer

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
@pytest.mark.slow
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


# --- in an evaluation

EVALUATED: dict[str, Any] = {
    "max_steps": 6, "save_steps": 4, "eval_strategy": "steps", "eval_steps": 3, "eval_sampling_ratio": 0.25,
    "per_device_eval_batch_size": 1, "gradient_accumulation_steps": 1, "per_device_train_batch_size": 2,
    "precision": "fp32", "metric_for_best_model": "eval_loss",
}  # fmt: skip
BATCHES = 6
"""Of an evaluation. There is one before the first step, one after step 3 and one after step 6."""


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory: pytest.TempPathFactory, model: Path) -> Path:
    folder = tmp_path_factory.mktemp("evaluated")
    assert tr.run(folder, model, **EVALUATED).outcome is State.COMPLETED
    return folder


def told_in_evaluated_batch(number: int, how: str, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Let a stop or SIGTERM arrive while a batch is evaluated; gives the batches that were begun."""
    from tunesmith_jobs.models.scores import TokenScores

    begun: list[int] = []
    outlets: list[tr.FileOutlet] = []
    add = TokenScores.add

    class Outlet(tr.FileOutlet):
        def __init__(self, *args: Any, **more: Any):
            super().__init__(*args, **more)
            outlets.append(self)

    def tell(self: TokenScores, model: Any, inputs: dict[str, Any]) -> None:
        begun.append(len(begun) + 1)
        if len(begun) == number and how == "stop":
            outlets[-1].desired = Desired.STOP
        elif len(begun) == number:
            os.kill(os.getpid(), signal.SIGTERM)
        add(self, model, inputs)

    monkeypatch.setattr(tr, "FileOutlet", Outlet)
    monkeypatch.setattr(TokenScores, "add", tell)
    return begun


def best_of(folder: Path, *attempts: int) -> int:
    """The step that was told of last as the best one's."""
    told = [
        event["step"]
        for attempt in attempts
        for event in tr.kinds(folder, "checkpoint", attempt)
        if event["best"]
    ]
    return int(told[-1])


@pytest.mark.parametrize("how", ["stop", "sigterm"])
@pytest.mark.parametrize(("after", "left"), [(3, BATCHES + 2), (6, 2 * BATCHES + 3)])
def test_an_evaluation_is_left_and_nothing_is_lost(
    tmp_path: Path,
    model: Path,
    evaluated: Path,
    monkeypatch: pytest.MonkeyPatch,
    how: str,
    after: int,
    left: int,
) -> None:
    """The state at the step before it is saved, which no save was due at; it is done again when the run goes on."""
    with monkeypatch.context() as patch:
        begun = told_in_evaluated_batch(left, how, patch)
        outcome = tr.run(tmp_path, model, **EVALUATED)
    assert (outcome.reason, outcome.message) == (
        Reason.STOPPED_BY_USER, f"Stopped after step {after}; its checkpoint is saved.",
    )  # fmt: skip
    assert begun[-1] == left, "the batch under way was the last one"
    assert tr.stored(tmp_path)[-1] == after
    assert after not in tr.losses(tmp_path, name="eval_loss")
    assert tr.run(tmp_path, model, attempt=2, **EVALUATED).outcome is State.COMPLETED
    assert sorted(tr.losses(tmp_path, 2, name="eval_loss")) == [step for step in (3, 6) if step >= after]
    for name in ("loss", "eval_loss"):
        assert tr.losses(tmp_path, 1, 2, name=name) == tr.losses(evaluated, name=name)
    assert (tmp_path / WEIGHTS).read_bytes() == (evaluated / WEIGHTS).read_bytes()
    assert best_of(tmp_path, 1, 2) == best_of(evaluated, 1)
    told = {event["step"]: event for event in tr.kinds(tmp_path, "checkpoint", 2)}
    assert told[6]["metrics"] == tr.kinds(evaluated, "checkpoint")[-1]["metrics"]
    assert told[after]["metrics"]["eval_loss"] == tr.losses(evaluated, name="eval_loss")[after]


def test_a_stop_that_is_heard_at_the_end_of_a_step_leaves_its_evaluation_for_later(
    tmp_path: Path, model: Path, evaluated: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tunesmith_jobs.train.run.callbacks import RunCallback

    with monkeypatch.context() as patch:
        begun = told_in_evaluated_batch(0, "stop", patch)
        wishes = RunCallback._wishes

        def wish(self: RunCallback, *args: Any) -> tuple[bool, ...]:
            stop, *others = wishes(self, *args)
            return stop or args[0].global_step == 3, *others

        patch.setattr(RunCallback, "_wishes", wish)
        assert tr.run(tmp_path, model, **EVALUATED).reason is Reason.STOPPED_BY_USER
    assert len(begun) == BATCHES, "that before the first step alone"
    assert tr.run(tmp_path, model, attempt=2, **EVALUATED).outcome is State.COMPLETED
    assert tr.losses(tmp_path, 1, 2, name="eval_loss") == tr.losses(evaluated, name="eval_loss")
    assert best_of(tmp_path, 1, 2) == best_of(evaluated, 1)


def test_a_stop_in_the_evaluation_before_the_first_step_leaves_nothing(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = told_in_evaluated_batch(2, "stop", monkeypatch)
    outcome = tr.run(tmp_path, model, **EVALUATED)
    assert (outcome.outcome, outcome.message) == (State.STOPPED, "Stopped before the first step.")
    assert len(begun) == 2
    assert not saved(tmp_path)


def test_early_stopping_counts_an_evaluation_that_was_left_once(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The evaluation that would have ended the run is the one that is left: the run ends when it is done at last."""
    early = EVALUATED | {"early_stopping_patience": 1, "early_stopping_threshold": 1.0, "max_steps": 12}
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    whole.mkdir()
    cut.mkdir()
    undisturbed = tr.run(whole, model, **early)
    assert "Stopped early" in undisturbed.message
    last = max(tr.losses(whole))
    assert last == 6
    with monkeypatch.context() as patch:
        told_in_evaluated_batch(2 * BATCHES + 1, "stop", patch)
        assert tr.run(cut, model, **early).reason is Reason.STOPPED_BY_USER
    again = tr.run(cut, model, attempt=2, **early)
    assert (again.outcome, again.message) == (State.COMPLETED, undisturbed.message)
    assert max(tr.losses(cut, 1, 2)) == last, "no further step was taken"
    assert (cut / WEIGHTS).read_bytes() == (whole / WEIGHTS).read_bytes()
