"""A control plane in memory's reach: a real SQLite file, fake edges, one step at a time."""

import datetime as dt
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from given import FOLDER, SPEC
from migrated import sqlite_file

from tunesmith.access import NewKey, Role
from tunesmith.events import JobEvent, Report, ReportReceipt
from tunesmith.home import Home
from tunesmith.job import read_secret, report_token
from tunesmith.spec.task import NewTrainTask
from tunesmith.views import TaskView
from tunesmith_platform.app import create_app
from tunesmith_platform.auth import Identity
from tunesmith_platform.backends.protocols import JobStatus
from tunesmith_platform.clock import now
from tunesmith_platform.mirror.service import Mirror
from tunesmith_platform.reconciler.loop import Reconciler
from tunesmith_platform.sandbox import shared_workers
from tunesmith_platform.scope import Scope
from tunesmith_platform.services import Services
from tunesmith_platform.settings import Settings
from tunesmith_platform.testing.fakes import FakeJobs, FakeTracking

shared_workers.shared.configure(niceness=0)  # the machine may be busy with other tests

LOCAL = Scope(owner="local")
"""Whose what a test makes is: the first key's."""
TIME = dt.datetime(2026, 11, 21, tzinfo=dt.UTC)


class Plane:
    """The control plane, its fakes, and the steps that tests take."""

    def __init__(self, home: Home, beside: "Plane | None" = None, **overrides: Any) -> None:
        """A plane; `beside` another one it shares its database, Ray and MLflow, as replicas do."""
        self.home = home
        if not overrides.get("database_url") and not home.database.exists():
            home.database.write_bytes(sqlite_file())
        self.jobs = beside.jobs if beside else FakeJobs()
        self.tracking = beside.tracking if beside else FakeTracking(artifact_root=str(home.files / "mlflow"))
        if beside:
            overrides = {"database_url": beside.settings.database_url} | overrides
        overrides["allowed_roots"] = [*overrides.get("allowed_roots", ()), FOLDER]
        self.settings = Settings(home=home.root, run_loops=False, **overrides)
        self.app = create_app(self.settings, self.jobs, self.tracking)
        self.services: Services = self.app.state.services
        self.training: Any = self.services.kinds.of("train")
        self.mirror = Mirror(self.services.database, self.tracking, self.services.hub, self.services.kinds)
        self.reconciler = Reconciler(self.services, self.mirror)
        self.seqs: dict[tuple[str, int], int] = {}

    def submit(self, key: str | None = None, **envelope: Any) -> TaskView:
        spec = SPEC | envelope.pop("spec", {})
        new = NewTrainTask.model_validate({"spec": spec} | envelope)
        return self.services.tasks.create(LOCAL, new, key)[0]

    def task(self, task_id: str) -> TaskView:
        return self.services.tasks.get(LOCAL, task_id)

    def tick(self) -> None:
        self.reconciler.tick()

    def job(self, task: TaskView, status: JobStatus, attempt: int = 1) -> None:
        self.jobs.jobs[f"{task.id}-{attempt}"] = status

    def report(
        self,
        task: TaskView,
        *payloads: dict[str, Any],
        attempt: int = 1,
        time: dt.datetime = TIME,
        activity: dict[str, Any] | None = None,
    ) -> ReportReceipt:
        """Report events with the next numbers, as a job does."""
        seq = self.seqs.get((task.id, attempt), 0)
        events = [
            JobEvent.model_validate({"seq": seq + i, "time": time, "payload": payload})
            for i, payload in enumerate(payloads, start=1)
        ]
        self.seqs[(task.id, attempt)] = seq + len(events)
        report = Report.model_validate({"attempt": attempt, "events": events, "activity": activity})
        return self.services.events.ingest(task.id, report)

    def running(self, **envelope: Any) -> TaskView:
        """A task that trains."""
        task = self.submit(**envelope)
        self.tick()
        self.job(task, JobStatus.RUNNING)
        self.tick()
        self.report(task, {"kind": "training_started", "step": 0, "total_steps": 10})
        return self.task(task.id)

    def token(self, task: TaskView, attempt: int = 1) -> str:
        return report_token(read_secret(self.home.report_secret_file), task.id, attempt)

    def key(self, name: str, role: Role = Role.MEMBER, **more: Any) -> str:
        """A new key of somebody's, which works everywhere unless `projects` says where."""
        new = NewKey(name=name, role=role, all_projects="projects" not in more, **more)
        return self.services.key_service.make(Identity("local", Role.ADMIN, now()), new).secret

    @property
    def api_key(self) -> str:
        return read_secret(self.home.api_key_file)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(tmp_path / "home")
    home.create()
    return home


@pytest.fixture
def plane(home: Home) -> Iterator[Plane]:
    plane = Plane(home)
    yield plane
    plane.services.database.close()


@pytest.fixture
def client(plane: Plane) -> Iterator[TestClient]:
    """The API over HTTP, with the local key."""
    with TestClient(plane.app, raise_server_exceptions=False) as client:
        client.headers["Authorization"] = f"Bearer {plane.api_key}"
        yield client
