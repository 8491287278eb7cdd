"""The state folder of a platform on one machine: what lies where, and how a client finds the platform in it.

Everything that `tunesmith up` makes lies below one folder, `TUNESMITH_HOME` (default `~/.tunesmith`).
"""

import os
import secrets
from pathlib import Path

from pydantic import BaseModel

from tunesmith.errors import CannotConnect


class Connection(BaseModel):
    """Where the platform answers."""

    api_url: str
    mlflow_url: str | None = None
    ray_url: str | None = None


class Home:
    """Paths below the state folder."""

    def __init__(self, root: Path | None = None) -> None:
        self.root = (root or Path(os.environ.get("TUNESMITH_HOME") or Path.home() / ".tunesmith")).absolute()
        self.logs = self.root / "logs"
        self.files = self.root / "files"
        self.models = self.root / "models"
        self.work = self.root / "work"
        self.outputs = self.root / "outputs"
        self.database = self.root / "tunesmith.db"
        self.mlflow_database = self.root / "mlflow.db"
        self.parts = self.root / "parts.json"
        self.connection_file = self.root / "connection.json"
        self.allowed_roots_file = self.root / "allowed-roots.json"
        self.api_key_file = self.root / "api-key"
        self.ray_token_file = self.root / "ray-token"
        self.mlflow_token_file = self.root / "mlflow-token"
        self.report_secret_file = self.root / "report-secret"

    def create(self) -> None:
        """Make the folders and the secrets that are not there yet, readable by the user alone."""
        self.root.mkdir(parents=True, exist_ok=True)
        self.root.chmod(0o700)
        for folder in (self.logs, self.files, self.models, self.work, self.outputs):
            folder.mkdir(exist_ok=True)
        for file, prefix in (
            (self.api_key_file, "ts-"),
            (self.ray_token_file, ""),
            (self.mlflow_token_file, ""),
            (self.report_secret_file, ""),
        ):
            _write_secret(file, prefix + secrets.token_urlsafe(32))

    def write_connection(self, connection: Connection) -> None:
        """Say where the platform of this folder answers."""
        part = self.connection_file.with_suffix(".part")
        part.write_text(connection.model_dump_json())
        part.replace(self.connection_file)

    def connection(self) -> Connection:
        """Where the platform of this folder answers.

        Raises:
            CannotConnect: No platform was started in this folder.
        """
        try:
            return Connection.model_validate_json(self.connection_file.read_bytes())
        except (OSError, ValueError) as error:
            raise CannotConnect(
                f"No platform was started in `{self.root}`.", hint="Start one with `tunesmith up`."
            ) from error


def _write_secret(file: Path, secret: str) -> None:
    try:
        handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return
    with os.fdopen(handle, "w") as stream:
        stream.write(secret)
