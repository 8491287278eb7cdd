"""A task and its events in MLflow's terms: parameters, tags, points, the note on the run's page. Pure."""

import re
from collections.abc import Sequence

from tunesmith.metrics import system_values
from tunesmith_platform.backends.protocols import Point
from tunesmith_platform.db.tables import EventRow, TaskRow

NOTE = "mlflow.note.content"
"""The tag that MLflow shows as a run's description, in Markdown."""
_NOT_IN_NAMES = frozenset("/:.%\"'\\`")
"""MLflow refuses the first five in a LoggedModel's name; the others end a string in its search."""
_FACT_NAME = re.compile(r"[a-z0-9_]{1,100}")
AGAIN = ""
"""Among the last mirrored steps, stands for the last one that was measured again. No metric has this name."""


def points_of(entry: EventRow) -> list[Point]:
    """What an event measured."""
    if entry.kind == "system":
        values = system_values(entry.payload["workers"])
    else:
        values = entry.payload["values"] if entry.kind == "metrics" else {}
    stamp = int(entry.time.timestamp() * 1000)
    return [Point(name, value, entry.payload["step"], stamp) for name, value in values.items()]


def new_points(batch: Sequence[EventRow], steps: dict[str, int]) -> list[Point]:
    """The batch's measurements that were not mirrored yet; `steps` is brought up to date.

    Of a step that is measured again the first measurement stays: MLflow takes nothing back.
    """
    points = []
    for entry in batch:
        for point in points_of(entry):
            # A machine is measured by the clock: several times in a long step, and anew in one that is done again.
            if entry.kind == "system":
                points.append(point)
            elif point.step > steps.get(point.name, -1):
                points.append(point)
                steps[point.name] = point.step
            else:
                steps[AGAIN] = max(point.step, steps.get(AGAIN, 0))
    return points


def params(task: TaskRow) -> dict[str, str]:
    """A task's parameters."""
    return {
        name: ",".join(map(str, value)) if isinstance(value, list) else str(value)
        for name, value in task.spec.items()
        if value is not None
    }


def tags(task: TaskRow) -> dict[str, str]:
    """What a run says of its task as it stands."""
    found = {
        "tunesmith.task_id": task.id,
        "tunesmith.kind": task.kind,
        "tunesmith.state": task.state,
        "tunesmith.attempt": str(task.attempt),
        "tunesmith.tags": ",".join(task.tags),
        # MLflow's own columns: who, and with what.
        "mlflow.user": task.owner,
        "mlflow.source.type": "JOB",
        "mlflow.source.name": f"tunesmith {task.kind}",
    }
    if task.reason:
        found["tunesmith.reason"] = task.reason
    if task.artifact_uri:
        found["tunesmith.artifact_uri"] = task.artifact_uri
    return found


def facts(started: EventRow) -> dict[str, str]:
    """What was picked and why, as tags: unlike parameters they may change when a task goes on elsewhere."""
    found = {}
    for name, value in started.payload.get("facts", {}).items():
        if value is not None and _FACT_NAME.fullmatch(name):
            found[f"fact.{name}"] = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    return found


def model_name(task: TaskRow, part: str) -> str:
    """How MLflow calls a checkpoint or the model of a task: by the task's name, which it may not take as it is."""
    readable = "".join("-" if char in _NOT_IN_NAMES or not char.isprintable() else char for char in task.name)
    return f"{readable.strip('-') or task.id}-{part}"


def note(task: TaskRow, platform_url: str) -> dict[str, str]:
    """The way from a run back to its task. Said once: its user may write another description."""
    url = f"{platform_url.rstrip('/')}/v1/tasks/{task.id}"
    words = (
        f"Tunesmith task [`{task.id}`]({url}).\n\n"
        f"- `tunesmith watch {task.id}` follows it\n"
        f"- `tunesmith tasks show {task.id}` says how it stands\n"
        f"- `tunesmith tasks autopsy {task.id}` says why it ended\n"
    )
    return {NOTE: words, "tunesmith.url": url}
