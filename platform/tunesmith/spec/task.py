"""What a user sends to create a task: the common envelope, and one variant a task kind."""

import datetime as dt
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from tunesmith.spec.training import TrainSpec

Name = Annotated[
    str, StringConstraints(min_length=1, max_length=120, strip_whitespace=True, pattern=r"^[^\x00-\x1f/\\]+$")
]
Tag = Annotated[str, StringConstraints(min_length=1, max_length=60, strip_whitespace=True)]


class Kind(StrEnum):
    """The kinds of task that exist now."""

    TRAIN = "train"


class _NewTask(BaseModel):
    model_config = ConfigDict(extra="forbid")
    name: Name | None = Field(
        None, description="Shown name; `{training_type}_{YYYYMMDD_HHmmss}` when none is given."
    )
    project: Name = Field("default", description="The MLflow experiment it belongs to.")
    priority: int = Field(0, ge=-100, le=100, description="Higher starts first; then the older one.")
    tags: list[Tag] = Field(default_factory=list, max_length=20)
    notes: str = Field("", max_length=10_000)


class NewTrainTask(_NewTask):
    """A training task."""

    kind: Literal[Kind.TRAIN] = Kind.TRAIN
    spec: TrainSpec

    def default_name(self, now: dt.datetime) -> str:
        """The name that a task gets when the user gave none."""
        return f"{self.spec.training_type}_{now:%Y%m%d_%H%M%S}"


NewTask = NewTrainTask
"""Any kind of new task; further kinds join as a union told apart by `kind`."""
