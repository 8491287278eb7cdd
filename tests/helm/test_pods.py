"""Tier 2: what the chart renders of its servers, loops and migration comes up, on a real PostgreSQL, as it is rendered.

Commands, variables, user and rights are the manifests'; only addresses are this machine's. It proves nothing of volumes
and networks, nor of Ray's pods (`test_images.py` runs a training). Skipped, and said to be, where podman is absent.
"""

import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from chart_tools import objects, rendered
from containers import PREFIX, build, inside, memory_of, need_containers, running, said, write_context
from pod_rules import pods
from waiting import free_port, wait_until

import tunesmith

pytestmark = [pytest.mark.long, pytest.mark.slow]
_DATA, _PLATFORM = (
    f"{PREFIX}/{name}:{tunesmith.__version__}" for name in ("tunesmith-data", "tunesmith-platform")
)
_PASSWORD = "a-password"
_USER = 10001


@dataclass(frozen=True)
class Ground:
    """A database, and folders that stand for the volumes."""

    database_port: int
    state: Path
    secrets: Path
    ports: dict[str, int]


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    need_containers()
    context = write_context(tmp_path_factory.mktemp("context"))
    build(context, "tunesmith-data")
    build(context, "tunesmith-platform")
    root = tmp_path_factory.mktemp("volumes")
    folders = [root / name for name in ("data", "state", "secrets")]
    for folder in folders:
        folder.mkdir()
    data, state, secrets = folders
    for name in ("models", "work", "outputs", "files"):
        (state / name).mkdir()
    for key in ("api-key", "auth_token", "report-secret", "mlflow-token"):
        (secrets / key).write_text(f"ts-{key}-{'x' * 30}")
    subprocess.run(["chown", "-R", f"{_USER}:{_USER}", *map(str, folders)], check=True)
    for above in root.parents:
        if above != Path("/"):
            above.chmod(above.stat().st_mode | 0o011)
    root.chmod(0o755)
    port = free_port()
    environment = {"POSTGRES_PASSWORD": _PASSWORD, "PGPORT": str(port)}
    with running(_DATA, ["data", "postgres"], {data: "/data"}, environment) as container:
        wait_until(
            lambda: inside(container, "data", "healthy", "postgres").returncode == 0,
            120,
            "PostgreSQL's container",
        )
        yield Ground(port, state, secrets, {"8080": free_port(), "8081": free_port()})


def _as_rendered(name: str, ground: Ground) -> tuple[list[str], dict[str, str]]:
    """The command and the variables of a pod, with addresses of this machine."""
    found: dict[str, Any] = dict(pods(objects(rendered("smallest"))))
    container = found[name]["containers"][0]
    environment = {each["name"]: each.get("value", _PASSWORD) for each in container["env"]}
    for variable, value in environment.items():
        for old, new in (
            ("tunesmith-postgres:5432", f"127.0.0.1:{ground.database_port}"),
            ("http://tunesmith.ml.svc:8080", f"http://127.0.0.1:{ground.ports['8080']}"),
        ):
            environment[variable] = environment[variable].replace(old, new)
        environment[variable] = ground.ports.get(value, environment[variable])
    return container["command"], {key: str(value) for key, value in environment.items()}


def _ready(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/readyz", trust_env=False, timeout=5).status_code == 200
    except httpx.HTTPError:
        return False


def test_the_chart_s_pods_come_up_on_postgresql(ground: Ground, tmp_path: Path) -> None:
    roots = tmp_path / "allowed-roots.json"
    roots.write_text("[]")
    for above in (tmp_path, *tmp_path.parents):
        if above != Path("/"):
            above.chmod(above.stat().st_mode | 0o011)
    folders = {
        ground.state: "/var/lib/tunesmith",
        ground.secrets: "/etc/tunesmith/secrets",
        roots: "/etc/tunesmith/allowed-roots.json",
    }
    command, environment = _as_rendered("Job tunesmith-migrate", ground)
    with running(_PLATFORM, ["sleep", "600"], {}, environment) as container:
        done = inside(container, *command)
        assert done.returncode == 0, done.stderr
        assert "The schema is" in done.stderr
    seen = {}
    parts = (("Deployment tunesmith", "8080", 400e6), ("Deployment tunesmith-loops", "8081", 300e6))
    server, environment = _as_rendered(parts[0][0], ground)
    with running(_PLATFORM, server, folders, environment) as first:
        began = time.monotonic()
        wait_until(lambda: _ready(ground.ports["8080"]), 120, "the server")
        print(f"ready after {time.monotonic() - began:.1f} s")
        loops, environment = _as_rendered(parts[1][0], ground)
        with running(_PLATFORM, loops, folders, environment) as second:
            try:
                wait_until(lambda: _ready(ground.ports["8081"]), 120, "the loops")
            finally:
                print(said(first), said(second))
            key = (ground.secrets / "api-key").read_text()
            url = f"http://127.0.0.1:{ground.ports['8080']}/v1/system"
            answering = httpx.Client(headers={"Authorization": f"Bearer {key}"}, trust_env=False, timeout=20)

            def are_well() -> bool:
                """Ready loops may not have come to their first turn, by which the server knows them."""
                ok = {part["name"]: part["ok"] for part in answering.get(url).json()["parts"]}
                return bool(ok["database"] and ok["controller"])

            with answering:
                wait_until(are_well, 60, "the parts")
            for (name, _, bound), container in zip(parts, (first, second), strict=True):
                seen[name] = memory_of(container)
                assert seen[name] < bound, seen
    print({name: f"{size / 1e6:.0f} MB" for name, size in seen.items()})
