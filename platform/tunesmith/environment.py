"""What the check before a start answers: each part with what was found, and the cure where something is wrong.

Read leniently, as every view. How each part is looked at, the platform knows.
"""

from enum import StrEnum

from pydantic import BaseModel, ConfigDict, Field


class _View(BaseModel):
    model_config = ConfigDict(extra="ignore")


class Words(_View):
    """A text for people in both languages."""

    en: str
    zh: str


class CheckStatus(StrEnum):
    """How a check went."""

    OK = "ok"
    WARNING = "warning"
    """A task can start; something may go worse than it could."""
    FAILED = "failed"
    """A task would fail."""


class EnvironmentCheck(_View):
    """One part of the environment."""

    name: str = Field(description="Stable name, for programs.")
    label: Words
    status: CheckStatus
    found: str = Field(description="What was found, with its numbers.")
    cure: Words | None = Field(None, description="What to do; null where nothing is wrong.")


class Environment(_View):
    """The environment as it is now."""

    ok: bool = Field(description="Whether no check failed.")
    checks: list[EnvironmentCheck]
