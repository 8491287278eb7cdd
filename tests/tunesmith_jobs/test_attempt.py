"""What the processes of every attempt do, held over all kinds: one outcome for an exception, one way to leave it."""

import errno
from collections.abc import Callable
from pathlib import Path

import pytest
from attempts import DOCUMENTS, NOBODY
from data_jobs import Ear
from fake_plane import make_document

from tunesmith.errors import InvalidData, InvalidInput, NotFound, NotOurs, Unavailable
from tunesmith.job import AttemptDocument
from tunesmith.lifecycle import Reason
from tunesmith.outcome import Outcome
from tunesmith.row_problem import RowProblem
from tunesmith.spec.kinds import kinds
from tunesmith_jobs import attempt, model_work, worker
from tunesmith_jobs.data import program as data_program
from tunesmith_jobs.document import read_outcome
from tunesmith_jobs.failures import Stopped, StorageFailed, Superseded
from tunesmith_jobs.program import Attempt
from tunesmith_jobs.pull import program as pull_program
from tunesmith_jobs.spool import SpoolLock
from tunesmith_jobs.train import core
from tunesmith_jobs.upload import program as upload_program
from tunesmith_jobs.worker import do
from tunesmith_serve import program as serve_program

DONE = Outcome.because(Reason.COMPLETED, "done")


def raises(error: Exception) -> Callable[..., Outcome]:
    def work(*_: object) -> Outcome:
        raise error

    return work


def fails(kind: str, folder: Path, error: Exception, patch: pytest.MonkeyPatch) -> Outcome:
    """What an attempt ends with whose work raises something, as deep inside as its kind looks at it."""
    patch.setattr(core, "_run", raises(error))
    patch.setattr(data_program, "run", raises(error))
    patch.setattr(model_work, "prepare_libraries", raises(error))
    patch.setattr(serve_program, "connected", raises(error))
    patch.setattr(upload_program._Upload, "_stored", raises(error))
    patch.setattr(pull_program, "pull", raises(error))
    return do(Attempt.of(DOCUMENTS[kind](folder, NOBODY)), Ear())


def test_each_installed_kind_is_held_to_what_follows() -> None:
    assert set(DOCUMENTS) == set(kinds())


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
    for kind in DOCUMENTS:
        outcome = fails(kind, tmp_path / kind, error, monkeypatch)
        assert (outcome.reason, outcome.message, outcome.superseded) == (reason, words, False), kind


def test_an_attempt_that_is_over_has_nothing_to_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for kind in DOCUMENTS:
        assert fails(kind, tmp_path / kind, Superseded(), monkeypatch).superseded, kind


@pytest.mark.parametrize("kind", DOCUMENTS)
def test_who_works_leaves_the_outcome_before_another_may_speak(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """Else the driver, which sees a stop and no outcome, would call what was completed stopped."""
    monkeypatch.setattr(attempt, "_DRAIN_SECONDS", 0.0)
    taken: list[bool] = []
    write = attempt.write_outcome

    def looked_at(document: AttemptDocument, outcome: Outcome) -> None:
        taken.append(not SpoolLock(Path(document.work_dir), document.attempt).acquire())
        write(document, outcome)

    monkeypatch.setattr(attempt, "write_outcome", looked_at)
    document = DOCUMENTS[kind](tmp_path, NOBODY)
    file = tmp_path / "job.json"
    file.write_text(document.model_dump_json())
    monkeypatch.setattr(worker, "do", lambda *_: DONE)
    assert Outcome.model_validate_json(worker.run_task(str(file))) == DONE
    assert taken == [True]
    assert read_outcome(document) == DONE


def test_superseded_work_leaves_no_outcome(tmp_path: Path) -> None:
    document = make_document(tmp_path, "http://127.0.0.1:9")
    outcome = attempt.report_work(document, lambda _: Outcome.of_superseded())
    assert outcome.superseded
    assert read_outcome(document) is None
