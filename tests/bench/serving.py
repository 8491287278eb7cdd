"""What benches of the control plane share: its API as a process of its own, and a task that trains. No bench itself."""

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from waiting import free_port

from tunesmith.home import Home
from tunesmith.job import read_secret, report_token
from tunesmith_platform.clock import new_id, now
from tunesmith_platform.db.engine import Database
from tunesmith_platform.db.tables import AttemptRow, TaskRow

WITH_LOOPS = {"TUNESMITH_RUN_LOOPS": "true", "TUNESMITH_RAY_URL": "http://127.0.0.1:9"}
"""Settings of an API with all its loops, and with no Ray: every task stays queued."""


@contextlib.contextmanager
def serving(command: Sequence[str], environment: dict[str, str], url: str, log: Path) -> Iterator[int]:
    """A server process, once it answers; gives its number."""
    with log.open("ab") as file:
        process = subprocess.Popen(command, env=environment, stdout=file, stderr=file)
    try:
        for _ in range(1200):
            with contextlib.suppress(httpx.HTTPError):
                if httpx.get(url).status_code == 200:
                    break
            time.sleep(0.05)
        else:
            raise SystemExit(log.read_text()[-2000:])
        yield process.pid
    finally:
        process.terminate()
        process.wait(20)


@dataclass(frozen=True)
class Api:
    """The API alone, without its loops, on a database of its own. `serve` may be called again after its end."""

    root: Path
    database_url: str
    home: Home
    port: int

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def headers(self) -> dict[str, str]:
        """What a user's request carries."""
        return {"Authorization": f"Bearer {self.home.api_key_file.read_text().strip()}"}

    def report_headers(self, task_id: str) -> dict[str, str]:
        """What a report of a task's first attempt carries."""
        token = report_token(read_secret(self.home.report_secret_file), task_id, 1)
        return {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}

    def serve(self, **settings: str) -> contextlib.AbstractContextManager[int]:
        """The process, as `tunesmith up` starts it; gives its number."""
        environment = {
            "PATH": "/usr/bin:/bin",
            "PYTHONPATH": os.environ.get("PYTHONPATH", ""),
            "TUNESMITH_HOME": str(self.home.root),
            "TUNESMITH_PORT": str(self.port),
            "TUNESMITH_DATABASE_URL": self.database_url,
            "TUNESMITH_MIGRATE_AT_START": "true",
            "TUNESMITH_RUN_LOOPS": "false",
        } | settings
        command = [sys.executable, "-m", "tunesmith_platform.app"]
        return serving(command, environment, f"{self.url}/healthz", self.root / "api.log")


def make_api(root: Path, database_url: str = "") -> Api:
    """An API on SQLite, or on the database that is given."""
    home = Home(root / "home")
    home.create()
    return Api(root, database_url or f"sqlite:///{root}/bench.db", home, free_port())


def make_task(database: Database) -> str:
    """A task that trains."""
    task_id = new_id("task")
    moment = now()
    with database.write() as session:
        session.add(
            TaskRow(
                id=task_id, kind="train", name=task_id, owner="local", project="bench", priority=0, tags=[], notes="",
                spec={}, inputs={}, notices=[], state="running", desired="run", attempt=1, is_attempt_open=True,
                created_at=moment, started_at=moment,
            )
        )  # fmt: skip
        session.flush()
        session.add(AttemptRow(task_id=task_id, number=1, phase="submitted", last_seq=0, created_at=moment))
    return task_id
