"""A database that another program holds locked, or whose disk is full: every write is answered soon, none is lost."""

import contextlib
import json
import re
import sqlite3
import threading
from pathlib import Path
from typing import Any

import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory
from conftest_platform import LOCAL, TIME, Plane
from ended_tasks import look_at_little
from fastapi.testclient import TestClient
from given import MODEL, ROWS
from locked_database import locked
from model_files import make_model_folder
from sqlalchemy import event, insert, text

import tunesmith_platform
from tunesmith.job import read_secret, runner_token
from tunesmith.lifecycle import State
from tunesmith_platform.addresses import AddressKind
from tunesmith_platform.backends.protocols import JobStatus
from tunesmith_platform.db import schema
from tunesmith_platform.db.engine import Database, Raced
from tunesmith_platform.db.schema import MIGRATIONS
from tunesmith_platform.db.tables import PipelineRow, RunnerRow, WebhookRow
from tunesmith_platform.evaluations.loop import CheckpointScoring
from tunesmith_platform.loops import Loop
from tunesmith_platform.monitoring.loop import Monitor
from tunesmith_platform.notifications.loop import Notifier
from tunesmith_platform.pipelines.runner import PipelineRunner
from tunesmith_platform.runners.dispatch import code_stamp
from tunesmith_platform.runners.pool import RunnerPool

FLOW = """
components: [{id: a, type: datasets, provider: local, data_files: FILE}]
workflows: [{id: flow, jobs: [{id: load, component: a}]}]
"""
TEMPLATE = "name: brought\nparameters: {r: 8}\n"
READS = {
    "POST /v1/tasks:check",
    "POST /v1/tasks:estimate",
    "POST /v1/datasets:validate",
    "POST /v1/datasets:preview",
    "POST /v1/evaluations/samples:check",
    "POST /v1/evaluations:forecast",
    "POST /v1/tasks/{task_id}/evaluation:recompute",
    "POST /v1/chats:name",
    "POST /v1/chats:unload",  # what is said to a replica
    "POST /v1/chats:pin",
    "POST /v1/chats:unpin",
    "POST /v1/system/mlflow-link",
    "DELETE /v1/sessions/current",  # a key has no session
    "POST /v1/tasks/{task_id}/package/links",
    "POST /v1/packages:prune",  # says what would go, unless it is told to remove it
    "PUT /v1/uploads/{upload}",  # a piece goes into its file
}
"""Calls that store nothing in the database."""


@pytest.fixture
def impatient(plane: Plane) -> Plane:
    plane.services.database.patience = 0.02
    return plane


class Things:
    """One of everything that a writing call can be about."""

    def __init__(self, plane: Plane, client: TestClient, folder: Path) -> None:
        plane.settings.max_concurrent_jobs = 9
        plane.settings.allowed_roots.append(folder)
        look_at_little(plane)  # the checkpoint that a stage starts from is not there
        plane.settings.notify_addresses = [*AddressKind]
        self.client = client
        running, stopped = plane.running(), plane.running()
        plane.report(running, SAVED)
        plane.report(stopped, SAVED)
        plane.services.tasks.stop(LOCAL, stopped.id)
        plane.report(stopped, {"kind": "finished", "outcome": "stopped", "reason": "stopped_by_user"})
        plane.job(stopped, JobStatus.SUCCEEDED)
        plane.tick()
        assert plane.task(stopped.id).state is State.STOPPED
        self.running, self.stopped, self.waiting = running.id, stopped.id, plane.submit().id
        rows = folder / "rows.jsonl"
        rows.write_text('{"prompt": "a", "response": "b"}\n')
        model = make_model_folder(folder / "model")
        self.made("/v1/templates", name="own", parameters={"r": 8})
        self.hook = self.made("/v1/webhooks", url="http://127.0.0.1:9009/")["id"]
        self.made("/v1/datasets", source=str(rows), name="rows")
        self.upload = self.made("/v1/uploads", file_name="more.jsonl", bytes=4)["id"]
        row = b'{"prompt": "e", "response": "f"}'
        self.sent = self.made("/v1/uploads", file_name="sent.jsonl", bytes=len(row))["id"]
        assert client.put(f"/v1/uploads/{self.sent}", params={"offset": 0}, content=row).status_code == 200
        self.key = self.made("/v1/keys", name="default")["key"]["id"]
        self.made("/v1/models", source=str(model), name="small")
        with plane.services.database.write() as session:
            session.add(RunnerRow(id="runner-a", state="starting", code=code_stamp(), created_at=TIME))
            for name, state in (("a", "running"), ("b", "failed"), ("c", "failed")):
                texts = {"project": "p", "workflow": "w", "owner": "local", "desired": "run"}
                ended = None if state == "running" else TIME
                session.add(
                    PipelineRow(
                        id=f"pipe-{name}",
                        name=name,
                        state=state,
                        request={},
                        created_at=TIME,
                        ended_at=ended,
                        **texts,
                    )
                )
        self.tokens = {
            "report": plane.token(running),
            "runner": runner_token(read_secret(plane.home.report_secret_file), "runner-a"),
        }
        said = [{"role": "user", "content": "?"}, {"role": "assistant", "content": "!"}]
        self.conversation = self.made("/v1/conversations", messages=said)["id"]
        rated = f"/v1/conversations/{self.conversation}/turns/1/answers/0/rating"
        assert client.put(rated, json={"rating": "better"}).status_code == 200
        (folder / "other.jsonl").write_text('{"prompt": "c", "response": "d"}\n')
        self.folder = folder
        self.seq = plane.seqs[(running.id, 1)] + 1

    def made(self, path: str, **body: Any) -> dict[str, Any]:
        reply = self.client.post(path, json=body)
        assert reply.status_code == 201, reply.text
        return dict(reply.json())

    def calls(self) -> dict[str, tuple[str, dict[str, Any]]]:
        """A call of every route that writes: its address and what goes with it."""
        event = {"seq": self.seq, "time": TIME.isoformat(), "payload": {"kind": "log", "message": "x"}}
        spec = {"model": MODEL, "train_file": ROWS}
        report, runner = ({"Authorization": f"Bearer {self.tokens[name]}"} for name in ("report", "runner"))
        run = {"operation": "load", "parameters": {"path": str(self.folder / "rows.jsonl")}}
        return {
            "POST /v1/tasks": ("", {"json": {"spec": spec}}),
            "PATCH /v1/tasks/{task_id}": (self.running, {"json": {"notes": "n"}}),
            "POST /v1/tasks/{task_id}:stop": (self.running, {}),
            "POST /v1/tasks/{task_id}:clone": (self.running, {}),
            "POST /v1/tasks/{task_id}:new-stage": (self.stopped, {}),
            "POST /v1/tasks/{task_id}:continue": (self.stopped, {}),
            "DELETE /v1/tasks/{task_id}": (self.stopped, {}),
            "POST /v1/tasks/{task_id}/reports": (
                self.running,
                {"json": {"attempt": 1, "events": [event]}, "headers": report},
            ),
            "POST /v1/tasks/{task_id}/checkpoints:save": (self.running, {}),
            "POST /v1/tasks/{task_id}/checkpoints/{step}:pin": (self.running, {}),
            "POST /v1/tasks/{task_id}/checkpoints/{step}:unpin": (self.running, {}),
            "POST /v1/tasks/{task_id}/package:pin": (self.stopped, {}),
            "POST /v1/tasks/{task_id}/package:unpin": (self.stopped, {}),
            "POST /v1/runners/{runner_id}/next": (
                "runner-a",
                {"json": {"wait_seconds": 0, "is_warm": True}, "headers": runner},
            ),
            "POST /v1/sessions:link": ("", {}),
            "POST /v1/sessions": ("", {"headers": {"X-Tunesmith-Studio": "1"}}),
            "POST /v1/keys": ("", {"json": {}}),
            "DELETE /v1/keys/{key_id}": (self.key, {}),
            "POST /v1/projects": ("", {"json": {"name": "search"}}),
            "PUT /v1/projects/{project}/members/{name}": ("default", {}),
            "DELETE /v1/projects/{project}/members/{name}": ("default", {}),
            "PUT /v1/quota/{project}": ("p", {"json": {"enabled": True}}),
            "POST /v1/quota/{project}/grants": ("p", {"json": {"amount": 1}}),
            "POST /v1/templates": ("", {"json": {"name": "new", "parameters": {"r": 8}}}),
            "POST /v1/templates:import": (
                "",
                {"content": TEMPLATE, "headers": {"Content-Type": "application/yaml"}},
            ),
            "PATCH /v1/templates/{name}": ("own", {"json": {"description": "d"}}),
            "DELETE /v1/templates/{name}": ("own", {}),
            "POST /v1/webhooks": ("", {"json": {"url": "http://127.0.0.1:9009/b"}}),
            "DELETE /v1/webhooks/{webhook_id}": (self.hook, {}),
            "POST /v1/webhooks/{receiver}:test": (self.hook, {}),
            "POST /v1/datasets": (
                "",
                {"json": {"source": str(self.folder / "other.jsonl"), "name": "other"}},
            ),
            "POST /v1/datasets:run": ("", {"json": run}),
            "POST /v1/evaluations/samples:edit": (
                "",
                {"json": {"dataset": "asked", "add": [{"prompt": "2 + 2?", "completion": "4"}]}},
            ),
            "DELETE /v1/datasets/{dataset}": ("rows", {}),
            "POST /v1/uploads": ("", {"json": {"file_name": "b.jsonl", "bytes": 4}}),
            "POST /v1/uploads/{upload}:finish": (self.sent, {}),
            "DELETE /v1/uploads/{upload}": (self.upload, {}),
            "POST /v1/models": ("", {"json": {"source": str(self.folder / "model"), "name": "again"}}),
            "POST /v1/models/{model}:check": ("small", {}),
            "PATCH /v1/models/{model}": ("small", {"json": {"name": "tiny"}}),
            "DELETE /v1/models/{model}": ("small", {}),
            "POST /v1/chats:load": ("", {"json": {"model": "small"}}),
            "POST /v1/chats:prove": ("", {"json": {"model": "small"}}),
            "POST /openai/v1/chat/completions": (
                "",
                {"json": {"model": "small", "messages": [{"role": "user", "content": "?"}]}},
            ),
            "POST /openai/v1/completions": ("", {"json": {"model": "small", "prompt": "?"}}),
            "POST /v1/conversations": ("", {"json": {"model": "small"}}),
            "PATCH /v1/conversations/{conversation}": (self.conversation, {"json": {"title": "t"}}),
            "DELETE /v1/conversations/{conversation}": (self.conversation, {}),
            "POST /v1/conversations/{conversation}/messages": (
                self.conversation,
                {"json": {"content": "?", "model": "small"}},
            ),
            "PUT /v1/conversations/{conversation}/turns/{turn}/answers/{place}/rating": (
                self.conversation,
                {"json": {"rating": "better"}},
            ),
            "POST /v1/conversations:dataset": ("", {"json": {"name": "rated"}}),
            "POST /v1/pipelines": (
                "",
                {"json": {"yaml": FLOW.replace("FILE", str(self.folder / "rows.jsonl"))}},
            ),
            "POST /v1/pipelines/{pipeline_id}:stop": ("pipe-a", {}),
            "POST /v1/pipelines/{pipeline_id}:continue": ("pipe-b", {}),
            "DELETE /v1/pipelines/{pipeline_id}": ("pipe-c", {}),
        }


@pytest.mark.slow
def test_every_call_that_writes_says_at_once_that_the_database_is_locked(
    impatient: Plane, client: TestClient, tmp_path: Path
) -> None:
    things = Things(impatient, client, tmp_path)
    described = Path(tunesmith_platform.__file__).parents[1] / "reference" / "openapi.json"
    paths = json.loads(described.read_text())["paths"]
    routes = {
        f"{method.upper()} {path}" for path, methods in paths.items() for method in methods.keys() - {"get"}
    }
    calls = things.calls()
    answers: dict[str, Any] = {}
    with locked(impatient):
        for call, (subject, given) in calls.items():
            method, _, path = call.partition(" ")
            for name, number in (("step", "3"), ("turn", "1"), ("place", "0")):
                path = path.replace(f"{{{name}}}", number)
            path = re.sub(r"\{[^}]+\}", subject, path)
            reply = client.request(method, path, **given)
            code = reply.json()["error"]["code"] if reply.status_code >= 400 else ""
            answers[call] = (reply.status_code, code, reply.headers.get("Retry-After"))
        assert client.get("/v1/tasks").status_code == 200, "reading goes on"
        assert client.get("/healthz").status_code == 200
    assert {call: answer for call, answer in answers.items() if answer != (503, "database_busy", "1")} == {}
    assert routes - set(calls) == READS
    # Nothing was stored by what was refused, and each can be done now.
    assert client.post("/v1/tasks", json={"spec": {"model": MODEL, "train_file": ROWS}}).status_code == 201
    assert client.post(f"/v1/uploads/{things.sent}:finish").status_code == 201
    subject, given = calls["POST /v1/tasks/{task_id}/reports"]
    assert client.post(f"/v1/tasks/{subject}/reports", **given).json()["last_seq"] == things.seq


SAVED = {"kind": "checkpoint", "step": 3, "uri": "/c/3", "bytes": 1, "files": 1, "manifest_sha256": "0" * 64}


def test_the_loops_go_on_when_the_database_is_free_again(impatient: Plane) -> None:
    plane = impatient
    database, hub, settings = plane.services.database, plane.services.hub, plane.settings
    running, waiting = plane.running(), plane.submit()
    loops: list[Loop] = [
        plane.reconciler,
        plane.mirror,
        Monitor(database, hub, settings),
        Notifier(plane.services.notifications, hub),
        PipelineRunner(plane.services),
        CheckpointScoring(plane.services),
        RunnerPool(database, hub, settings, plane.services.jobs),
    ]
    plane.services.tasks.stop(LOCAL, running.id)
    plane.report(running, {"kind": "finished", "outcome": "stopped", "reason": "stopped_by_user"})
    plane.job(running, JobStatus.SUCCEEDED)
    with locked(plane):
        for loop in loops:
            loop.troubles.attempt("a round", loop.tick)
    for loop in loops:
        loop.tick()
    assert plane.task(running.id).state is State.STOPPED
    plane.tick()
    assert plane.jobs.submits[-1] == f"{waiting.id}-1"
    assert plane.tracking.runs


def test_a_full_disk_is_said_and_loses_nothing(plane: Plane, client: TestClient) -> None:
    kept = plane.submit(notes="kept")
    database = plane.services.database
    database.engine.dispose()

    def fill(connection: Any, _record: Any) -> None:
        connection.execute("PRAGMA max_page_count = 1")  # as many as there are

    event.listen(database.engine, "connect", fill)
    body = {"spec": {"model": MODEL, "train_file": ROWS}, "notes": "x" * 4000, "tags": ["t" * 60] * 8}
    replies = [client.post("/v1/tasks", json=body) for _ in range(20)]
    full = [reply for reply in replies if reply.status_code == 503]
    assert full, "there is room for a few in the pages that are there"
    assert {(reply.json()["error"]["code"], reply.headers["Retry-After"]) for reply in full} == {
        ("disk_full", "1")
    }
    event.remove(database.engine, "connect", fill)
    database.engine.dispose()
    stored = {task["id"] for task in client.get("/v1/tasks").json()["data"]}
    acknowledged = {reply.json()["id"] for reply in replies if reply.status_code == 201}
    assert stored == {kept.id} | acknowledged
    assert client.post("/v1/tasks", json=body).status_code == 201


def test_a_fault_of_ours_is_not_called_the_databases(plane: Plane, client: TestClient) -> None:
    with plane.services.database.write() as session:
        session.connection().exec_driver_sql("ALTER TABLE tasks RENAME TO tusks")
    assert client.get("/v1/tasks").json()["error"]["code"] == "internal"


# --- the schema's revision


def test_the_newest_revision_is_the_one_that_alembic_finds() -> None:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    assert schema.newest() == ScriptDirectory.from_config(config).get_current_head()


def test_a_start_writes_nothing_to_a_database_that_is_up_to_date(plane: Plane) -> None:
    plane.services.keys.enroll(plane.settings.api_key_file, name="local")
    again = Database(plane.settings.database_url)
    with locked(plane):
        schema.migrate(again)
        plane.services.keys.enroll(plane.settings.api_key_file, name="local")
    again.close()


def test_an_error_of_the_database_tells_nothing_of_what_was_stored(plane: Plane, client: TestClient) -> None:
    """It goes into the log."""
    row = {
        "id": "hook-a",
        "url": "https://there/?key=canary",
        "events": [],
        **LOCAL.stamp(),
        "created_at": TIME,
    }
    with pytest.raises(Raced) as caught, plane.services.database.write() as session:
        session.execute(insert(WebhookRow), [row, row])
    assert "canary" not in f"{caught.value} {caught.value.__cause__}"


def test_a_new_file_in_which_another_one_writes_is_waited_for(tmp_path: Path) -> None:
    """Two processes that start at once: SQLite itself waits for no writer while a file gets its write-ahead log."""
    path = tmp_path / "new.db"
    other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    other.execute("CREATE TABLE t(x)")
    other.execute("BEGIN IMMEDIATE")
    ends = threading.Timer(0.3, other.execute, ["COMMIT"])
    ends.start()
    with contextlib.closing(Database(f"sqlite:///{path}")) as database, database.read() as session:
        assert session.execute(text("PRAGMA journal_mode")).scalar() == "wal"
    ends.join()
    other.close()
