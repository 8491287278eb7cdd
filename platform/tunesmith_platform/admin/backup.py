"""A backup of a platform that may be running: all rows as of one moment, and the list of what the storage holds.

Nothing is locked: SQLite and PostgreSQL show one transaction one state of the database, whatever is written meanwhile.
MLflow's database is copied after ours, so that it lacks nothing that ours says it has; what it has more is written
there again with the same values.
"""

import contextlib
import datetime as dt
import json
import sqlite3
from pathlib import Path

from sqlalchemy import Connection, select

import tunesmith
from tunesmith.errors import InvalidInput
from tunesmith.home import Home
from tunesmith.storage import local_path
from tunesmith_platform.admin import archive, rows
from tunesmith_platform.admin.archive import Summary, TableFacts, UnderWay
from tunesmith_platform.admin.stored import every_stored
from tunesmith_platform.clock import now
from tunesmith_platform.db import schema
from tunesmith_platform.db.engine import Database
from tunesmith_platform.db.tables import Base, TaskRow
from tunesmith_platform.settings import Settings
from tunesmith_platform.tasks.repository import LIVE

NEVER = frozenset({"browsers", "leases", "runners", "server_uses"})
"""Tables whose rows are of the running platform alone: who is signed in, who does what, which processes wait."""


def target_of(given: Path, moment: dt.datetime) -> Path:
    """The file that a backup becomes: the one that is named, or one of this moment's name in a folder.

    Raises:
        InvalidInput: It is there, or its folder is not.
    """
    if given.is_dir():
        return given / f"tunesmith-{moment:%Y%m%dT%H%M%SZ}.tar"
    if given.exists():
        raise InvalidInput(
            f"`{given}` is there already.", hint="Give another name, or a folder.", field="file"
        )
    if not given.absolute().parent.is_dir():
        raise InvalidInput(
            f"There is no folder `{given.absolute().parent}`.", hint="Make it first.", field="file"
        )
    return given


def back_up(database: Database, settings: Settings, target: Path) -> Summary:
    """Write a backup.

    Args:
        database: Of the platform.
        settings: Its.
        target: The file; none has its name.

    Raises:
        Unavailable: The database is of another version.
        NotOurs: The file is there.
    """
    schema.require(database)
    with archive.writing(target) as (members, stream):
        # Not a name that is asked for rows of an owner: all of them are meant.
        with database.read() as whole:
            options = {} if database.is_sqlite else {"isolation_level": "REPEATABLE READ"}
            connection = whole.connection(execution_options=options)
            summary = _summary(connection, database, settings)
            for table in Base.metadata.sorted_tables:
                if table.name in NEVER:
                    continue
                with members.member(archive.member_of(table.name)) as lines:
                    count = rows.dump(connection, table, lines)
                columns = [column.name for column in table.columns]
                summary.tables.append(TableFacts(name=table.name, columns=columns, rows=count))
            with members.member(archive.STORED) as lines:
                for entry in every_stored(connection):
                    lines.write(
                        json.dumps(entry.model_dump(exclude_none=True), ensure_ascii=False).encode() + b"\n"
                    )
                    summary.stored_entries += 1
                    summary.stored_bytes += entry.bytes or 0
        mlflow = Home(settings.home).mlflow_database
        if mlflow.is_file():
            _copy_sqlite(mlflow, members.file(archive.MLFLOW))
        members.pack(summary, stream)
    return summary


def _summary(connection: Connection, database: Database, settings: Settings) -> Summary:
    task = TaskRow.__table__.c
    under_way = connection.execute(
        select(task.id, task.name, task.state, task.attempt, task.progress)
        .where(task.state.in_([state.value for state in LIVE]))
        .order_by(task.id)
    )
    storage = local_path(settings.storage_uri)
    roots = [*settings.roots(), *([storage] if storage else [])]
    return Summary(
        tunesmith=tunesmith.__version__,
        revision=schema.newest(),
        database="sqlite" if database.is_sqlite else "postgresql",
        taken_at=now(),
        home=str(settings.home),
        storage_uri=settings.storage_uri,
        roots=[str(root) for root in roots],
        tables=[],
        under_way=[
            UnderWay(
                id=row.id, name=row.name, state=row.state, attempt=row.attempt, step=row.progress.get("step")
            )
            for row in under_way
        ],
        stored_entries=0,
        stored_bytes=0,
    )


def _copy_sqlite(source: Path, target: Path) -> None:
    """Copy an SQLite database that may be written to meanwhile, as of one moment."""
    with (
        contextlib.closing(sqlite3.connect(f"file:{source}?mode=ro", uri=True)) as given,
        contextlib.closing(sqlite3.connect(target)) as copy,
    ):
        given.backup(copy)
