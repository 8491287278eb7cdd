"""How a file that a task on data made becomes a version that says what it was made of.

Runs in the caller's transaction. Knows the registry's rows; knows nothing of jobs.
"""

from collections.abc import Sequence

from sqlalchemy.orm import Session

from tunesmith.errors import Conflict
from tunesmith.events import DatasetMade, JobEvent
from tunesmith.spec.base import Notice
from tunesmith.spec.dataset import INTO
from tunesmith_platform.datasets.versions import Kept, enter
from tunesmith_platform.db.tables import AttemptRow, TaskRow
from tunesmith_platform.event_log.listeners import Listener
from tunesmith_platform.scope import Scope
from tunesmith_platform.tasks.inputs import DataInputs


def enter_made(session: Session, task: TaskRow, made: DatasetMade) -> str | None:
    """Make a file that a job left the newest version of its data set; None where none was asked for.

    Runs in the transaction that takes the event: a version is entered once, and listed only when its file is whole.
    """
    into = task.inputs.get(INTO)
    if into is None:
        return None
    inputs = DataInputs.model_validate(task.inputs)
    name = str(into) if made.output == "data" else f"{into}-{made.output}"
    parameters = {key: value for key, value in task.spec.items() if key not in ("operation", INTO)}
    lineage = {
        "task_id": task.id,
        "operation": task.spec["operation"],
        "parameters": parameters,
        "sources": inputs.sources,
    }
    if made.parts and len(made.parts) == len(inputs.sources):
        pairs = zip(inputs.sources, made.parts, strict=True)
        lineage["parts"] = [{"source": source, "rows": rows} for source, rows in pairs]
    facts = {
        "format": "jsonl",
        "packing": None,
        "kind": made.rows_hold,
        "columns": made.columns[:50],
        "rows": made.rows,
    }
    kept = Kept(
        made.path, made.sha256, [made.bytes, 0], True, f"task {task.id}", made.file_name, facts, lineage
    )
    own = Scope.acting_for(task)
    try:
        view, _ = enter(session, own, name, kept)
    except Conflict as error:  # somebody took the name while it was made: the rows are not lost for that
        own_name = f"{name[:80]}-{task.id[-6:]}"
        view, _ = enter(session, own, own_name, kept)
        told = Notice(field=INTO, message=f"{error.message} The rows are in `{own_name}`.")
        task.notices = [*task.notices, told.model_dump()]
    return f"{view.name}@{view.latest}"


def hear(
    session: Session, _scope: Scope, task: TaskRow, _attempt: AttemptRow, events: Sequence[JobEvent]
) -> None:
    """Enter the files that a job reports, and list the versions with their task."""
    for event in events:
        assert isinstance(event.payload, DatasetMade), "it registered for no other"
        version, made = enter_made(session, task, event.payload), task.progress.get("datasets", [])
        listed = [*made, version] if version and version not in made else made
        task.progress = {**task.progress, "datasets": listed}


LISTENER = Listener((DatasetMade,), hear)
