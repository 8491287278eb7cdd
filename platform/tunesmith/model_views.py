"""Base models as the API shows them."""

import datetime as dt
from enum import StrEnum

from pydantic import BaseModel, ConfigDict, Field

from tunesmith.errors import ErrorBody
from tunesmith.lifecycle import State
from tunesmith.model_folder import ModelFacts


class ModelState(StrEnum):
    """Whether a model can be trained."""

    READY = "ready"
    REFUSED = "refused"
    """Its files are no model that can be trained; `problem` says why, and what to do."""
    MISSING = "missing"
    """Its folder is not there (any more)."""


class ModelUse(BaseModel):
    """A task that starts from a model."""

    model_config = ConfigDict(extra="ignore")
    id: str
    name: str
    state: State


class ModelView(BaseModel):
    """A base model as it stands: its files are looked at anew whenever one of them changes."""

    model_config = ConfigDict(extra="ignore", protected_namespaces=())
    id: str
    name: str = Field(description="What tasks may call it by.")
    state: ModelState
    hub_id: str | None = Field(None, description="`owner/model`, where that is known.")
    revision: str | None = Field(
        None, description="The hub's commit that it was pulled at, where that is known."
    )
    path: str
    is_found: bool = Field(description="Found by itself, since it lies in the platform's models folder.")
    facts: ModelFacts | None = Field(None, description="What its files say; null unless it is ready.")
    problem: ErrorBody | None = Field(None, description="Why it is refused or missing.")
    sha256: str | None = Field(
        None, description="Over every file's name, size and SHA-256; null while it is being computed."
    )
    disk_bytes: int = Field(description="Bytes of all its files.")
    license_text: str | None = Field(
        None, description="Text of its license file. Shown of one model, not in lists."
    )
    task_count: int = Field(0, description="How many tasks start from it.")
    tasks: list[ModelUse] = Field(
        default_factory=list, description="The newest of them. Shown of one model, not in lists."
    )
    created_at: dt.datetime
    checked_at: dt.datetime
