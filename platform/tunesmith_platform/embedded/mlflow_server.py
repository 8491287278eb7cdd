"""MLflow's tracking server in one process, behind our check (`mlflow_guard`).

Run with `python -m tunesmith_platform.embedded.mlflow_server`. It does what `mlflow server` does with one worker and no
job execution; that command takes no application around its own, and imports MLflow in two processes.
"""

import argparse
import contextlib
import os
import sys
import uuid
from urllib.parse import urlsplit

from tunesmith.job import read_secret
from tunesmith.secret_values import named
from tunesmith_platform.embedded.mlflow_guard import Guard
from tunesmith_platform.logs import LogFormat, configure
from tunesmith_platform.mlflow_link import Admissions

DATABASE = "MLFLOW_DATABASE_URL"
"""Holds the database's address where no argument does, which all of a machine's users see."""


def arguments() -> argparse.ArgumentParser:
    """What the server is told."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument(
        "--database",
        default="",
        help=f"A SQLAlchemy URL; where it holds a password, {DATABASE} or the file that {DATABASE}_FILE names does.",
    )
    parser.add_argument(
        "--artifacts", required=True, help="The folder or `s3://` place in which runs get theirs."
    )
    parser.add_argument("--token-file", required=True, help="Holds the token that clients show.")
    parser.add_argument("--public-url", default="", help="How browsers reach it, where that is another name.")
    parser.add_argument(
        "--allowed-host",
        action="append",
        default=[],
        help="A name without a port by which clients reach it too, such as a service's; may be given again.",
    )
    return parser


def hosts_of(given: argparse.Namespace) -> list[str]:
    """The values of `Host` that MLflow answers.

    Clients name the port unless it is the scheme's own, so a name counts with it and without.
    """
    named = [each for name in given.allowed_host for each in (name, f"{name}:{given.port}")]
    public = urlsplit(given.public_url).netloc
    return [f"127.0.0.1:{given.port}", f"localhost:{given.port}", *named, *filter(None, [public])]


def main() -> None:
    """Serve MLflow."""
    given = arguments().parse_args()
    configure(LogFormat(os.environ.get("TUNESMITH_LOG_FORMAT") or LogFormat.TEXT))
    database = given.database or named(DATABASE)
    if not database:
        sys.exit(f"Which database MLflow has is not given: `--database`, {DATABASE} or {DATABASE}_FILE.")
    admissions = Admissions(read_secret(given.token_file))
    public = urlsplit(given.public_url)
    hosts = hosts_of(given)
    # As the command does it: MLflow reads its server's settings from the environment, the host check when it is
    # imported. No proxying of artifacts: a run's folder is a plain folder, into which training writes.
    os.environ |= {
        "MLFLOW_SERVER_ALLOWED_HOSTS": ",".join(hosts),
        "MLFLOW_SERVER_CORS_ALLOWED_ORIGINS": f"{public.scheme}://{public.netloc}" if public.netloc else "",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_ENABLE_WORKSPACES": "false",
        "DO_NOT_TRACK": "true",
        "_MLFLOW_SERVER_FILE_STORE": database,
        "_MLFLOW_SERVER_REGISTRY_STORE": database,
        "_MLFLOW_SERVER_ARTIFACT_ROOT": given.artifacts,
        "_MLFLOW_SERVER_BOOT_ID": uuid.uuid4().hex,
        "_MLFLOW_IN_JOB_EXECUTOR": "false",
        "_MLFLOW_SGI_NAME": "uvicorn",
    }
    import uvicorn
    from mlflow.server.fastapi_app import app
    from mlflow.server.handlers import initialize_backend_stores

    initialize_backend_stores(database, database, given.artifacts)
    guarded = Guard(app, admissions, hosts, f"tunesmith_mlflow_{given.port}")
    with contextlib.suppress(KeyboardInterrupt):
        # No access log: the mirror calls every second, and the address of a link is nobody's to read.
        uvicorn.run(guarded, host=given.host, port=given.port, access_log=False, log_config=None)


if __name__ == "__main__":
    main()
