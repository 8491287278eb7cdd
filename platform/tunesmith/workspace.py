"""The list of tasks as it changes: what the workspace's live stream carries.

A stream begins with the whole list (`tasks`); then come a line for each task that changed, and the ids of those that
were deleted. Every change has a position to go on after.
"""

import datetime as dt
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from tunesmith.lifecycle import Reason, State, WaitsFor
from tunesmith.views import Health, ProgressView


class _View(BaseModel):
    model_config = ConfigDict(extra="ignore")


class TaskLine(_View):
    """A task in the list: what changes while it runs, without its parameters."""

    id: str
    kind: str = Field(description="Its kind of task.")
    name: str
    project: str
    state: State
    reason: Reason | None = None
    message: str = ""
    waits_for: WaitsFor | None = None
    health: Health | None = None
    priority: int = 0
    tags: list[str] = Field(default_factory=list)
    attempt: int = 0
    events: int = Field(0, description="Number of its newest event.")
    progress: ProgressView = Field(default_factory=ProgressView)
    created_at: dt.datetime
    started_at: dt.datetime | None = None
    ended_at: dt.datetime | None = None


class Listed(_View):
    """The whole list: it takes the place of what was known before."""

    kind: Literal["tasks"] = "tasks"
    position: str
    tasks: list[TaskLine] = Field(description="Every live task and the newest others, newest first.")


class Changed(_View):
    """A task as it is now; one that was not known is new."""

    kind: Literal["task"] = "task"
    position: str
    task: TaskLine


class Deleted(_View):
    """A task is gone."""

    kind: Literal["deleted"] = "deleted"
    position: str
    id: str


WorkspaceChange = Annotated[Listed | Changed | Deleted, Field(discriminator="kind")]
