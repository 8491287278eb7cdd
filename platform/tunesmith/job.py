"""What the control plane hands to a job, and how the job proves which attempt it is.

The document is written to storage; only its URI goes to Ray, so no parameter and no token shows in job metadata. It
holds the token of its own attempt and nothing that makes others: the secret stays with the control plane.
"""

import datetime as dt
import hashlib
import hmac
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from tunesmith.dataset_views import Part
from tunesmith.spec.kinds import name_of_today


class AttemptDocument(BaseModel):
    """What an attempt of any kind needs to run and to report.

    One that was written before documents held a token names the file of the secret: the attempt that was queued with it
    makes the token itself, so that an update of the platform costs no attempt.
    """

    model_config = ConfigDict(extra="ignore")
    task_id: str
    attempt: int = Field(ge=1)
    kind: str
    name: str
    spec: dict[str, Any] = Field(description="The task's frozen parameters.")
    api_url: str = Field(description="Where to report.")
    token: str = Field(
        repr=False, description="The bearer token of this attempt's reports: it opens no other's."
    )
    work_dir: str = Field(description="Folder on the node for spools and scratch, the same in every attempt.")
    submitted_at: dt.datetime
    documents_uri: str | None = Field(
        None, description="Where the task's documents lie: its stop is left there too, see `StopMarker`."
    )
    spare_cpus: float = Field(
        0, ge=0, description="Processors of each node that a training leaves to tasks of other rooms."
    )
    tunesmith: str = Field("", description="The platform's version: the cluster's must be of the same minor.")
    silent_seconds: float = Field(
        12, gt=0, description="A worker that gave no sign of life for so long is reported."
    )
    stuck_seconds: float = Field(
        60,
        gt=0,
        description="One that gave no sign of life and took no processor time for so long is started again.",
    )

    @model_validator(mode="before")
    @classmethod
    def _with_token(cls, given: Any) -> Any:
        if isinstance(given, dict) and isinstance(given.get("kind"), str):
            given = given | {"kind": name_of_today(given["kind"])}
        return _completed(given, lambda secret: report_token(secret, given["task_id"], given["attempt"]))


class StopMarker(BaseModel):
    """A stop as a file: where a job finds it while the control plane is away.

    It lies in the attempt's work folder and beside its document, and names the attempt that it is for: what is left of
    one stops no later one.
    """

    model_config = ConfigDict(extra="ignore")
    task_id: str
    attempt: int

    @property
    def name(self) -> str:
        """The file's name in either place."""
        return f"stop-{self.attempt}"

    def encode(self) -> bytes:
        """The file's bytes."""
        return self.model_dump_json().encode()

    def is_in(self, data: bytes | None) -> bool:
        """Whether a file's bytes are this marker; what cannot be read is none."""
        try:
            return data is not None and StopMarker.model_validate_json(data) == self
        except ValidationError:
            return False


class JobDocument(AttemptDocument):
    """Everything an attempt to train needs. Paths are resolved; the job asks nobody to start."""

    artifact_uri: str = Field(description="Where checkpoints and the final model go.")
    model_path: str
    tokenizer_path: str | None = Field(
        None, description="Another folder whose tokenizer is used instead of the model's."
    )
    train_path: str
    eval_path: str | None = None
    output_dir: str | None = None
    train_parts: list[Part] = Field(
        default_factory=list,
        description="Rows that each data set gave, where the training file was mixed of several.",
    )


class RunnerDocument(BaseModel):
    """What a warm runner needs to ask for work."""

    model_config = ConfigDict(extra="ignore")
    runner_id: str
    api_url: str = Field(description="Where to ask.")
    token: str = Field(repr=False, description="The bearer token that it asks with: it reports for no task.")

    @model_validator(mode="before")
    @classmethod
    def _with_token(cls, given: Any) -> Any:
        return _completed(given, lambda secret: runner_token(secret, given["runner_id"]))


class RunnerAsk(BaseModel):
    """A runner asks for work; asking is also its sign of life."""

    is_warm: bool = Field(description="Whether its imports are done.")
    wait_seconds: float = Field(0, ge=0, le=30, description="How long the answer may wait for work.")


class RunnerAnswer(BaseModel):
    """What a runner is to do."""

    document_uri: str | None = Field(description="The attempt to run; none: ask again.")


def _completed(given: Any, token_of: Callable[[str], str]) -> Any:
    """A document of before with its token; where the secret is not to be read, as it was."""
    if not isinstance(given, dict) or "token" in given or "secret_file" not in given:
        return given
    try:
        return given | {"token": token_of(read_secret(given["secret_file"]))}
    except (OSError, KeyError):
        return given


def report_token(secret: str, task_id: str, attempt: int) -> str:
    """The bearer token of one attempt's reports: HMAC-SHA256 (RFC 2104) of its name under the platform's secret."""
    return hmac.new(secret.encode(), f"{task_id}:{attempt}".encode(), hashlib.sha256).hexdigest()


def runner_token(secret: str, runner_id: str) -> str:
    """The bearer token that a warm runner asks for work with; made as `report_token` makes its own, of another name."""
    return hmac.new(secret.encode(), f"runner:{runner_id}".encode(), hashlib.sha256).hexdigest()


def serve_token(token: str) -> str:
    """The token that callers of a served model show: made of the token of the attempt that serves it.

    Both sides compute it and neither stores it; it opens no reports.
    """
    return hmac.new(token.encode(), b"serve", hashlib.sha256).hexdigest()


def read_secret(file: str | Path) -> str:
    """A secret from its file."""
    return Path(file).read_text().strip()


def ray_job_id(task_id: str, attempt: int) -> str:
    """The job's id on Ray: the same attempt can be submitted only once."""
    return f"{task_id}-{attempt}"
