"""What a task does besides steps is noted, shown and waited for while it gets on."""

import datetime as dt
from typing import Any

from conftest_platform import LOCAL, TIME, Plane
from sqlalchemy import text

from tunesmith.lifecycle import State
from tunesmith_platform.backends.protocols import JobStatus
from tunesmith_platform.db.tables import AttemptRow, Base, UtcDateTime
from tunesmith_platform.scope import INSTALLATION
from tunesmith_platform.tasks import repository


def saving(done: int) -> dict[str, Any]:
    return {"kind": "saving", "done": done, "total": 3_400_000_000, "unit": "bytes"}


def test_a_task_that_runs_says_what_it_does(plane: Plane) -> None:
    task = plane.running()
    assert plane.task(task.id).message == "Starting."
    plane.report(task, {"kind": "progress", "step": 1, "total_steps": 10})
    assert plane.task(task.id).message == "Under way."
    plane.report(task, {"kind": "metrics", "step": 3, "values": {"loss": 1.0}}, activity=saving(0))
    assert plane.task(task.id).message == "Saving."
    plane.services.tasks.stop(LOCAL, task.id)
    assert plane.task(task.id).message != "Saving.", "what a stop says stands"


def test_a_save_that_gets_on_is_waited_for_and_shown_and_one_that_stands_still_is_ended(plane: Plane) -> None:
    task = plane.running()
    plane.services.settings.stop_grace_seconds = 1e-6
    plane.report(task, {"kind": "metrics", "step": 3, "values": {"loss": 1.0}}, activity=saving(0))
    plane.services.tasks.stop(LOCAL, task.id)
    for done in (1_200_000_000, 2_000_000_000):
        plane.report(task, activity=saving(done))
        plane.tick()
        assert plane.jobs.kills == []
    shown = plane.task(task.id)
    assert shown.state is State.STOPPING
    assert shown.activity is not None
    assert (shown.activity.text_en, shown.activity.text_zh) == (
        "Saving: 2.0 of 3.4 GB", "正在保存：2.0 / 3.4 GB",
    )  # fmt: skip
    plane.services.settings.stop_stall_seconds = 1e-6
    plane.report(task, activity=saving(2_000_000_000))  # a heartbeat alone is no progress
    plane.tick()
    assert plane.jobs.kills == [f"{task.id}-1"]
    plane.tick()
    ended = plane.task(task.id)
    assert (ended.state, ended.activity) == (State.STOPPED, None)
    warnings = [e.payload for e in plane.services.events.page(LOCAL, task.id, 0, 100, ["warning"]).data]
    assert any("Saving: 2.0 of 3.4 GB" in getattr(warning, "message", "") for warning in warnings)


def test_every_time_is_stored_in_one_form(plane: Plane) -> None:
    """Past the unit of work too; texts in two forms would not sort."""
    task = plane.running()
    plane.report(task, activity=saving(1))
    places = [
        (table.name, column.name)
        for table in Base.metadata.sorted_tables
        for column in table.columns
        if isinstance(column.type, UtcDateTime)
    ]
    with plane.services.database.read() as session:
        stored = {
            place: session.scalars(
                text(f"SELECT {place[1]} FROM {place[0]} WHERE {place[1]} IS NOT NULL")
            ).all()
            for place in places
        }
    assert stored["attempts", "advanced_at"]
    assert {place for place, times in stored.items() for time in times if "+" in time} == set()


def test_only_what_gets_on_is_noted_as_such(plane: Plane) -> None:
    task = plane.running()

    def advanced() -> dt.datetime | None:
        with plane.services.database.read() as session:
            return session.get_one(AttemptRow, (task.id, 1)).advanced_at

    plane.report(task)
    assert advanced() is None
    plane.report(task, activity=saving(1))
    first = advanced()
    assert first is not None
    plane.report(task, {"kind": "progress", "step": 1, "total_steps": 10}, activity=saving(1))
    assert advanced() == first
    plane.report(task, activity=saving(2))
    second = advanced()
    assert second is not None
    assert second > first
    plane.report(task)
    third = advanced()
    assert third is not None
    assert third > second, "that it is over is news too: the job leaves now"
    assert plane.task(task.id).activity is None
    assert plane.task(task.id).progress.step == 1


def test_steps_are_no_activity_that_is_shown(plane: Plane) -> None:
    task = plane.running()
    plane.report(task, activity={"kind": "training", "done": 12, "unit": "batches"})
    assert plane.task(task.id).activity is None


def test_a_platform_that_was_away_hears_a_job_out_before_it_ends_it(plane: Plane) -> None:
    """The stop was asked for long ago, and what the job said since was heard by nobody."""
    task = plane.running()
    plane.report(task, activity=saving(1))
    plane.services.tasks.stop(LOCAL, task.id)
    with plane.services.database.write() as session:
        long_ago = TIME.replace(year=2020)
        repository.locked(session, INSTALLATION, task.id).stop_requested_at = long_ago
        session.get_one(AttemptRow, (task.id, 1)).advanced_at = long_ago
    plane.tick()
    assert plane.jobs.kills == []
    plane.report(task, activity=saving(2))
    plane.tick()
    assert plane.jobs.kills == []


def test_a_new_attempt_is_not_busy_with_what_the_last_one_was(plane: Plane) -> None:
    task = plane.running()
    plane.report(task, activity=saving(1))
    plane.job(task, JobStatus.FAILED)
    plane.tick()
    with plane.services.database.write() as session:
        row = repository.locked(session, INSTALLATION, task.id)
        assert repository.activity_of(row) is None
        row.retry_at = None
    plane.tick()
    assert plane.jobs.submits[-1] == f"{task.id}-2"
