"""The queries of what each server lets run for which key. Whosever it is, every server counts all of it."""

import datetime as dt
from collections.abc import Collection, Sequence

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from tunesmith_platform.db.tables import ServerUseRow


def newest(session: Session, since: dt.datetime) -> Sequence[ServerUseRow]:
    """What servers have said since a moment."""
    return session.scalars(select(ServerUseRow).where(ServerUseRow.said_at > since)).all()


def put(session: Session, row: ServerUseRow) -> None:
    """Write down what a server lets run; it alone does."""
    session.merge(row)


def remove(session: Session, servers: Collection[str], before: dt.datetime) -> None:
    """Forget servers, and those that have said nothing since a moment."""
    old = ServerUseRow.said_at <= before
    session.execute(delete(ServerUseRow).where(ServerUseRow.server.in_(servers) | old))
