"""The real parts, each started once a run: the whole platform, MLflow, PostgreSQL, an S3 server, a tiny model."""

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from mlflow_server import MlflowServer, Proxy, mlflow_behind_a_proxy
from real_postgres import real_postgres
from waiting import free_port, wait_until

from tunesmith.home import Home


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random Llama of hidden 64 and two layers with a tokenizer and a chat template of its own."""
    from tiny_model import make_tiny_model

    return make_tiny_model(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """A real PostgreSQL server."""
    with real_postgres() as url:
        yield url


@pytest.fixture(scope="session")
def s3_uri(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A bucket on a real S3 server (SeaweedFS), reached through the environment as in production."""
    folder = tmp_path_factory.mktemp("s3")
    identity = {
        "name": "admin",
        "credentials": [{"accessKey": "testkey", "secretKey": "testsecret"}],
        "actions": ["Admin", "Read", "Write", "List", "Tagging"],
    }
    (folder / "s3.json").write_text(json.dumps({"identities": [identity]}))
    ports = [free_port() for _ in range(4)]
    weed = Path(sys.executable).parent / "weed"
    command = [
        str(weed), "-logtostderr=true", "server", f"-dir={folder}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1",
        f"-master.port={ports[0]}", f"-volume.port={ports[1]}", "-filer", f"-filer.port={ports[2]}",
        "-s3", f"-s3.port={ports[3]}", f"-s3.config={folder}/s3.json", "-s3.port.iceberg=0", "-s3.port.lance=0",
        "-volume.max=0", "-master.volumeSizeLimitMB=64", "-master.volumePreallocate=false", "-master.telemetry=false",
        "-master.electionTimeout=1s", "-master.heartbeatInterval=200ms", "-volume.preStopSeconds=1",
    ]  # fmt: skip
    with (folder / "log").open("wb") as log:
        environment = {**os.environ, "GOMEMLIMIT": "300MiB"}
        server = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env=environment)
    settings = {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{ports[3]}",
        "AWS_ACCESS_KEY_ID": "testkey",
        "AWS_SECRET_ACCESS_KEY": "testsecret",
        "AWS_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    before = {name: os.environ.get(name) for name in settings}
    os.environ.update(settings)
    try:
        from pyarrow.fs import S3FileSystem

        def ready() -> bool:
            if server.poll() is not None:
                pytest.fail((folder / "log").read_text()[-2000:])
            with contextlib.suppress(OSError):
                files = S3FileSystem(
                    endpoint_override=f"127.0.0.1:{ports[3]}",
                    scheme="http",
                    allow_bucket_creation=True,
                    connect_timeout=2,
                    request_timeout=5,
                )
                files.create_dir("tunesmith-test")
                with files.open_output_stream("tunesmith-test/probe") as stream:
                    stream.write(b"x")
                with files.open_input_stream("tunesmith-test/probe") as stream:
                    return bool(stream.read() == b"x")
            return False

        wait_until(ready, 60, "the S3 server")
        yield "s3://tunesmith-test"
    finally:
        server.kill()  # a test's server has nothing to save, and its orderly end takes 16 s
        server.wait(20)
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@pytest.fixture(scope="session")
def mlflow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[MlflowServer, Proxy]]:
    """A real MLflow server, and a proxy before it that fails when a test says so."""
    with mlflow_behind_a_proxy(tmp_path_factory.mktemp("mlflow")) as found:
        yield found


@pytest.fixture(scope="session")
def live_home(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Iterator[Home]:
    """The whole platform, started by `tunesmith up` as a user does, and ended by `tunesmith down`."""
    root = tmp_path_factory.mktemp("live")
    # Warm runners have a test of their own: nowhere else is one warmed up for nothing.
    environment = {**os.environ, "TUNESMITH_HOME": str(root / "home"), "TUNESMITH_WARM_RUNNERS": "0"}
    tunesmith = Path(sys.executable).parent / "tunesmith"
    allow = ["--allow", str(root), "--allow", str(tiny_model.parent)]
    subprocess.run([tunesmith, "up", *allow], env=environment, check=True, timeout=180)
    try:
        yield Home(root / "home")
    finally:
        subprocess.run([tunesmith, "down"], env=environment, check=True, timeout=120)
