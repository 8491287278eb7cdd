"""The real parts, each started once a run: the whole platform, MLflow, PostgreSQL, an S3 server, a tiny model."""

import fcntl
import gc
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from live_platform import platform_up
from local_ray import LocalRay, local_ray
from mlflow_server import MlflowServer, Proxy, mlflow_behind_a_proxy
from model_hub import ModelHub, serving
from nemesis.checker import Reference
from nemesis.run import undisturbed
from nemesis.world import World
from real_postgres import own_database, real_postgres
from real_s3 import real_s3
from recording_proxy import CANARY, SHELL_KEYS, RecordingProxy, recording_proxy

from tunesmith.home import Home

# Two threads of torch that wait awake take each other's processor where several workers of pytest compute: see
# `tunesmith_jobs.models.libraries`. Read when torch is loaded, by this process and those that it starts.
os.environ.setdefault("GOMP_SPINCOUNT", "0")
# Tests show many wrong keys; `test_rates.py` asks for the limit.
os.environ.setdefault("TUNESMITH_MAX_WRONG_KEYS_PER_MINUTE", "0")
# What starlette's client calls every server; `test_hosts_and_origins.py` asks without it.
os.environ.setdefault("TUNESMITH_ALLOWED_HOSTS", '["testserver"]')

pytest_plugins = ["groups", "orphans", "processor_time"]


def pytest_collection_finish() -> None:
    """Look for no garbage among thousands of tests and their modules: each training asks for a whole collection."""
    gc.freeze()


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Leave how the run ended for `infra/scripts/once_more.py`: an interrupted one says nothing of the tests left."""
    cache = getattr(session.config, "cache", None)
    if cache is not None and not hasattr(session.config, "workerinput"):
        is_cut = bool(session.shouldfail or session.shouldstop)
        cache.set("tunesmith/exit_status", int(pytest.ExitCode.INTERRUPTED if is_cut else exitstatus))


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random Llama of hidden 64 and two layers with a tokenizer and a chat template of its own.

    Made by the first of several workers: to load the libraries takes seconds, and most tests read its files alone.
    """
    from tiny_model import make_tiny_model

    if "PYTEST_XDIST_WORKER" not in os.environ:
        return make_tiny_model(tmp_path_factory.mktemp("models") / "tiny")
    folder = tmp_path_factory.getbasetemp().parent / "models"
    folder.mkdir(exist_ok=True)
    with (folder.parent / "models.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return folder / "tiny" if (folder / "tiny").exists() else make_tiny_model(folder / "tiny")


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """A real PostgreSQL server."""
    with real_postgres() as url:
        yield url


@pytest.fixture(scope="session")
def postgres_with_schema(postgres_server: str) -> Iterator[str]:
    """The name of the database on the server that tests take copies of."""
    from migrated import postgres_template

    with postgres_template(postgres_server) as name:
        yield name


@pytest.fixture(scope="module")
def postgres_url(postgres_server: str, postgres_with_schema: str) -> Iterator[str]:
    """A database of the module's own: what others left behind would stand in its tasks' way."""
    with own_database(postgres_server, postgres_with_schema) as url:
        yield url


@pytest.fixture(scope="session")
def s3_uri(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A bucket on a real S3 server (SeaweedFS), reached through the environment as in production."""
    with real_s3(tmp_path_factory.mktemp("s3")) as server:
        yield server.uri


@pytest.fixture(scope="session")
def mlflow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[MlflowServer, Proxy]]:
    """A real MLflow server, and a proxy before it that fails when a test says so."""
    with mlflow_behind_a_proxy(tmp_path_factory.mktemp("mlflow")) as found:
        yield found


@pytest.fixture(scope="session")
def ray_of_jobs() -> Iterator[LocalRay]:
    """A Ray without a platform: to start one takes as long as many a job."""
    with local_ray() as found:
        yield found


@pytest.fixture(scope="session")
def shell_proxy() -> Iterator[RecordingProxy]:
    """The proxy that the shell of `live_home` names for everything."""
    with recording_proxy() as proxy:
        yield proxy


@pytest.fixture(scope="session")
def shell_environment(shell_proxy: RecordingProxy) -> dict[str, str]:
    """What the shell that starts `live_home` has: a proxy for everything, and keys that are nobody else's business."""
    return shell_proxy.environment | dict.fromkeys(SHELL_KEYS, CANARY)


@pytest.fixture(scope="session")
def live_home(
    tmp_path_factory: pytest.TempPathFactory, tiny_model: Path, shell_environment: dict[str, str]
) -> Iterator[Home]:
    """A platform without warm runners: each task's processes are started for it alone, and may be hurt."""
    with platform_up(tmp_path_factory.mktemp("live"), tiny_model, 0, **shell_environment) as home:
        yield home


@pytest.fixture(scope="session")
def warm_hub(tiny_model: Path) -> Iterator[type[ModelHub]]:
    """The hub that `warm_home` pulls models from; its one model is the tiny one."""
    with serving(tiny_model) as hub:
        yield hub


@pytest.fixture(scope="session")
def warm_home(
    tmp_path_factory: pytest.TempPathFactory, tiny_model: Path, warm_hub: type[ModelHub]
) -> Iterator[Home]:
    """A platform as `tunesmith up` makes it where nothing is said: a task starts in a warm runner."""
    with platform_up(tmp_path_factory.mktemp("warm"), tiny_model, 1, HF_ENDPOINT=warm_hub.url) as home:
        yield home


@pytest.fixture(scope="session")
def hurt_world(live_home: Home, tiny_model: Path, shell_environment: dict[str, str]) -> World:
    """The platform of `live_home` as an episode of nemesis hurts it."""
    root = live_home.root.parent / "nemesis"
    root.mkdir()
    world = World(root, home=live_home, shell=shell_environment, model=tiny_model)
    world.prepare()
    return world


@pytest.fixture(scope="session")
def left_alone(hurt_world: World) -> Reference:
    """What a task on `live_home` gives that nothing happens to."""
    return undisturbed(hurt_world)
