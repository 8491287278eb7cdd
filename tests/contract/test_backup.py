"""A platform is backed up while it goes on, and restored elsewhere: what it knew is there, and nothing runs twice."""

import contextlib
import json
import threading
from pathlib import Path
from typing import Any

import pytest
from backed_up import restored_in, saved
from conftest_platform import LOCAL, Plane
from fastapi.testclient import TestClient
from sqlalchemy import MetaData, select, text
from two_users import MOMENT, rows_of
from waiting import wait_until

from tunesmith.errors import StaleAttempt, TunesmithError
from tunesmith.events import Report
from tunesmith.home import Home
from tunesmith.lifecycle import Reason, State
from tunesmith.spec.task import MoreSteps
from tunesmith_platform.admin.backup import back_up
from tunesmith_platform.backends.protocols import JobStatus
from tunesmith_platform.db.engine import Database
from tunesmith_platform.db.tables import AuditRow, TaskRow
from tunesmith_platform.settings import Settings

NOT_KEPT = {"browsers", "leases", "runners", "server_uses"}
CHANGED = {"tasks", "attempts", "events", "deliveries", "notice_cursors", "pipelines", "pipeline_steps"}
CHANGED |= {"quota_entries", "quota_projects"}
"""Where a restore stops what was under way."""
EMPTIED = {"uploads", "measurements"}


def everything(database: Database) -> dict[str, list[Any]]:
    """Every row of every table, as the columns' types read them."""
    there = MetaData()
    with database.read() as session:
        there.reflect(session.connection())
        return {
            table.name: sorted(
                json.dumps([str(value) for value in row])
                for row in session.execute(select(*(TABLES[table.name].columns)))
            )
            for table in there.sorted_tables
            if table.name in TABLES
        }


TABLES = TaskRow.metadata.tables


def test_every_table_is_restored_as_it_was(
    plane: Plane, other_home: Home, other_url: str, tmp_path: Path
) -> None:
    """Rows of every kind, among them bytes, points in time, `null` beside nothing, words of any language."""
    said = {"action": "stop_task", "subject": "task-ann", "request_id": "r", "address": "127.0.0.1"}
    audited = AuditRow(time=MOMENT, who="ann", role="member", key_id="key-ann", **said)
    rows = [*rows_of("ann", 1), audited]
    plane.services.keys.enroll(plane.home.api_key_file, "local")
    with plane.services.database.write() as session:
        for row in rows:
            session.add(row)
            session.flush()
    before = everything(plane.services.database)
    summary = back_up(plane.services.database, plane.settings, tmp_path / "b.tar")
    assert {table.name for table in summary.tables} == TABLES.keys() - NOT_KEPT
    done = restored_in(other_home, other_url, tmp_path / "b.tar")
    with contextlib.closing(Database(other_url)) as database:
        after = everything(database)
        assert after["restores"]
        for name, wanted in before.items():
            if name not in CHANGED | EMPTIED | NOT_KEPT | {"restores"}:
                assert after[name] == wanted, name
        with database.read() as session:
            assert session.scalar(text("SELECT count(*) FROM deliveries WHERE state = 'pending'")) == 0
    assert done.attempt_floor == 100
    assert [name for name, wanted in before.items() if not wanted and name not in NOT_KEPT] == ["restores"]


def test_it_goes_on_and_the_restored_one_runs_nothing_twice(
    plane: Plane, other_home: Home, other_url: str, tmp_path: Path
) -> None:
    done = plane.running(name="done")
    plane.report(done, {"kind": "finished", "outcome": "completed", "reason": "completed"})
    plane.job(done, JobStatus.SUCCEEDED)
    plane.tick()
    runs = plane.running(name="runs")
    place = saved(plane, runs, 5)
    waits = plane.submit(name="waits")
    back_up(plane.services.database, plane.settings, tmp_path / "b.tar")
    # The platform goes on: one saves and loses its job, which is begun again; what waited begins.
    saved(plane, runs, 7)
    plane.job(runs, JobStatus.FAILED)
    plane.tick()
    later = plane.submit(name="later")

    found = restored_in(other_home, other_url, tmp_path / "b.tar")
    assert sorted(found.stopped) == sorted([runs.id, waits.id])
    assert (found.stored.counts["there"], found.stored.not_there) == (2, []), "the checkpoint and the model"
    # Its cluster is the same one: jobs of the other platform are seen.
    other = Plane(other_home, database_url=other_url)
    other.jobs = other.services.jobs = plane.jobs  # type: ignore[assignment]
    other.reconciler._services.jobs = plane.jobs
    submitted = list(plane.jobs.submits)
    other.tick()
    other.tick()
    assert plane.jobs.submits == submitted, "nothing was begun"
    assert plane.jobs.kills == []
    for task, state, reason in (
        (done, State.COMPLETED, Reason.COMPLETED),
        (runs, State.STOPPED, Reason.RESTORED),
        (waits, State.STOPPED, Reason.RESTORED),
    ):
        seen = other.task(task.id)
        assert (seen.state, seen.reason) == (state, reason), task.name
    with pytest.raises(TunesmithError, match=later.id):
        other.task(later.id)

    # The job of the other speaks to the restored one: it is refused, whoever's secret it shows.
    report = Report.model_validate({"attempt": 1, "events": []})
    with pytest.raises(StaleAttempt):
        other.services.events.ingest(runs.id, report)
    with TestClient(other.app) as client:
        said = client.post(
            f"/v1/tasks/{runs.id}/reports",
            json=report.model_dump(mode="json"),
            headers={"Authorization": f"Bearer {plane.token(runs)}"},
        )
        assert said.status_code in (401, 404), said.text

    # It goes on where its user says so, from the checkpoint of the backup, and no number is given twice.
    other.services.verbs.carry_on(LOCAL, runs.id, MoreSteps())
    other.tick()
    assert plane.jobs.submits[len(submitted) :] == [f"{runs.id}-101"]
    document = json.loads(Path(plane.jobs.documents[f"{runs.id}-101"]).read_text())
    assert document["attempt"] == 101
    assert place.is_relative_to(document["artifact_uri"]), "where the job looks for its checkpoints"
    other.job(runs, JobStatus.RUNNING, 101)
    other.tick()
    assert other.task(runs.id).state is State.RUNNING
    other.services.database.close()


def test_a_second_restore_gives_no_number_of_the_first(
    plane: Plane, other_home: Home, tmp_path: Path
) -> None:
    """Of one backup too: what was begun after the first restore lies in the storage."""
    task = plane.running()
    back_up(plane.services.database, plane.settings, tmp_path / "b.tar")
    (plane.home.files / "tasks" / task.id / "attempt-101.json").write_text("{}")
    assert (
        restored_in(other_home, f"sqlite:///{other_home.database}", tmp_path / "b.tar").attempt_floor == 200
    )
    with contextlib.closing(Database(f"sqlite:///{other_home.database}")) as database:
        back_up(database, Settings(home=other_home.root), tmp_path / "c.tar")
    third = Home(tmp_path / "third")
    third.create()
    assert restored_in(third, f"sqlite:///{third.database}", tmp_path / "c.tar").attempt_floor == 300


def test_it_is_one_moment_while_others_write(plane: Plane, tmp_path: Path) -> None:
    """A task says how many events it has; in each backup they are there, and no other."""
    tasks, over = [plane.running(), *(plane.submit() for _ in range(3))], threading.Event()

    def write() -> None:
        while not over.is_set():
            plane.submit()
            plane.report(tasks[0], *({"kind": "log", "message": "m"} for _ in range(5)))

    writer = threading.Thread(target=write)
    writer.start()
    try:
        before = plane.task(tasks[0].id).events
        for number in range(3):
            wait_until(lambda: plane.task(tasks[0].id).events > before + 20 * (number + 1), 30, "it goes on")  # noqa: B023
            back_up(plane.services.database, plane.settings, tmp_path / f"{number}.tar")
    finally:
        over.set()
        writer.join()
    for number in range(3):
        home = Home(tmp_path / f"home-{number}")
        home.create()
        url = f"sqlite:///{home.database}"
        restored_in(home, url, tmp_path / f"{number}.tar")
        with contextlib.closing(Database(url)) as database, database.read() as session:
            wrong = text(
                "SELECT id FROM tasks WHERE events != (SELECT count(*) FROM events WHERE task_id = tasks.id)"
            )
            assert session.scalars(wrong).all() == []
