"""What the control plane hands to a job, and how the job proves which attempt it is.

The document is written to storage; only its URI goes to Ray, so no parameter and no secret shows in job metadata.
"""

import datetime as dt
import hashlib
import hmac
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from tunesmith.spec.task import Kind


class JobDocument(BaseModel):
    """Everything an attempt needs. Paths are resolved; the job asks nobody to start."""

    model_config = ConfigDict(extra="ignore")
    task_id: str
    attempt: int = Field(ge=1)
    kind: Kind
    name: str
    spec: dict[str, Any] = Field(description="The task's frozen parameters.")
    api_url: str = Field(description="Where to report.")
    secret_file: str = Field(
        description="File on every node that holds the secret which reports are signed by."
    )
    work_dir: str = Field(description="Folder on the node for spools and scratch, the same in every attempt.")
    artifact_uri: str = Field(description="Where checkpoints and the final model go.")
    model_path: str
    tokenizer_path: str | None = Field(
        None, description="Another folder whose tokenizer is used instead of the model's."
    )
    train_path: str
    eval_path: str | None = None
    output_dir: str | None = None
    submitted_at: dt.datetime


def report_token(secret: str, task_id: str, attempt: int) -> str:
    """The bearer token of one attempt's reports: HMAC-SHA256 (RFC 2104) of its name under the platform's secret."""
    return hmac.new(secret.encode(), f"{task_id}:{attempt}".encode(), hashlib.sha256).hexdigest()


def read_secret(file: str | Path) -> str:
    """A secret from its file."""
    return Path(file).read_text().strip()


def ray_job_id(task_id: str, attempt: int) -> str:
    """The job's id on Ray: the same attempt can be submitted only once."""
    return f"{task_id}-{attempt}"
