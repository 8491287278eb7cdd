"""The platform's own: leases of its loops, warm runners, restores."""

import datetime as dt
from typing import Any

from sqlalchemy import Integer, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from tunesmith_platform.db.tables.base import Base, Big, Json, UtcDateTime


class LeaseRow(Base):
    """A named lease: who may do what only one may do at a time."""

    __tablename__ = "leases"
    name: Mapped[str] = mapped_column(String(40), primary_key=True)
    owner: Mapped[str | None] = mapped_column(String(40))
    until: Mapped[dt.datetime | None] = mapped_column(UtcDateTime)


class RunnerRow(Base):
    """A warm runner: a job on Ray that waits for one attempt. `job_id` is the attempt's, while the runner has it."""

    __tablename__ = "runners"
    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    state: Mapped[str] = mapped_column(String(20))
    code: Mapped[str] = mapped_column(String(80))
    job_id: Mapped[str | None] = mapped_column(String(80), unique=True)
    document_uri: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[dt.datetime] = mapped_column(UtcDateTime)
    seen_at: Mapped[dt.datetime | None] = mapped_column(UtcDateTime)
    assigned_at: Mapped[dt.datetime | None] = mapped_column(UtcDateTime)


class ServerUseRow(Base):
    """What a server lets run now, by keys: see `bounds.sharing`. `beat` rises with each word of it."""

    __tablename__ = "server_uses"
    server: Mapped[str] = mapped_column(String(40), primary_key=True)
    beat: Mapped[int] = mapped_column(Big)
    uses: Mapped[dict[str, Any]] = mapped_column(Json)
    said_at: Mapped[dt.datetime] = mapped_column(UtcDateTime)


class RestoreRow(Base):
    """A restore of this database from a backup. Attempts are numbered above `attempt_floor` since: see `restores`."""

    __tablename__ = "restores"
    number: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    attempt_floor: Mapped[int] = mapped_column(Integer)
    taken_at: Mapped[dt.datetime] = mapped_column(UtcDateTime)
    restored_at: Mapped[dt.datetime] = mapped_column(UtcDateTime)
