"""The event log's queries. Appends run in the caller's transaction, which holds the task's row."""

import datetime as dt
import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, NamedTuple, cast

from sqlalchemy import Table, bindparam, func, select, tuple_, update
from sqlalchemy.orm import Session

from tunesmith.events import Metrics, StateChanged
from tunesmith_platform.clock import now
from tunesmith_platform.db.engine import storable
from tunesmith_platform.db.scoping import OutOfScope, expect, seen, within
from tunesmith_platform.db.tables import AttemptRow, EventRow, TaskRow
from tunesmith_platform.scope import Scope

_EVENTS = cast(Table, EventRow.__table__)
_TASKS = cast(Table, TaskRow.__table__)
_ATTEMPTS = cast(Table, AttemptRow.__table__)
_SQLITE_INSERT = (
    "INSERT INTO events (task_id, n, attempt, seq, kind, time, payload) VALUES (?, ?, ?, ?, ?, ?, ?)"
)
_POSTGRES_INSERT = """
INSERT INTO events (task_id, n, attempt, seq, kind, time, payload)
SELECT e.task_id, e.n, e.attempt, e.seq, e.kind, e.time, e.payload FROM json_to_recordset(%s::json)
AS e(task_id text, n bigint, attempt integer, seq bigint, kind text, time timestamptz, payload jsonb)
"""
_STORED_AFTER = (
    select(_EVENTS.c.n, _EVENTS.c.attempt, _EVENTS.c.time, _EVENTS.c.payload)
    .where(
        _EVENTS.c.task_id == bindparam("of"),
        _EVENTS.c.n > bindparam("after"),
        _EVENTS.c.n <= bindparam("up_to"),
    )
    .order_by(_EVENTS.c.n)
    .limit(bindparam("many"))
)


class Mark(NamedTuple):
    """How far a task's log goes."""

    id: str
    events: int
    state: str


class Stored(NamedTuple):
    """An event as it lies in the log."""

    n: int
    attempt: int
    time: dt.datetime
    payload: dict[str, Any]


@dataclass
class Standing:
    """What a report needs of its task, and moves on. The task's row is large, and reports are many."""

    id: str
    attempt: int
    is_attempt_open: bool
    state: str
    desired: str
    save_requests: int
    events: int
    folded: int
    progress: dict[str, Any]
    early_stop: str | None = None


class Entry(NamedTuple):
    """An event as it goes into the log."""

    task_id: str
    n: int
    attempt: int
    seq: int | None
    kind: str
    time: dt.datetime
    payload: str


_STANDING = (
    select(*(_TASKS.c[column.name] for column in fields(Standing)))
    .where(_TASKS.c.id.in_(bindparam("ids", expanding=True)))
    .order_by(_TASKS.c.id)
    .with_for_update()
)
_MARKS = select(_TASKS.c.id, _TASKS.c.events, _TASKS.c.state).where(
    _TASKS.c.id.in_(bindparam("ids", expanding=True))
)
_LAST_SEQ = select(_ATTEMPTS.c.task_id, _ATTEMPTS.c.number, _ATTEMPTS.c.last_seq).where(
    tuple_(_ATTEMPTS.c.task_id, _ATTEMPTS.c.number).in_(bindparam("attempts", expanding=True))
)
_MOVE = (
    update(_TASKS)
    .where(_TASKS.c.id == bindparam("of"))
    .values({name: bindparam(name) for name in ("events", "folded", "progress", "heartbeat_at")})
)
_MOVE_UNHEARD = (
    update(_TASKS)
    .where(_TASKS.c.id == bindparam("of"))
    .values({name: bindparam(name) for name in ("events", "folded", "progress")})
)
_MOVE_ATTEMPT = (
    update(_ATTEMPTS)
    .where(_ATTEMPTS.c.task_id == bindparam("of"), _ATTEMPTS.c.number == bindparam("which"))
    .values(
        last_seq=bindparam("last_seq"),
        advanced_at=func.coalesce(
            bindparam("advanced", type_=_ATTEMPTS.c.advanced_at.type), _ATTEMPTS.c.advanced_at
        ),
    )
)


def standings(session: Session, scope: Scope, task_ids: Iterable[str]) -> dict[str, Standing]:
    """Where tasks stand, their rows held until the transaction ends; those that are not there are left out."""
    # Always in one order: two transactions that hold several rows never wait for each other.
    rows = session.connection().execute(within(_STANDING, scope, TaskRow), {"ids": sorted(set(task_ids))})
    return {row.id: Standing(*row) for row in rows}


def last_seqs(
    session: Session, scope: Scope, attempts: Iterable[tuple[str, int]]
) -> dict[tuple[str, int], int]:
    """How far attempts' reports are stored; attempts that are not there are left out.

    A query of its own: PostgreSQL reads only the rows that it locks as they are once it has them.
    """
    query = within(_LAST_SEQ, scope, AttemptRow)
    rows = session.connection().execute(query, {"attempts": sorted(set(attempts))})
    return {(task_id, number): last_seq for task_id, number, last_seq in rows}


def move(
    session: Session,
    scope: Scope,
    tasks: Iterable[Standing],
    attempts: Mapping[tuple[str, int], int],
    moment: dt.datetime,
    advanced: Collection[str] = (),
) -> None:
    """Write down where tasks that were heard of stand, and how far the reports of attempts are stored.

    Past the unit of work, which takes several times as long; no rows of these may be in the session yet.

    Args:
        session: The transaction.
        tasks: Where they stand.
        attempts: The last event of each attempt that is stored.
        moment: Now.
        advanced: The tasks whose jobs got on with what they are busy with.
    """
    connection = session.connection()
    moved = [
        {
            "of": task.id,
            "events": task.events,
            "folded": task.folded,
            "progress": task.progress,
            "heartbeat_at": moment,
        }
        for task in tasks
    ]
    connection.execute(within(_MOVE, scope, TaskRow), moved)
    if attempts:
        further = [
            {"of": of, "which": which, "last_seq": seq, "advanced": moment if of in advanced else None}
            for (of, which), seq in attempts.items()
        ]
        connection.execute(within(_MOVE_ATTEMPT, scope, AttemptRow), further)


def move_unheard(session: Session, scope: Scope, tasks: Sequence[Standing]) -> None:
    """Write down where tasks stand of which somebody else spoke; see `move`."""
    moved = [
        {"of": task.id, "events": task.events, "folded": task.folded, "progress": task.progress}
        for task in tasks
    ]
    if moved:
        session.connection().execute(within(_MOVE_UNHEARD, scope, TaskRow), moved)


def store(session: Session, scope: Scope, entries: Sequence[Entry]) -> None:
    """Put entries into the log.

    Raises:
        OutOfScope: The task of one is another's.
    """
    if not scope.is_whole and {e.task_id for e in entries} - seen(
        session, scope, TaskRow, (e.task_id for e in entries)
    ):
        raise OutOfScope
    # The payloads are JSON already: SQLAlchemy's types would parse and write them again, and psycopg would send
    # each row by itself. That is two thirds of a full batch's time.
    connection = session.connection()
    if connection.dialect.name == "sqlite":
        rows = [(e.task_id, e.n, e.attempt, e.seq, e.kind, _sqlite_time(e.time), e.payload) for e in entries]
        connection.exec_driver_sql(_SQLITE_INSERT, rows)
    else:
        rows_as_json = ",".join(
            f'{{"task_id":"{e.task_id}","n":{e.n},"attempt":{e.attempt},'
            f'"seq":{"null" if e.seq is None else e.seq},"kind":"{e.kind}",'
            f'"time":"{e.time.isoformat()}","payload":{e.payload}}}'
            for e in entries
        )
        connection.exec_driver_sql(_POSTGRES_INSERT, (f"[{rows_as_json}]",))


def _sqlite_time(time: dt.datetime) -> str:
    assert time.tzinfo is not None, "a time without a zone"
    return time.astimezone(dt.UTC).isoformat(" ", "microseconds")[:26]  # without its zone


def append_own(session: Session, scope: Scope, task: TaskRow, payload: dict[str, Any]) -> None:
    """Append something that the control plane itself says."""
    expect(session, scope, task)
    task.events += 1
    session.flush()  # a new task's row comes before its first event
    _append_own(session, scope, task, payload)


def append_first(session: Session, scope: Scope, task: TaskRow, payload: StateChanged) -> None:
    """Append the first event of a task whose row counts it already."""
    _append_own(session, scope, task, payload.model_dump(mode="json"))


def _append_own(session: Session, scope: Scope, task: TaskRow, payload: dict[str, Any]) -> None:
    text = storable(json.dumps(payload, ensure_ascii=False, separators=(",", ":")))
    store(session, scope, [Entry(task.id, task.events, task.attempt, None, payload["kind"], now(), text)])


def append_measured(
    session: Session, scope: Scope, task: TaskRow, payload: Metrics, moment: dt.datetime
) -> None:
    """Append what was measured of a task elsewhere, with the moment at which it was. The caller holds its row."""
    expect(session, scope, task)
    task.events += 1
    session.flush()
    text = payload.model_dump_json()
    store(session, scope, [Entry(task.id, task.events, task.attempt, None, payload.kind, moment, text)])


def append_state(session: Session, scope: Scope, task: TaskRow, payload: StateChanged) -> None:
    """Append a move to another state."""
    append_own(session, scope, task, payload.model_dump(mode="json"))


def after(
    session: Session, scope: Scope, task_id: str, n: int, limit: int, kinds: Iterable[str] | None = None
) -> Sequence[EventRow]:
    """Events with a number above `n`, oldest first."""
    query = (
        select(EventRow).where(EventRow.task_id == task_id, EventRow.n > n).order_by(EventRow.n).limit(limit)
    )
    if kinds:
        query = query.where(EventRow.kind.in_(list(kinds)))
    return session.scalars(within(query, scope, EventRow)).all()


def marks(session: Session, scope: Scope, task_ids: Sequence[str]) -> list[Mark]:
    """How far the logs of tasks go; those that are not there are left out."""
    rows = session.connection().execute(within(_MARKS, scope, TaskRow), {"ids": list(task_ids)})
    return [Mark(*row) for row in rows]


def stored_after(
    session: Session, scope: Scope, task_id: str, n: int, limit: int, up_to: int
) -> Iterator[Stored]:
    """Events with a number above `n` (and none above `up_to`), oldest first, read as they are asked for."""
    asked = {"of": task_id, "after": n, "up_to": up_to, "many": limit}
    query = within(_STORED_AFTER, scope, EventRow)
    for row in session.connection().execute(query, asked, execution_options={"yield_per": 64}):
        yield Stored(*row)


def metrics_at(
    session: Session, scope: Scope, task_id: str, steps: Collection[int], before: int
) -> Sequence[EventRow]:
    """The metric events of some steps with numbers below `before`, oldest first. Looks at all that there are."""
    query = (
        select(EventRow)
        .where(EventRow.task_id == task_id, EventRow.kind == "metrics", EventRow.n < before)
        .where(EventRow.payload["step"].as_integer().in_(list(steps)))
        .order_by(EventRow.n)
    )
    return session.scalars(within(query, scope, EventRow)).all()


def last_of_kind(
    session: Session,
    scope: Scope,
    task_id: str,
    kind: str,
    limit: int,
    *,
    level: Iterable[str] | None = None,
    before: int | None = None,
) -> list[EventRow]:
    """The newest events of one kind (before a number), oldest first."""
    query = (
        select(EventRow)
        .where(EventRow.task_id == task_id, EventRow.kind == kind)
        .order_by(EventRow.n.desc())
        .limit(limit)
    )
    if level:
        query = query.where(EventRow.payload["level"].as_string().in_(list(level)))
    if before is not None:
        query = query.where(EventRow.n < before)
    return list(reversed(session.scalars(within(query, scope, EventRow)).all()))


def newest_of_each(session: Session, scope: Scope, task_id: str, kind: str, name: str) -> Sequence[EventRow]:
    """Of the events of one kind the newest for each value of a field of theirs; oldest first."""
    last = (
        select(func.max(EventRow.n))
        .where(EventRow.task_id == task_id, EventRow.kind == kind)
        .group_by(EventRow.payload[name].as_string())
    )
    query = select(EventRow).where(EventRow.task_id == task_id, EventRow.n.in_(last)).order_by(EventRow.n)
    return session.scalars(within(query, scope, EventRow)).all()
