"""Which models an evaluation compares, as they are named: `40`, `all`, `final`, `TASK:40`, a folder, a model's name.

Knows how names are written; knows nothing of what is there.
"""

import re
from dataclasses import dataclass

from tunesmith.errors import Problem
from tunesmith.limits import MAX_COUNT

ALL = "all"
FINAL = "final"
_TASK_ID = re.compile(r"task-[0-9a-z]{18}")
_FIELD = "checkpoints"


@dataclass(frozen=True)
class Chosen:
    """A candidate, or all of a task, as they were named.

    Attributes:
        said: The words.
        task_id: Whose checkpoint; None for a folder or a model's name.
        step: Its step; None for what `which` says.
        which: `all` or `final` of a task; the folder or the name where there is no task.
    """

    said: str
    task_id: str | None = None
    step: int | None = None
    which: str = ""

    @property
    def is_of_a_task(self) -> bool:
        """Whether it is a checkpoint, a final model, or all of a task, whichever that is."""
        return self.task_id is not None or self.step is not None or self.which in ("", ALL, FINAL)

    def problem(self) -> Problem | None:
        """What is wrong with the words themselves."""
        if self.task_id is None and self.which in ("", ALL, FINAL):
            return Problem(
                field=_FIELD,
                message=f"`{self.said}` is a checkpoint of no task that is named.",
                hint="Write `task_id`, or `TASK:40`.",
            )
        if self.task_id is not None and self.step is None and self.which not in (ALL, FINAL):
            return Problem(
                field=_FIELD,
                message=f"`{self.said}` names no checkpoint.",
                hint="Write a step (`40`), `all` or `final`.",
            )
        return None


def parse(said: str, task_id: str | None) -> Chosen:
    """What words name.

    Args:
        said: They.
        task_id: Whose checkpoints are meant where they do not say.
    """
    words = said.strip()
    task, colon, which = words.partition(":")
    if _TASK_ID.fullmatch(task):
        return _of_task(said, task, which if colon else ALL)
    if words in (ALL, FINAL) or _step(words) is not None:
        return _of_task(said, task_id, words)
    return Chosen(said, which=words)


def _of_task(said: str, task_id: str | None, which: str) -> Chosen:
    which = which.removeprefix("checkpoint-")
    step = _step(which)
    return Chosen(said, task_id, step, "" if step is not None else which)


def _step(words: str) -> int | None:
    words = words.removeprefix("checkpoint-")
    if not (words.isascii() and words.isdigit()) or len(words) > len(str(MAX_COUNT)):
        return None
    return int(words) if int(words) <= MAX_COUNT else None
