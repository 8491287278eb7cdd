"""What a task on data reads, and how a file that it made becomes a version that says what it was made of.

Runs in the caller's transaction. Knows the registry's rows; knows nothing of jobs.
"""

from typing import Any

from pydantic import BaseModel, Field
from sqlalchemy.orm import Session

from tunesmith.events import DatasetMade
from tunesmith.spec.dataset import INTO
from tunesmith_platform.datasets.versions import Kept, enter
from tunesmith_platform.db.tables import TaskRow


class DataInputs(BaseModel):
    """What a task on data reads and where its rows go, resolved."""

    parameters: dict[str, Any] = Field(description="The operation's, every path absolute.")
    into: str | None = Field(None, description="The data set whose next version is made; None makes none.")
    rows_dir: str = Field(description="Folder for the rows.")
    sources: list[str] = Field(default_factory=list, description="See `Lineage.sources`.")
    reads: list[str] = Field(default_factory=list, description="Files that are there to be read.")


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
    view, _ = enter(session, name, kept)
    return f"{name}@{view.latest}"
