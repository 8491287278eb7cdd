"""Stops that were accepted reach the job they are for, and no other."""

from pathlib import Path

import pytest
from conftest_platform import LOCAL, Plane

from tunesmith.job import JobDocument
from tunesmith.lifecycle import Reason, State
from tunesmith.spec.task import MoreSteps
from tunesmith.views import TaskView
from tunesmith_jobs.stopping import StopFiles
from tunesmith_platform.backends.protocols import JobStatus
from tunesmith_platform.db.tables import AttemptRow
from tunesmith_platform.scope import INSTALLATION
from tunesmith_platform.tasks import repository


def stops_of(plane: Plane, task: TaskView) -> list[str]:
    """Where a task's stops lie: in its work folder, and beside its documents."""
    places = (plane.settings.work_dir / task.id, Path(plane.settings.storage_uri) / "tasks" / task.id)
    return [str(file) for place in places for file in sorted(place.glob("stop-*"))]


def test_an_accepted_stop_lies_where_its_job_finds_it_while_the_api_is_away(plane: Plane) -> None:
    task = plane.running()
    document = JobDocument.model_validate_json(Path(plane.jobs.documents[f"{task.id}-1"]).read_text())
    files = StopFiles(document)
    assert (files.is_near(), files.is_far()) == (False, False)
    plane.services.tasks.stop(LOCAL, task.id)
    assert (files.is_near(), files.is_far()) == (True, True), "before its user is answered"


def test_a_stop_that_could_not_be_left_is_left_by_the_reconciler(
    plane: Plane, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = plane.running()
    with monkeypatch.context() as patch:
        patch.setattr("tunesmith.storage.LocalStorage.write", fail)  # the disk is full
        assert plane.services.tasks.stop(LOCAL, task.id).state is State.STOPPING
        assert stops_of(plane, task) == []
        plane.tick()
    plane.reconciler._leave_stop_at.clear()  # ten seconds later
    plane.tick()
    assert len(stops_of(plane, task)) == 2


def fail(*_: object) -> None:
    raise OSError(28, "No space left on device")


def test_a_stop_that_its_quota_asks_for_is_left_too(plane: Plane) -> None:
    task = plane.running()
    with plane.services.database.write() as session:
        plane.services.moves.request_stop(
            session, INSTALLATION, repository.locked(session, INSTALLATION, task.id), Reason.QUOTA
        )
    plane.tick()
    assert len(stops_of(plane, task)) == 2


def test_a_stop_that_was_left_stops_no_later_attempt(plane: Plane) -> None:
    task = plane.running()
    plane.services.tasks.stop(LOCAL, task.id)
    plane.report(task, {"kind": "finished", "outcome": "stopped", "reason": "stopped_by_user"})
    plane.job(task, JobStatus.SUCCEEDED)
    plane.tick()
    with plane.services.database.write() as session:  # a database restored from before its first attempt
        repository.locked(session, INSTALLATION, task.id).attempt = 0
        session.delete(session.get_one(AttemptRow, (task.id, 1)))
    plane.jobs.jobs.clear()
    plane.services.verbs.carry_on(LOCAL, task.id, MoreSteps())
    plane.tick()
    assert plane.jobs.submits == [f"{task.id}-1", f"{task.id}-1"]
    assert stops_of(plane, task) == []
