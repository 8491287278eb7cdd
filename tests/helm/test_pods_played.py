"""Tier 2: `podman kube play` of the chart's pods, a real PostgreSQL and S3 beside them, to one finished training.

Migration, MLflow, server, loops and Ray's head run as the chart renders them (`played_pods`). It proves nothing of
volumes and networks, nor of KubeRay, which starts Ray in its pods. Skipped, and said to be, where podman is absent.
"""

import contextlib
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from chart_tools import objects, rendered
from containers import PREFIX, build, inside, need_containers, running, said, write_context
from played_pods import Here, exit_code, played, pod
from pod_rules import pods
from real_s3 import real_s3
from short_tasks import completed, submit_short, write_dialogues
from tiny_model import make_tiny_model
from waiting import free_port, wait_until

import tunesmith
from tunesmith.client import Client

pytestmark = [pytest.mark.long, pytest.mark.slow]
_DATA = f"{PREFIX}/tunesmith-data:{tunesmith.__version__}"
_USER = 10001
_IMAGES = ("tunesmith-data", "tunesmith-platform", "tunesmith-mlflow", "tunesmith-jobs-cpu")


@dataclass(frozen=True)
class Ground:
    """What pods need around them, and what of theirs is this machine's."""

    here: Here
    ports: dict[str, int]
    state: Path
    folder: Path


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    need_containers()
    context = write_context(tmp_path_factory.mktemp("context"))
    for name in _IMAGES:
        build(context, name)
    root = tmp_path_factory.mktemp("volumes")
    folders = {name: root / name for name in ("data", "state", "secrets", "shared-memory")}
    for folder in folders.values():
        folder.mkdir()
    secrets = {
        name: f"ts-{name}-{'x' * 30}" for name in ("api-key", "auth_token", "report-secret", "mlflow-token")
    }
    for name, secret in secrets.items():
        (folders["secrets"] / name).write_text(secret)
    allowed = root / "allowed-roots.json"
    allowed.write_text("[]")
    subprocess.run(["chown", "-R", f"{_USER}:{_USER}", str(root)], check=True)
    for above in (root, *root.parents):
        if above != Path("/"):
            above.chmod(above.stat().st_mode | 0o011)
    ports = {name: free_port() for name in ("postgres", "server", "loops", "mlflow", "ray")}
    environment = {"POSTGRES_PASSWORD": "a-password", "PGPORT": str(ports["postgres"])}
    with (
        real_s3(tmp_path_factory.mktemp("s3")) as s3,
        running(_DATA, ["data", "postgres"], {folders["data"]: "/data"}, environment) as database,
    ):
        wait_until(
            lambda: inside(database, "data", "healthy", "postgres").returncode == 0,
            120,
            "PostgreSQL's container",
        )
        address = "127.0.0.1"
        here = Here(
            texts={
                "http://tunesmith-s3.ml.svc:8333": s3.environment["AWS_ENDPOINT_URL"],
                "tunesmith-postgres:5432": f"{address}:{ports['postgres']}",
                "http://tunesmith-ray-head-svc.ml.svc:8265": f"http://{address}:{ports['ray']}",
                "tunesmith-ray-head-svc.ml.svc": address,
                "http://tunesmith-mlflow.ml.svc:5000": f"http://{address}:{ports['mlflow']}",
                "--allowed-host=tunesmith-mlflow.ml.svc.cluster.local": f"--allowed-host={address}",
                "--port=5000": f"--port={ports['mlflow']}",
                "http://tunesmith.ml.svc:8080": f"http://{address}:{ports['server']}",
                "s3://tunesmith": s3.uri,
            },
            values={
                "TUNESMITH_PORT": str(ports["server"]),
                "TUNESMITH_CONTROLLER_PORT": str(ports["loops"]),
            },
            keys={
                "postgres-password": "a-password",
                "s3-access-key": s3.environment["AWS_ACCESS_KEY_ID"],
                "s3-secret-key": s3.environment["AWS_SECRET_ACCESS_KEY"],
            },
            folders=folders | {"allowed": allowed},
        )
        yield Ground(here, ports, folders["state"], tmp_path_factory.mktemp("pods"))


def _status(url: str) -> int:
    try:
        return httpx.get(url, trust_env=False, timeout=5).status_code
    except httpx.HTTPError:
        return 0


def _ray(spec: dict[str, Any], ground: Ground) -> dict[str, Any]:
    """Ray's head with the command that KubeRay gives it, and ports that are free here."""
    started = [
        "ray", "start", "--head", "--block", "--node-ip-address=127.0.0.1", f"--port={free_port()}", "--num-cpus=2",
        "--dashboard-host=127.0.0.1", f"--dashboard-port={ground.ports['ray']}", "--object-store-memory=200000000",
        f"--ray-client-server-port={free_port()}", f"--dashboard-agent-listen-port={free_port()}",
        "--disable-usage-stats",
    ]  # fmt: skip
    token = (ground.here.folders["secrets"] / "auth_token").read_text()
    head, *others = spec["containers"]
    known = [
        *head.get("env", []),
        {"name": "RAY_AUTH_MODE", "value": "token"},
        {"name": "RAY_AUTH_TOKEN", "value": token},
    ]
    return spec | {"containers": [head | {"command": started, "args": [], "env": known}, *others]}


def test_one_training_goes_through_the_pods_that_the_chart_renders(ground: Ground) -> None:
    found: dict[str, Any] = dict(pods(objects(rendered("smallest"))))
    ports, here = ground.ports, ground.here
    make_tiny_model(ground.state / "models" / "tiny")
    rows = write_dialogues(ground.state / "models" / "rows.jsonl", count=8)
    for path in (ground.state, *ground.state.rglob("*")):
        os.chown(path, _USER, _USER)
    with played(pod("migrate", found["Job tunesmith-migrate"], here), ground.folder) as migrate:
        wait_until(lambda: exit_code(migrate) is not None, 120, "the migration")
        assert exit_code(migrate) == 0, said(migrate)
    parts = (
        ("mlflow", found["Deployment tunesmith-mlflow"], f"http://127.0.0.1:{ports['mlflow']}/health"),
        ("server", found["Deployment tunesmith"], f"http://127.0.0.1:{ports['server']}/livez"),
        ("loops", found["Deployment tunesmith-loops"], f"http://127.0.0.1:{ports['loops']}/livez"),
        ("ray", _ray(found["RayCluster tunesmith-ray, head"], ground), f"http://127.0.0.1:{ports['ray']}/"),
    )
    with contextlib.ExitStack() as stack:
        names = []
        try:
            for name, spec, url in parts:
                names.append(stack.enter_context(played(pod(name, spec, here), ground.folder)))
                wait_until(lambda url=url: _status(url) in (200, 401, 403), 180, name)
            key = (here.folders["secrets"] / "api-key").read_text()
            client = Client(f"http://127.0.0.1:{ports['server']}", key)
            wait_until(lambda: all(part.ok for part in client.system().parts), 120, "every part")
            refused = inside(names[1], "touch", "/opt/tunesmith/x")
            assert "Read-only file system" in refused.stderr
            rights = inside(names[1], "grep", "CapEff", "/proc/self/status").stdout
            assert rights.split() == ["CapEff:", "0" * 16]
            place = Path("/var/lib/tunesmith/models")
            ended = completed(
                client, submit_short(client, place / "tiny", place / rows.name, 2, device="cpu")
            )
            (saved, *_) = client.checkpoints(ended.id)
            assert saved.uri.startswith("s3://"), "in the bucket"
        except BaseException:
            for name in names:
                print(f"--- {name}\n{said(name)}")
            raise
