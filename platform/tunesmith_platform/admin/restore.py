"""A platform from a backup: its rows in an empty database, and nothing of what was under way begun a second time.

Whoever made the backup may have gone on, and may still: its jobs run, it admitted what waited, it told its webhooks.
So here everything that was under way is stopped, its attempt closed; numbers of attempts go on at the next hundred, so
that no report and no job of Ray of the other is taken for one of ours; and nobody is told of anything from before.
"""

import shutil
import tempfile
from contextlib import closing
from pathlib import Path

from pydantic import BaseModel
from sqlalchemy import Connection, MetaData, delete, func, select, update
from sqlalchemy.orm import Session

from tunesmith.errors import Conflict
from tunesmith.home import Home
from tunesmith.lifecycle import REASONS, Desired, Reason, State
from tunesmith.notifications import DeliveryState
from tunesmith.removal import new_file
from tunesmith.storage import open_storage
from tunesmith_platform.admin import archive, rows
from tunesmith_platform.admin.archive import Reading, Summary
from tunesmith_platform.admin.backup import NEVER
from tunesmith_platform.admin.stored import Looked, look_at_all
from tunesmith_platform.clock import now
from tunesmith_platform.db import schema
from tunesmith_platform.db.engine import Database
from tunesmith_platform.db.tables import (
    AttemptRow,
    Base,
    DeliveryRow,
    MeasurementRow,
    NoticeCursorRow,
    PipelineRow,
    PipelineStepRow,
    RestoreRow,
    TaskRow,
    UploadRow,
)
from tunesmith_platform.quota import ledger
from tunesmith_platform.reconciler.applying import apply
from tunesmith_platform.reconciler.decisions import End
from tunesmith_platform.restores import next_floor
from tunesmith_platform.scope import INSTALLATION
from tunesmith_platform.settings import Settings
from tunesmith_platform.tasks import repository
from tunesmith_platform.tasks.moves import Moves

_DROPPED = "Not sent: the platform was restored from a backup, and may have sent it before."
_MLFLOW_STAYED, _MLFLOW_RESTORED = "stayed", "restored"


class Restored(BaseModel):
    """What a restore did."""

    summary: Summary
    stopped: list[str]
    attempt_floor: int
    stored: Looked
    mlflow: str | None
    allowed: list[str]


def restore(database: Database, settings: Settings, file: Path) -> Restored:
    """Put a backup into an empty database: all of it, or nothing.

    Args:
        database: Which; tables are made where there are none.
        settings: Of the platform that it becomes.
        file: The backup.

    Raises:
        InvalidInput: It is no whole backup.
        Conflict: The database holds something.
        Unavailable: A newer version made the backup, or the database.
    """
    with archive.reading(file) as backup:
        backup.check()
        schema.require_known(backup.summary.revision)
        schema.require_place(database, is_made=True)
        with database.write(schema.MIGRATE_SECONDS) as session:
            connection = session.connection()
            _require_empty(connection)
            schema.bring_to(session, backup.summary.revision)
            _load(connection, backup)
            schema.bring_to(session, schema.newest())
            floor = _next_numbers(session, settings, backup.summary)
            stopped = _stop_what_was_under_way(session)
        with backup.member(archive.STORED) as lines:
            stored = look_at_all(iter(lines))
        return Restored(
            summary=backup.summary,
            stopped=stopped,
            attempt_floor=floor,
            stored=stored,
            mlflow=_restore_mlflow(backup, Home(settings.home)),
            allowed=_roots_to_allow(backup.summary, settings),
        )


def _require_empty(connection: Connection) -> None:
    there = MetaData()
    counted = Base.metadata.tables.keys() - NEVER - _filled_by_migrations()
    there.reflect(connection, only=lambda name, _: name in counted)
    full = [
        table.name
        for table in there.sorted_tables
        if connection.execute(select(1).select_from(table).limit(1)).first() is not None
    ]
    if full:
        raise Conflict(
            f"The database holds something already: `{'`, `'.join(full[:5])}`.",
            hint="A backup is restored into an empty one: name another by `TUNESMITH_HOME` or "
            "`TUNESMITH_DATABASE_URL`, or end the platform and move this one away (SQLite: `tunesmith.db`, with its "
            "`-wal` and `-shm`).",
        )


def _filled_by_migrations() -> set[str]:
    """Tables that hold rows as soon as they are made: in them it does not show whether a database was ever used."""
    with tempfile.TemporaryDirectory() as folder, closing(Database(f"sqlite:///{folder}/new.db")) as new:
        schema.migrate(new)
        with new.read() as whole:
            connection = whole.connection()
            return {
                table.name
                for table in Base.metadata.sorted_tables
                if connection.execute(select(1).select_from(table).limit(1)).first() is not None
            }


def _load(connection: Connection, backup: Reading) -> None:
    there = MetaData()
    there.reflect(connection)
    for facts in backup.summary.tables:
        table = there.tables[facts.name]
        # A migration may have put rows of its own in; those of the backup are all that there were.
        connection.execute(delete(table))
        with backup.member(archive.member_of(facts.name)) as lines:
            rows.load(connection, table, facts.columns, lines)


def _next_numbers(session: Session, settings: Settings, summary: Summary) -> int:
    """Where attempts are numbered from now on: above all that were begun, also after the backup, as storage shows."""
    connection = session.connection()
    recorded = connection.scalar(select(func.max(TaskRow.attempt))) or 0
    highest = max(recorded, *(_highest_document(uri) for uri in {settings.storage_uri, summary.storage_uri}))
    before = connection.scalar(select(func.max(RestoreRow.number))) or 0
    floor = next_floor(max(highest, connection.scalar(select(func.max(RestoreRow.attempt_floor))) or 0))
    session.add(
        RestoreRow(number=before + 1, attempt_floor=floor, taken_at=summary.taken_at, restored_at=now())
    )
    return floor


def _highest_document(storage_uri: str) -> int:
    """The highest attempt for which a document was written, by whoever uses this storage; 0 where none is reached."""
    try:
        storage = open_storage(storage_uri)
        numbers = [
            int(number)
            for task in storage.list("tasks")
            for name in storage.list(f"tasks/{task}")
            if (number := name.removeprefix("attempt-").removesuffix(".json")).isdigit()
        ]
    except OSError:
        return 0
    return max(numbers, default=0)


def _stop_what_was_under_way(session: Session) -> list[str]:
    """Stop every task and pipeline that was not over, and let nobody be told of it."""
    connection, moves, moment = session.connection(), Moves(ledger), now()
    session.flush()
    live = connection.scalars(
        select(TaskRow.id).where(TaskRow.state.in_([s.value for s in repository.LIVE])).order_by(TaskRow.id)
    ).all()
    connection.execute(update(TaskRow).values(lease_owner=None, lease_until=None))
    for task_id in live:
        task = repository.locked(session, INSTALLATION, task_id)
        attempt = None
        if task.is_attempt_open:
            attempt = repository.require_attempt(session, INSTALLATION, task_id, task.attempt)
        _stop(moves, session, task, attempt)
    session.flush()
    over = {"state": State.STOPPED, "desired": Desired.STOP, "ended_at": moment}
    # One whose step was at work goes on from that step when its user says so.
    connection.execute(
        update(PipelineStepRow)
        .where(PipelineStepRow.state.in_([State.RUNNING, State.STOPPING]))
        .values(state=State.STOPPED, ended_at=moment, message=REASONS[Reason.RESTORED].words)
    )
    connection.execute(
        update(PipelineRow)
        .where(PipelineRow.ended_at.is_(None))
        .values(**over, message=REASONS[Reason.RESTORED].words)
    )
    connection.execute(
        update(DeliveryRow)
        .where(DeliveryRow.state == DeliveryState.PENDING)
        .values(state=DeliveryState.FAILED, message=_DROPPED, ended_at=moment)
    )
    connection.execute(delete(NoticeCursorRow))
    seen = select(TaskRow.id, TaskRow.events)
    connection.execute(NoticeCursorRow.__table__.insert().from_select(["task_id", "n"], seen))  # type: ignore[attr-defined]
    # Their bytes lay in the state folder, and their cluster is another.
    connection.execute(delete(UploadRow))
    connection.execute(delete(MeasurementRow).where(MeasurementRow.ended_at.is_(None)))
    return list(live)


def _stop(moves: Moves, session: Session, task: TaskRow, attempt: AttemptRow | None) -> None:
    if attempt is not None:
        apply(moves, session, task, attempt, End(State.STOPPED, Reason.RESTORED, ""), tail="")
        return
    if task.state == State.RUNNING:
        moves.move(session, INSTALLATION, task, State.STOPPING)
    moves.move(session, INSTALLATION, task, State.STOPPED, Reason.RESTORED)


def _restore_mlflow(backup: Reading, home: Home) -> str | None:
    """Put MLflow's database where `tunesmith up` looks for it, unless one is there."""
    if not backup.has(archive.MLFLOW):
        return None
    if home.mlflow_database.exists():
        return _MLFLOW_STAYED
    with backup.member(archive.MLFLOW) as given, new_file(home.mlflow_database, private=True) as copy:
        shutil.copyfileobj(given, copy)
    return _MLFLOW_RESTORED


def _roots_to_allow(summary: Summary, settings: Settings) -> list[str]:
    """Folders that tasks could read before, are here, and would not be allowed: results of before lie there."""
    known = {str(root) for root in settings.model_roots()}
    return [root for root in summary.roots if root not in known and Path(root).is_dir()]
