"""What a model wrote to its sample prompts while it trained, as the table that MLflow shows of a run.

Made anew from the log each time: the same again changes nothing. Knows the log and the run's folder.
"""

import json
import logging

from tunesmith.errors import TunesmithError
from tunesmith.storage import open_storage
from tunesmith_platform.backends.protocols import Run, Tracking
from tunesmith_platform.db.engine import Database
from tunesmith_platform.event_log import repository as events
from tunesmith_platform.scope import INSTALLATION

logger = logging.getLogger(__name__)
TABLE = "samples.json"
"""The table's name among a run's artifacts."""
_TAG = "mlflow.loggedArtifacts"
"""The tag by which MLflow finds tables among artifacts."""
_MOST = 2000
"""Events that the table is made of, the newest ones."""
COLUMNS = ("step", "number", "prompt", "answer", "finish_reason")


def show(database: Database, tracking: Tracking, run: Run, task_id: str) -> None:
    """Write the table of a task's run. A folder that does not take it costs the table; the log has it all."""
    with database.read() as session:
        found = events.last_of_kind(session, INSTALLATION, task_id, "samples", _MOST)
    # Of a step that was done again the newest answers count.
    steps = {one.payload["step"]: one.payload["answers"] for one in sorted(found, key=lambda one: one.n)}
    rows = [
        [step, number, one["prompt"], one["text"], one["finish_reason"]]
        for step in sorted(steps)
        for number, one in enumerate(steps[step], start=1)
    ]
    table = json.dumps({"columns": COLUMNS, "data": rows}, ensure_ascii=False)
    try:
        open_storage(run.artifact_uri).write(TABLE, table.encode())
    except (OSError, TunesmithError) as error:
        logger.warning("%s: the table of its samples is not written: %s", task_id, error)
        return
    tracking.describe(run.run_id, {}, {_TAG: json.dumps([{"path": TABLE, "type": "table"}])})
