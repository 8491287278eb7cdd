"""Two replicas on one database: what one does the other sees, nothing is done twice, and what one held is taken over.

What is made by both at the same moment: `test_races.py`. Files and what is sent of them: `test_replicas_files.py`.
"""

import asyncio
import concurrent.futures
import contextlib
import datetime as dt
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest_platform import LOCAL, Plane
from fastapi.testclient import TestClient
from receivers import Hook
from sqlalchemy import select
from two_replicas import SOON, Replicas, kill, side_by_side
from waiting import wait_until

from tunesmith.job import read_secret, runner_token
from tunesmith.notifications import NewWebhook
from tunesmith.pipelines import NewPipeline
from tunesmith_platform.addresses import AddressKind
from tunesmith_platform.backends.protocols import JobStatus, Point, Run
from tunesmith_platform.clock import now
from tunesmith_platform.db.tables import RunnerRow, TaskRow
from tunesmith_platform.leases import LeaseLost, new_owner
from tunesmith_platform.monitoring.following import WorkspaceReader
from tunesmith_platform.monitoring.loop import Monitor
from tunesmith_platform.pipelines.runner import PipelineRunner
from tunesmith_platform.reconciler.loop import Reconciler
from tunesmith_platform.runners.dispatch import code_stamp
from tunesmith_platform.sse import StreamSource
from tunesmith_platform.testing.fakes import FakeTracking


@contextlib.contextmanager
def served(plane: Plane) -> Iterator[TestClient]:
    with TestClient(plane.app, raise_server_exceptions=False) as client:
        client.headers["Authorization"] = f"Bearer {plane.api_key}"
        yield client


# --- what one says the other's streams show


async def until_said(source: StreamSource, words: bytes, say: Callable[[], object]) -> None:
    """Follow a source until it brings some words that are said once it is followed."""
    woken, seen = asyncio.Event(), b""
    source.attach(woken.set)
    told = asyncio.create_task(asyncio.to_thread(say))
    async with asyncio.timeout(SOON):
        while words not in seen:
            woken.clear()
            chunk = await source.next()
            assert chunk is not None
            seen += chunk.plain
            if not chunk.plain:
                await woken.wait()
    await told
    source.detach()


def test_a_tasks_stream_shows_what_was_reported_to_another(replicas: Replicas) -> None:
    first, second = replicas
    task = first.running()

    async def follow() -> None:
        reader = await second.services.feeds.reader(LOCAL, task.id, first.task(task.id).events)
        report = {"kind": "log", "message": "said to the first"}
        await until_said(reader, b"said to the first", lambda: first.report(task, report))

    asyncio.run(follow())


def test_the_lists_stream_shows_what_was_made_at_another(replicas: Replicas) -> None:
    first, second = replicas

    async def follow() -> None:
        reader = WorkspaceReader(second.services.following.of(LOCAL), None)
        await until_said(reader, b"made-at-the-first", lambda: first.submit(name="made-at-the-first"))

    asyncio.run(follow())


def test_a_runner_that_asks_one_gets_what_another_gives_it(replicas: Replicas) -> None:
    first, second = replicas
    with first.services.database.write() as session:
        row = {"id": "runner-a", "state": "idle", "code": code_stamp()}
        session.add(RunnerRow(**row, created_at=now(), seen_at=now()))
    token = runner_token(read_secret(second.home.report_secret_file), "runner-a")

    def ask() -> Any:
        with TestClient(second.app) as client:
            headers = {"Authorization": f"Bearer {token}"}
            body = {"is_warm": True, "wait_seconds": SOON}
            return client.post("/v1/runners/runner-a/next", json=body, headers=headers).json()

    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        answer = pool.submit(ask)
        wait_until(lambda: second.services.hub._waiting, SOON, "the runner asks")
        first.services.jobs.submit("task-1-1", "/document", can_be_warm=True)
        assert answer.result()["document_uri"] == "/document"


# --- nothing is done twice, and what one held is taken over


class CountedTracking(FakeTracking):
    """Counts what it is told; a run is only made once another had the time to come as far."""

    def __init__(self, plane: Plane) -> None:
        super().__init__(artifact_root=plane.tracking.artifact_root)
        self.made: list[str] = []
        self.batches: list[int] = []
        self.meeting = threading.Barrier(2)

    def ensure_run(self, project: str, task_id: str, name: str, start_time_ms: int) -> Run:
        self.made.append(task_id)
        with contextlib.suppress(threading.BrokenBarrierError):
            self.meeting.wait(0.5)
        return super().ensure_run(project, task_id, name, start_time_ms)

    def log_points(self, run_id: str, points: list[Point]) -> None:
        self.batches.append(len(points))
        super().log_points(run_id, points)


@pytest.fixture
def tracking(replicas: Replicas) -> CountedTracking:
    found = CountedTracking(replicas[0])
    for plane in replicas:
        plane.mirror._tracking = found
    return found


def test_one_mirror_copies_and_the_next_goes_on_where_it_was(
    replicas: Replicas, tracking: CountedTracking
) -> None:
    first, second = replicas
    task = first.running()
    tracking.made.clear()
    first.report(task, {"kind": "metrics", "step": 1, "values": {"loss": 1.0}})
    side_by_side(first.mirror.tick, second.mirror.tick)
    (points,) = (run.points for run in tracking.runs.values())
    assert {point.value for point in points if point.name == "loss"} == {1.0}
    assert len(tracking.batches) == 1
    holder, other = (first, second) if first.mirror._lease.take() else (second, first)
    first.report(task, {"kind": "metrics", "step": 2, "values": {"loss": 2.0}})
    other.mirror.tick()
    assert len(tracking.batches) == 1, "it is the holder's"
    kill(holder)
    other.mirror.tick()
    assert {point.value for point in points if point.name == "loss"} == {1.0, 2.0}
    assert len(tracking.batches) == 2


def test_a_start_and_a_mirror_make_one_run(replicas: Replicas, tracking: CountedTracking) -> None:
    """MLflow would give each a run of its own."""
    task = replicas[0].submit()
    with replicas[0].services.database.read() as session:
        row = session.get_one(TaskRow, task.id)
    found = side_by_side(*(lambda plane=plane: plane.mirror.artifact_uri(row) for plane in replicas))
    assert tracking.made == [task.id]
    assert found[0] == found[1] is not None


def test_one_monitor_looks(replicas: Replicas) -> None:
    first, second = replicas
    task = first.running()
    monitors = [Monitor(p.services.database, p.services.hub, p.settings) for p in replicas]
    for monitor in monitors:
        monitor.tick()
    assert [list(monitor._tasks) for monitor in monitors] == [[task.id], []]
    kill(first)
    monitors[1].tick()
    assert list(monitors[1]._tasks) == [task.id]
    assert second.task(task.id).state == "running"


def test_a_webhook_is_told_once(replicas: Replicas, hook: Hook) -> None:
    for plane in replicas:
        plane.settings.notify_addresses = [*AddressKind]
    replicas[0].services.notifications.add(LOCAL, NewWebhook(url=hook.url, events=["stopped"]))
    replicas[0].services.tasks.stop(LOCAL, replicas[0].submit().id)
    both = [plane.services.notifications for plane in replicas]
    assert sum(side_by_side(*(service.enqueue for service in both))) == 1
    claimed = side_by_side(*(lambda service=service: service.claim_due(4) for service in both))
    assert sum(map(len, claimed)) == 1


FLOW = """
components: [{id: a, type: datasets, provider: local, data_files: a.jsonl}]
workflows: [{id: flow, jobs: [{id: load, component: a}]}]
"""


def test_one_runner_brings_a_pipeline_on_and_a_late_one_records_nothing(
    replicas: Replicas, tmp_path: Path
) -> None:
    first, second = replicas
    for plane in replicas:
        plane.settings.allowed_roots.append(tmp_path)
    (tmp_path / "a.jsonl").write_text('{"prompt": "p", "response": "r"}\n')
    made, _ = first.services.pipelines.create(LOCAL, NewPipeline(yaml=FLOW, folder=str(tmp_path)))
    runners = [PipelineRunner(plane.services) for plane in replicas]
    side_by_side(*(runner.tick for runner in runners))
    (step,) = first.services.pipelines.get(LOCAL, made.id).steps
    assert step.state == "running"
    with first.services.database.read() as session:
        assert len(session.scalars(select(TaskRow.id)).all()) == 1
    late, other = runners if runners[0]._lease.take() else runners[::-1]
    row, (stored,) = late._read(made.id)
    kill(first)
    other.tick()
    with pytest.raises(LeaseLost):
        late._end(stored, step.state, "seen long ago")
    with pytest.raises(LeaseLost):
        late._record(row.id, step.state)
    assert second.services.pipelines.get(LOCAL, made.id).steps[0].message != "seen long ago"


def test_a_task_of_a_process_that_was_killed_is_taken_up(replicas: Replicas) -> None:
    """Beside it on the same machine at once, elsewhere once its lease has run out."""
    first, second = replicas
    with subprocess.Popen([sys.executable, "-c", ""]) as killed:
        killed.wait()
    here = new_owner().partition("-")[0]
    task = first.submit()
    first.tick()
    first.job(task, JobStatus.RUNNING)
    for owner, is_free in ((f"{here}-{killed.pid}-0", True), (f"00000000-{killed.pid}-0", False)):
        with first.services.database.write() as session:
            row = session.get_one(TaskRow, task.id)
            row.lease_owner, row.lease_until = owner, now() + dt.timedelta(hours=1)
        other = Reconciler(second.services, None)
        other.begin()
        other.tick()
        assert (second.task(task.id).state == "running") is is_free or not is_free
        with first.services.database.read() as session:
            assert (session.get_one(TaskRow, task.id).lease_owner == other._owner) is is_free
        other.end()
    kill(first)
    third = Reconciler(second.services, None)
    third.tick()
    with first.services.database.read() as session:
        assert session.get_one(TaskRow, task.id).lease_owner == third._owner
