"""The same control plane on SQLite and on a real PostgreSQL: queue, exactly-once ingest, concurrency, migrations."""

import asyncio
import concurrent.futures
import random
from typing import Any

from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from conftest_platform import LOCAL, Plane
from sqlalchemy import text

from tunesmith.errors import NotFound, SequenceGap
from tunesmith.events import JobEvent, Report
from tunesmith.lifecycle import State
from tunesmith_platform.backends.protocols import JobStatus
from tunesmith_platform.clock import now
from tunesmith_platform.db import schema
from tunesmith_platform.db.schema import MIGRATIONS
from tunesmith_platform.db.tables import Base, PipelineRow, PipelineStepRow, RunnerRow
from tunesmith_platform.reconciler.loop import Reconciler
from tunesmith_platform.runners.dispatch import code_stamp
from tunesmith_platform.tasks.repository import Filter


def test_the_migrations_make_what_the_tables_say(plane: Plane) -> None:
    assert not schema.migrate(plane.services.database)  # again is nothing
    with plane.services.database.engine.connect() as connection:
        here = connection.dialect.name

        def is_here(item: Any, _name: str | None, _kind: str, _reflected: bool, _other: Any) -> bool:
            return item.info.get("dialect", here) == here

        options = {"compare_type": True, "include_object": is_here}
        context = MigrationContext.configure(connection, opts=options)
        assert compare_metadata(context, Base.metadata) == []


def test_what_was_stored_as_chat_is_read_as_generate(plane: Plane) -> None:
    """A task of a kind that nobody knows could not be shown, listed or ended."""
    database, old, other = plane.services.database, plane.submit().id, plane.submit().id
    step = {
        "pipeline_id": "pipe-1",
        "component": "c",
        "method": "chat",
        "parameters": {},
        "needs": [],
        "state": "pending",
    }
    words = dict.fromkeys(("name", "project", "workflow", "owner"), "p")
    with database.write() as session:
        session.add(
            PipelineRow(id="pipe-1", **words, request={}, state="running", desired="run", created_at=now())
        )
        session.flush()
        session.add(PipelineStepRow(**step, position=0, name="ask", kind="generate"))
        session.add(PipelineStepRow(**step | {"method": "load"}, position=1, name="rows", kind="dataset"))
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    with database.write() as session:
        config.attributes["connection"] = session.connection()
        command.downgrade(config, "0018")
        session.execute(text("UPDATE tasks SET kind = 'chat' WHERE id = :id"), {"id": old})
        session.execute(text("UPDATE pipeline_steps SET kind = 'chat', method = 'chat' WHERE name = 'ask'"))
    schema.migrate(database)
    assert [plane.task(task).kind for task in (old, other)] == ["generate", "train"]
    steps = plane.services.pipelines.get(LOCAL, "pipe-1").steps
    assert [(step.kind, step.method) for step in steps] == [("generate", "generate"), ("dataset", "load")]


def test_a_task_lives_through_it(plane: Plane) -> None:
    task = plane.running(name="Ünïcode 名字", tags=["标签"])
    plane.report(task, {"kind": "metrics", "step": 1, "values": {"loss": 1.25}})
    plane.report(task, {"kind": "finished", "outcome": "completed", "reason": "completed"})
    plane.job(task, JobStatus.SUCCEEDED)
    plane.tick()
    done = plane.task(task.id)
    assert done.state is State.COMPLETED
    assert done.created_at.tzinfo is not None
    assert plane.services.series.metrics(LOCAL, task.id, None).series["loss"][0].value == 1.25
    from tunesmith_platform.tasks.repository import Filter

    assert [t.id for t in plane.services.tasks.page(LOCAL, Filter(tag="标签", name="ünïcode")).data] == [
        task.id
    ]


def test_batches_that_arrive_twice_late_and_side_by_side_are_stored_once(plane: Plane) -> None:
    task = plane.running()
    batches = [range(start, min(start + size, 121)) for start in range(2, 121) for size in (1, 3, 7)]
    random.Random(0).shuffle(batches)

    def send(seqs: range) -> None:
        events = [
            JobEvent.model_validate(
                {
                    "seq": seq,
                    "time": "2026-01-01T00:00:00Z",
                    "payload": {"kind": "metrics", "step": seq, "values": {"loss": float(seq)}},
                }
            )
            for seq in seqs
        ]
        for _ in range(500):
            try:
                plane.services.events.ingest(task.id, Report(attempt=1, events=events))
                return
            except SequenceGap:
                continue

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        list(pool.map(send, sorted(batches, key=lambda b: b.start + random.Random(b.start).random() * 6)))
    steps = [point.step for point in plane.services.series.metrics(LOCAL, task.id, None).series["loss"]]
    assert steps == list(range(2, 121))
    with plane.services.database.read() as session:
        (count, newest) = session.execute(text("SELECT count(*), max(n) FROM events")).one()
    assert count == newest == plane.task(task.id).events


def test_reports_of_many_tasks_that_arrive_at_once_are_each_stored_once(plane: Plane) -> None:
    plane.settings.max_concurrent_jobs = 8
    tasks = [plane.running() for _ in range(8)]
    events = plane.services.events

    def sent(first: int, last: int, attempt: int = 1) -> Report:
        lines = [
            {"seq": seq, "time": "2026-01-01T00:00:00Z", "payload": {"kind": "log", "message": str(seq)}}
            for seq in range(first, last + 1)
        ]
        return Report.model_validate({"attempt": attempt, "events": lines})

    async def send() -> list[Any]:
        ways = [sent(2, 4), sent(2, 4), sent(3, 9), sent(20, 21), sent(1, 1, attempt=2), sent(1, 0)]
        puts = [events.take(task.id, one) for one in ways for task in tasks]
        return await asyncio.gather(*puts, events.take("task-0", sent(1, 1)), return_exceptions=True)

    *answers, missing = asyncio.run(send())
    assert isinstance(missing, NotFound)
    stored, again, further, gaps, unknown, beats = (answers[i * 8 : i * 8 + 8] for i in range(6))
    assert {answer.last_seq for answer in stored + again} <= {4, 9}, "what went together is answered together"
    assert [answer.last_seq for answer in further + beats] == [9] * 16
    assert all(isinstance(answer, SequenceGap) for answer in gaps)
    assert all(isinstance(answer, NotFound) for answer in unknown)
    for task in tasks:
        log = events.page(LOCAL, task.id, 0, 100, ["log"]).data
        assert [entry.payload.message for entry in log] == [str(seq) for seq in range(2, 10)]
        assert plane.task(task.id).events == events.page(LOCAL, task.id, 0, 100).data[-1].n


def test_two_reconcilers_start_each_task_once_and_keep_the_bound(plane: Plane) -> None:
    plane.settings.max_concurrent_jobs = 3
    tasks = [plane.submit() for _ in range(10)]
    loops = [Reconciler(plane.services, None) for _ in range(4)]
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        for _ in range(5):
            list(pool.map(lambda loop: loop.tick(), loops))
            assert len(plane.jobs.submits) <= 3
    assert sorted(plane.jobs.submits) == sorted(f"{task.id}-1" for task in tasks[:3])


def test_a_runner_is_given_to_one_of_many_who_want_it(plane: Plane) -> None:
    with plane.services.database.write() as session:
        for name in ("a", "b"):
            row = {"id": f"runner-{name}", "state": "idle", "code": code_stamp()}
            session.add(RunnerRow(**row, created_at=now(), seen_at=now()))
    jobs = [f"task-{i}-1" for i in range(8)]
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda job: plane.services.jobs.submit(job, f"/{job}", can_be_warm=True), jobs))
    given = [plane.services.runners.take(f"runner-{name}").document_uri for name in ("a", "b")]
    assert sorted([*(f"/{job}" for job in plane.jobs.submits), *map(str, given)]) == [
        f"/{job}" for job in jobs
    ]


def test_creates_side_by_side_are_all_there(plane: Plane) -> None:
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda i: plane.submit(name=f"n{i}").id, range(40)))
    from tunesmith_platform.tasks.repository import Filter

    assert {task.id for task in plane.services.tasks.page(LOCAL, Filter(limit=100)).data} == set(made)


def test_a_tag_is_found_by_its_own_letters(plane: Plane) -> None:
    """Also one that a pattern, or JSON, would take for something else."""
    tags = ["night", "Night", 'a "word"', "50%_", "50 xx", "标签", "a\\b", "a", "b", "a,b"]
    ids = {one: plane.submit(tags=[one, "all"]).id for one in tags}

    def found(**wanted: Any) -> set[str]:
        return {task.id for task in plane.services.tasks.page(LOCAL, Filter(**wanted)).data}

    for tag in tags:
        assert found(tag=tag) == {ids[tag]}
        assert found(without_tags=[tag]) == set(ids.values()) - {ids[tag]}
    assert found(tag="all") == set(ids.values())
    assert found(tag="al") == set()
