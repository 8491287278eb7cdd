"""Which packages are to go: pure. One stays that is pinned, in use, among its model's newest, or young enough."""

import datetime as dt
from collections.abc import Iterable
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict, Field


class PruneWish(BaseModel):
    """What is to stay, where that is not what the settings say, and whether anything is removed at all."""

    model_config = ConfigDict(extra="forbid")
    keep_last: int | None = Field(None, ge=0, le=10**6, description="So many of each model, the newest.")
    keep_days: float | None = Field(None, ge=0, le=10**5, description="Those that are no older.")
    dry_run: bool = Field(True, description="Whether it is only said what would go.")


class Rule(NamedTuple):
    """What stays.

    Attributes:
        keep_last: So many of each model, the newest; 0 keeps none for that.
        keep_days: Those that are no older; 0 keeps none for that.
    """

    keep_last: int
    keep_days: float

    @property
    def is_off(self) -> bool:
        """Whether everything stays."""
        return not self.keep_last and not self.keep_days


class Model(NamedTuple):
    """What packages are of: those of the same are counted together."""

    project: str
    source: str
    """The training's id, or the folder of a model that no task here trained."""


class Package(NamedTuple):
    """What the rule is asked of."""

    task_id: str
    of: Model
    created_at: dt.datetime
    spared: str | None
    """Why it stays whatever its age."""


class Verdict(NamedTuple):
    """What becomes of one, and why."""

    task_id: str
    goes: bool
    why: str


def judged(packages: Iterable[Package], rule: Rule, now: dt.datetime) -> list[Verdict]:
    """What becomes of each package, the newest first.

    Args:
        packages: All whose files are there.
        rule: What stays.
        now: To tell their age.
    """
    found, counted = [], dict[Model, int]()
    for one in sorted(packages, key=lambda one: (one.created_at, one.task_id), reverse=True):
        place = counted[one.of] = counted.get(one.of, 0) + 1
        age = (now - one.created_at).total_seconds() / 86_400
        why = _stays(one, rule, place, age)
        gone = f"{place - 1} newer ones of the same model, {age:.1f} days old"
        found.append(Verdict(one.task_id, why is None, why or gone))
    return found


def _stays(one: Package, rule: Rule, place: int, age: float) -> str | None:
    if rule.is_off:
        return "nothing is removed"
    if one.spared:
        return one.spared
    if rule.keep_last and place <= rule.keep_last:
        return f"one of the newest {rule.keep_last}"
    if rule.keep_days and age <= rule.keep_days:
        return f"not older than {rule.keep_days:g} days"
    return None
