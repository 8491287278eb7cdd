"""Curves as the API answers them: what was measured, reduced for a chart, of one task or of several.

Read leniently (unknown keys are passed over), so that a newer server can talk to an older client.
"""

from enum import StrEnum

from pydantic import BaseModel, ConfigDict, Field

from tunesmith.views import TaskView

MAX_POINTS = 4000
"""Points of one metric that an answer holds at the most."""
MAX_TASKS = 20
"""Tasks that are compared at once."""


class _View(BaseModel):
    model_config = ConfigDict(extra="ignore")


class Axis(StrEnum):
    """What a curve is drawn over."""

    STEP = "step"
    TOKENS = "tokens"
    TIME = "time"


class Mode(StrEnum):
    """How what several attempts measured is put together."""

    MERGED = "merged"
    """One curve: of each step what was measured last."""
    SEGMENTS = "segments"
    """A curve for each attempt, and for each restart within one."""
    ACCUMULATED = "accumulated"
    """One curve: each attempt begins behind the one before it, redone steps and all."""


class ExportFormat(StrEnum):
    """What every measurement is exported as."""

    CSV = "csv"
    PARQUET = "parquet"


class Curve(_View):
    """A metric's curve: lists of one length, in the order of drawing."""

    task_id: str
    name: str
    attempt: int | None = Field(
        None, description="Whose segment it is; null where attempts are put together."
    )
    count: int = Field(description="Measurements that the window holds.")
    bucket: int = Field(
        description="Measurements in a row of which the lowest and the highest are drawn; 1 when all are."
    )
    x: list[float] = Field(description="Steps, trained tokens, or seconds since the task started.")
    step: list[int]
    value: list[float]
    time: list[float] = Field(description="Seconds since 1970.")
    attempts: list[int] = Field(description="Which attempt measured each point.")


class Curves(_View):
    """A task's curves, by name and then by attempt."""

    x: Axis
    mode: Mode
    curves: list[Curve]


class Score(_View):
    """A metric at a glance: where it ended, its lowest and its highest."""

    name: str
    count: int
    last: float
    last_step: int
    lowest: float
    lowest_step: int
    highest: float
    highest_step: int


class ComparedTask(_View):
    """A task and what it reached."""

    task: TaskView
    scores: list[Score]


class Comparison(_View):
    """Several tasks: their curves to lay over each other, and what each reached."""

    x: Axis
    tasks: list[ComparedTask]
    curves: list[Curve]
