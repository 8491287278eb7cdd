"""The parts of the embedded platform: how each is started, and how to tell that it answers.

Everything listens on loopback. Knows commands and ports; the supervisor knows when to run them.
"""

import contextlib
import hashlib
import json
import os
import random
import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from tunesmith.home import Connection, Home
from tunesmith.job import read_secret
from tunesmith_platform.embedded.environment import bucket_of, passed_to, passed_to_supervisor
from tunesmith_platform.embedded.processes import MARK, mark
from tunesmith_platform.embedded.watching import INHERITED

HOST = "127.0.0.1"
PORT_NAMES = (
    "api",
    "mlflow",
    "ray",  # the dashboard: where jobs are submitted
    "ray_client",
    "ray_gcs",
    "ray_node_manager",
    "ray_object_manager",
    "ray_metrics",
    "ray_agent_http",
    "ray_agent_grpc",
    "ray_env_agent",
    "ray_dashboard_metrics",
    "ray_autoscaler_metrics",
    "ray_serve",  # where served models answer the API, which shows their tokens
)


@dataclass(frozen=True)
class Part:
    """One process that the supervisor keeps alive."""

    name: str
    command: list[str]
    is_healthy: Callable[[], bool]
    environment: dict[str, str] = field(default_factory=dict)
    start_seconds: float = 90


def choose_ports(remembered: dict[str, int], keep: frozenset[str] = frozenset()) -> dict[str, int]:
    """A free port for each name: the remembered one where it is still free, or held by a part of ours (`keep`)."""
    chosen: dict[str, int] = {}
    for name in PORT_NAMES:
        port = remembered.get(name)
        if port is not None and (name.split("_")[0] in keep or _is_free(port)):
            chosen[name] = port
            continue
        while True:
            # Below the range the kernel hands out itself; from the system, as a caller may have seeded `random`.
            port = random.SystemRandom().randint(20_000, 31_000)
            if port not in chosen.values() and _is_free(port):
                chosen[name] = port
                break
    return chosen


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with contextlib.suppress(OSError):
            probe.bind((HOST, port))
            return True
    return False


def connection(ports: dict[str, int]) -> Connection:
    """Where the platform answers."""
    return Connection(
        api_url=f"http://{HOST}:{ports['api']}",
        mlflow_url=f"http://{HOST}:{ports['mlflow']}",
        ray_url=f"http://{HOST}:{ports['ray']}",
    )


def ray_folder(home: Home) -> Path:
    """Ray's own folder: its socket paths must stay under 107 characters, so it lies in /tmp under a short name."""
    return Path("/tmp") / f"tunesmith-{hashlib.sha256(str(home.root).encode()).hexdigest()[:8]}"  # noqa: S108


def parts(home: Home, ports: dict[str, int], ray_cpus: int | None, is_kept: bool = False) -> list[Part]:
    """The three parts.

    Args:
        home: The state folder.
        ports: Where each answers.
        ray_cpus: CPUs that Ray may use.
        is_kept: Whether something starts the supervisor again when it dies; else the API does.
    """
    where = connection(ports)
    assert where.mlflow_url is not None
    assert where.ray_url is not None
    return [
        _ray(home, ports, where.ray_url, ray_cpus),
        _mlflow(home, where.mlflow_url, ports["mlflow"]),
        _api(home, where, ports, is_kept),
    ]


def environment(home: Home, part: Part) -> dict[str, str]:
    """A part's whole environment: what is passed on of the shell's (`embedded.environment`), and what is chosen here.

    Raises:
        InvalidInput: A list of variables that settings name is none.
    """
    base = passed_to(part.name, os.environ)
    base["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{base.get('PATH', os.defpath)}"
    return base | {"TUNESMITH_HOME": str(home.root), MARK: mark(home, part.name)} | part.environment


# One client for all looks: making one costs 50 ms. No proxy of the caller's shell stands between parts of one machine.
_looks = httpx.Client(timeout=5, trust_env=False)


def _answers(url: str, token_file: Path | None = None, expected: int = 200) -> bool:
    try:
        headers = {"Authorization": f"Bearer {read_secret(token_file)}"} if token_file else {}
        return _looks.get(url, headers=headers).status_code == expected
    except (httpx.HTTPError, OSError):  # its token may be gone
        return False


def _ray(home: Home, ports: dict[str, int], url: str, cpus: int | None) -> Part:
    def healthy() -> bool:
        # "No such job" is the answer of a Ray that takes jobs.
        return _answers(f"{url}/api/jobs/tunesmith-probe", home.ray_token_file, expected=404)

    command = [
        sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block",
        f"--node-ip-address={HOST}", f"--port={ports['ray_gcs']}",
        f"--dashboard-host={HOST}", f"--dashboard-port={ports['ray']}", "--include-dashboard=true",
        f"--dashboard-agent-listen-port={ports['ray_agent_http']}",
        f"--dashboard-agent-grpc-port={ports['ray_agent_grpc']}",
        f"--runtime-env-agent-port={ports['ray_env_agent']}",
        f"--metrics-export-port={ports['ray_metrics']}",
        f"--node-manager-port={ports['ray_node_manager']}", f"--object-manager-port={ports['ray_object_manager']}",
        f"--ray-client-server-port={ports['ray_client']}",
        f"--temp-dir={ray_folder(home)}", "--object-store-memory=300000000", "--disable-usage-stats",
    ]  # fmt: skip
    if cpus is not None:
        command.append(f"--num-cpus={cpus}")
    return Part(
        "ray",
        command,
        healthy,
        {
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN_PATH": str(home.ray_token_file),
            # Without this Ray replaces 127.0.0.1 by the machine's own address and listens on every interface:
            # most of its ports (metrics, Serve) ask for no token.
            "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
            "DASHBOARD_METRIC_PORT": str(ports["ray_dashboard_metrics"]),
            "AUTOSCALER_METRIC_PORT": str(ports["ray_autoscaler_metrics"]),
            "RAY_TRAIN_V2_ENABLED": "1",
            # Nobody announces to a cluster of one node that it goes away: a process less in every start.
            "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",
            "RAY_DISABLE_IMPORT_WARNING": "1",
            "TOKENIZERS_PARALLELISM": "false",
        },
    )


def mlflow_command(
    database: Path, artifacts: Path | str, token_file: Path, port: int, public_url: str = ""
) -> list[str]:
    """How MLflow's server is started.

    Args:
        database: Its SQLite file.
        artifacts: The folder, or the `s3://` place, in which runs get theirs.
        token_file: Holds the token that its clients show.
        port: Where it answers, on loopback.
        public_url: How browsers reach it, where that is another name.
    """
    return [
        sys.executable, "-m", "tunesmith_platform.embedded.mlflow_server", "--host", HOST, "--port", str(port),
        "--database", f"sqlite:///{database}", "--artifacts", str(artifacts), "--token-file", str(token_file),
        *(["--public-url", public_url] if public_url else []),
    ]  # fmt: skip


def _mlflow(home: Home, url: str, port: int) -> Part:
    def healthy() -> bool:
        # `/health` alone says nothing of the database, nor of the host check.
        place = f"{url}/api/2.0/mlflow/experiments/get?experiment_id=0"
        return _answers(place, home.mlflow_token_file)

    # Beside what tasks save, so that its pages show the same files.
    bucket = bucket_of(os.environ)
    artifacts = f"{bucket}/mlflow" if bucket else home.files / "mlflow"
    public = os.environ.get("TUNESMITH_MLFLOW_PUBLIC_URL", "")
    command = mlflow_command(home.mlflow_database, artifacts, home.mlflow_token_file, port, public)
    return Part("mlflow", command, healthy)


def _api(home: Home, where: Connection, ports: dict[str, int], is_kept: bool) -> Part:
    def healthy() -> bool:
        return _answers(f"{where.api_url}/healthz")

    return Part(
        "api",
        [sys.executable, "-m", "tunesmith_platform.app"],
        healthy,
        {
            "TUNESMITH_PORT": str(ports["api"]),
            "TUNESMITH_SERVE_HOST": HOST,
            "TUNESMITH_SERVE_PORT": str(ports["ray_serve"]),
            "TUNESMITH_MIGRATE_AT_START": "true",
            "TUNESMITH_RAY_URL": str(where.ray_url),
            "TUNESMITH_MLFLOW_URL": str(where.mlflow_url),
            "TUNESMITH_MLFLOW_TOKEN_FILE": str(home.mlflow_token_file),
            "TUNESMITH_JOB_PYTHON": sys.executable,
            "TUNESMITH_WARM_RUNNERS": os.environ.get("TUNESMITH_WARM_RUNNERS", "1"),
        }
        | ({} if is_kept else {INHERITED: json.dumps(passed_to_supervisor(os.environ))}),
    )
