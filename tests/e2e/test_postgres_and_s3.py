"""A whole task on PostgreSQL with its files on S3: trained, evaluated, packaged, S3 away in the middle of each."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest
from canaries import canary, files_below, leaks
from live_platform import Platform, platform_up
from real_postgres import own_database, real_postgres
from real_s3 import S3Server, real_s3
from short_tasks import STEPS, wait_mirrored, wait_saved
from sqlalchemy import NullPool, create_engine, make_url, text
from stored_results import is_whole
from waiting import wait_until

from tunesmith.artifacts import checkpoint_name
from tunesmith.job import read_secret
from tunesmith.lifecycle import State
from tunesmith.spec.task import new_task
from tunesmith.views import TaskView
from tunesmith_platform.embedded.parts import ray_folder

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.long]

AWAY_SECONDS = 8.0
"""S3 answers nobody for so long."""


class Bench(NamedTuple):
    """A platform on both servers."""

    platform: Platform
    database: str
    s3: S3Server
    uri: str
    password: str


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Iterator[Bench]:
    root = tmp_path_factory.mktemp("servers")
    password = canary("database")
    with (
        real_s3(tmp_path_factory.mktemp("s3")) as s3,
        real_postgres() as server,
        own_database(server) as made,
    ):
        # The server trusts whoever reaches its socket: any password does, and it is one to be looked for.
        url = make_url(made).set(password=password).render_as_string(hide_password=False)
        (root / "database-url").write_text(url)
        environment = {
            "TUNESMITH_DATABASE_URL_FILE": str(root / "database-url"),
            "TUNESMITH_STORAGE_URI": f"{s3.uri}/platform",
        }
        with platform_up(root, tiny_model, 0, **environment) as home:
            platform = Platform(home, tiny_model, is_warm=False)
            yield Bench(platform, made, s3, f"{s3.uri}/platform", password)


def away(s3: S3Server) -> None:
    """S3 takes connections and answers none of them, for a while."""
    os.kill(s3.process.pid, signal.SIGSTOP)
    try:
        time.sleep(AWAY_SECONDS)  # not a condition: this is how long it is away
    finally:
        os.kill(s3.process.pid, signal.SIGCONT)


def through(bench: Bench, task: TaskView, begun: Callable[[TaskView], bool]) -> TaskView:
    """Wait until a task is in the middle of its work, have S3 go away, and wait for the task's end."""
    client = bench.platform.client
    wait_until(
        lambda: begun(seen := client.task(task.id)) or seen.state.is_terminal, 240, "its middle", every=0.05
    )
    assert not client.task(task.id).state.is_terminal, "S3 was away in the middle of it"
    away(bench.s3)
    done = client.wait(task.id, timeout=300)
    assert done.state is State.COMPLETED, done.message
    return done


def count(bench: Bench, query: str) -> Any:
    engine = create_engine(bench.database, poolclass=NullPool)
    with engine.connect() as connection:
        return connection.execute(text(query)).scalar()


@pytest.fixture(scope="module")
def trained(bench: Bench) -> TaskView:
    task = bench.platform.submit()
    wait_saved(bench.platform.client, task)
    return through(bench, task, lambda seen: seen.progress.step >= 30)


def test_a_training_loses_nothing(bench: Bench, trained: TaskView) -> None:
    losses = bench.platform.losses(trained)
    assert sorted(losses) == list(range(1, STEPS + 1)), "each step once"
    wait_mirrored(bench.platform.home, bench.platform.client, trained, losses)
    newest = bench.platform.client.checkpoints(trained.id)[0]
    assert newest.step == STEPS
    assert newest.uri.startswith(f"{bench.uri}/"), "in the bucket, not on this machine"
    for checkpoint in bench.platform.client.checkpoints(trained.id):
        assert is_whole(checkpoint.uri), checkpoint_name(checkpoint.step)
    assert count(bench, f"SELECT state FROM tasks WHERE id = '{trained.id}'") == "completed"


def test_mlflow_lists_the_files_in_the_bucket(bench: Bench, trained: TaskView) -> None:
    reply = httpx.get(
        f"{bench.platform.client.system().mlflow_url}/api/2.0/mlflow/artifacts/list",
        params={"run_id": bench.platform.client.task(trained.id).mlflow_run_id, "path": "checkpoints"},
        headers={"Authorization": f"Bearer {read_secret(bench.platform.home.mlflow_token_file)}"},
        timeout=60,
        trust_env=False,
    )
    assert reply.status_code == 200, reply.text
    assert "files" in reply.json(), reply.text
    names = [file["path"] for file in reply.json()["files"]]
    assert f"checkpoints/{checkpoint_name(STEPS)}" in names


def test_an_evaluation_loses_nothing(bench: Bench, trained: TaskView) -> None:
    asked = {"task_id": trained.id, "sample_file": str(bench.platform.rows), "max_new_tokens": 8}
    task = bench.platform.client.create_task(new_task("evaluate", asked))
    done = through(bench, task, lambda seen: seen.state is State.RUNNING)
    evaluation = bench.platform.client.evaluation(done.id)
    assert len(evaluation.candidates) >= 3, "the base, and each checkpoint"


def test_a_package_loses_nothing(bench: Bench, trained: TaskView, tmp_path: Path) -> None:
    task = bench.platform.client.create_task(new_task("package", {"task_id": trained.id}))
    done = through(bench, task, lambda seen: seen.state is State.RUNNING)
    assert done.model_uri
    assert done.model_uri.startswith(f"{bench.uri}/")
    assert is_whole(done.model_uri)
    assert count(bench, "SELECT count(*) FROM tasks WHERE state = 'completed'") == 3
    assert count(bench, "SELECT count(*) FROM tasks") == 3


def test_no_key_of_the_servers_is_left_anywhere(bench: Bench, trained: TaskView) -> None:
    left = files_below(bench.platform.home.root, ray_folder(bench.platform.home))
    keys = {"the database's": bench.password, "the bucket's": bench.s3.environment["AWS_SECRET_ACCESS_KEY"]}
    assert trained.state is State.COMPLETED
    assert leaks(keys, left) == []
