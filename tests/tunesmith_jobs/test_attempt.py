"""What the processes of every attempt do, held over all kinds: one outcome for an exception, one way to leave it."""

import errno
from collections.abc import Callable
from pathlib import Path

import pytest
from data_jobs import Ear
from fake_plane import make_document

from tunesmith.data_step import DataDocument
from tunesmith.errors import InvalidData, InvalidInput, NotFound, NotOurs, Unavailable
from tunesmith.job import JobDocument
from tunesmith.lifecycle import Reason
from tunesmith.model_step import ModelDocument
from tunesmith.outcome import Outcome
from tunesmith.row_problem import RowProblem
from tunesmith.spec.training import TrainSpec
from tunesmith_jobs import attempt, model_worker
from tunesmith_jobs.data import entry as data_entry
from tunesmith_jobs.document import read_outcome
from tunesmith_jobs.failures import Stopped, StorageFailed, Superseded
from tunesmith_jobs.spool import SpoolLock
from tunesmith_jobs.train import core

DONE = Outcome.because(Reason.COMPLETED, "done")


def model_document(folder: Path, kind: str) -> ModelDocument:
    spec = {"prompts": ["q"]} if kind == "generate" else {}
    shared = make_document(folder, "http://127.0.0.1:9").model_dump()
    more = {
        "model_uri": "/m",
        "training": {"model_name_or_path": "/m", "train_file": "/t"},
        "encoder_path": "/m",
        "origin": {"base": "m"},
    }
    return ModelDocument.model_validate(
        shared | more | {"kind": kind, "spec": {"model_name_or_path": "/m"} | spec}
    )


def raises(error: Exception) -> Callable[..., Outcome]:
    def work(*_: object) -> Outcome:
        raise error

    return work


def a_training(folder: Path, error: Exception, patch: pytest.MonkeyPatch) -> Outcome:
    patch.setattr(core, "_run", raises(error))
    spec = TrainSpec.read({"model_name_or_path": "/m", "train_file": "/t"})
    paths = core.Paths(folder, folder, None, str(folder / "artifacts"), folder / "scratch")
    return core.train(spec, paths, Ear(), core.Identity("task-1"))


def a_step_with_a_model(folder: Path, error: Exception, patch: pytest.MonkeyPatch) -> Outcome:
    patch.setattr(model_worker, "_work", raises(error))
    return model_worker.work(model_document(folder, "generate"), Ear())


def an_operation(folder: Path, error: Exception, patch: pytest.MonkeyPatch) -> Outcome:
    patch.setattr(data_entry, "run", raises(error))
    patch.setattr(data_entry, "read_operation", lambda *_: None)
    document = DataDocument.model_construct(
        task_id="task-1",
        operation="shuffle",
        parameters={},
        environment=[],
        rows_dir=str(folder),
        work_dir=str(folder / "work"),
        attempt=1,
    )
    return data_entry.work(document, Ear())


KINDS = [a_training, a_step_with_a_model, an_operation]


@pytest.mark.parametrize(
    ("error", "reason", "words"),
    [
        (InvalidData("A row.", hint="Fix it."), Reason.BAD_DATA, "A row. Fix it."),
        (RowProblem("A row.", "Fix it."), Reason.BAD_DATA, "A row. Fix it."),
        (InvalidInput("A name."), Reason.BAD_PARAMETERS, "A name."),
        (NotOurs("Theirs.", hint="Move it."), Reason.BAD_PARAMETERS, "Theirs. Move it."),
        (MemoryError(), Reason.OUT_OF_MEMORY, "It ran out of memory."),
        (OSError(errno.ENOSPC, "full"), Reason.DISK_FULL, "[Errno 28] full"),
        (StorageFailed("away"), Reason.STORAGE, "away"),
        (Unavailable("away"), Reason.STORAGE, "away"),
        (NotFound("gone"), Reason.STORAGE, "gone"),
        (KeyError("name"), Reason.USER_CODE, "KeyError: 'name'"),
        (RuntimeError("x" * 3000), Reason.USER_CODE, "x" * 2000),
        (Stopped("Stopped."), Reason.STOPPED_BY_USER, "Stopped."),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_every_kind_ends_the_same_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, reason: Reason, words: str
) -> None:
    for kind in KINDS:
        folder = tmp_path / kind.__name__
        folder.mkdir()
        outcome = kind(folder, error, monkeypatch)
        assert (outcome.reason, outcome.message, outcome.superseded) == (reason, words, False), kind.__name__


def test_an_attempt_that_is_over_has_nothing_to_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for kind in KINDS:
        folder = tmp_path / kind.__name__
        folder.mkdir()
        assert kind(folder, Superseded(), monkeypatch).superseded, kind.__name__


def test_who_works_leaves_the_outcome_before_another_may_speak(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the driver, which sees a stop and no outcome, would call what was completed stopped."""
    monkeypatch.setattr(attempt, "_DRAIN_SECONDS", 0.0)
    taken: list[bool] = []
    write = attempt.write_outcome

    def looked_at(document: JobDocument, outcome: Outcome) -> None:
        taken.append(not SpoolLock(Path(document.work_dir), document.attempt).acquire())
        write(document, outcome)

    monkeypatch.setattr(attempt, "write_outcome", looked_at)
    document = model_document(tmp_path, "generate")
    file = tmp_path / "job.json"
    file.write_text(document.model_dump_json())
    monkeypatch.setattr(model_worker, "work", lambda *_: DONE)
    assert Outcome.model_validate_json(model_worker.run(str(file))) == DONE
    assert taken == [True]
    assert read_outcome(document) == DONE


def test_superseded_work_leaves_no_outcome(tmp_path: Path) -> None:
    document = make_document(tmp_path, "http://127.0.0.1:9")
    outcome = attempt.report_work(document, lambda _: Outcome.of_superseded())
    assert outcome.superseded
    assert read_outcome(document) is None
