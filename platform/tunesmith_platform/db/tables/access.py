"""Who comes in, with what, and where: keys, browsers' sessions, projects."""

import datetime as dt

from sqlalchemy import Index, String
from sqlalchemy.orm import Mapped, mapped_column

from tunesmith_platform.db.tables.base import Base, Big, Json, UtcDateTime


class ApiKeyRow(Base):
    """A key's hash, whose it is and what it may do; the key itself is nowhere stored here.

    `projects` lists those it works in; with NULL, all. `used_at` is brought up seldom. A revoked key
    stays: it says whose it was. `subject` is a hash of what an identity provider calls the person: nobody
    has the secret of such a key, only browsers' sessions stand for it. Revoked, it has none: who signs in
    again gets another.
    """

    __tablename__ = "api_keys"
    __table_args__ = (
        Index("ux_api_keys_id", "id", unique=True),
        Index("ux_api_keys_subject", "subject", unique=True),
    )
    sha256: Mapped[str] = mapped_column(String(64), primary_key=True)
    id: Mapped[str] = mapped_column(String(40))
    name: Mapped[str] = mapped_column(String(80))
    role: Mapped[str] = mapped_column(String(20))
    projects: Mapped[list[str] | None] = mapped_column(Json)
    created_by: Mapped[str] = mapped_column(String(80))
    created_at: Mapped[dt.datetime] = mapped_column(UtcDateTime)
    expires_at: Mapped[dt.datetime | None] = mapped_column(UtcDateTime)
    revoked_at: Mapped[dt.datetime | None] = mapped_column(UtcDateTime)
    used_at: Mapped[dt.datetime | None] = mapped_column(UtcDateTime)
    subject: Mapped[str | None] = mapped_column(String(64))


class BrowserRow(Base):
    """A browser's session, or the one-time code that becomes one; only the hash is stored."""

    __tablename__ = "browsers"
    __table_args__ = (Index("ix_browsers_expires", "expires_at"),)
    sha256: Mapped[str] = mapped_column(String(64), primary_key=True)
    is_code: Mapped[bool]
    key_sha256: Mapped[str] = mapped_column(String(64))
    created_at: Mapped[dt.datetime] = mapped_column(UtcDateTime)
    expires_at: Mapped[dt.datetime] = mapped_column(UtcDateTime)


class AuditRow(Base):
    """Who did what to what; stored with what was done, and never changed."""

    __tablename__ = "audit"
    __table_args__ = (
        Index("ix_audit_time", "time"),
        Index("ix_audit_who", "who", "id"),
        Index("ix_audit_subject", "subject", "id"),
    )
    id: Mapped[int] = mapped_column(Big, primary_key=True, autoincrement=True)
    time: Mapped[dt.datetime] = mapped_column(UtcDateTime)
    who: Mapped[str] = mapped_column(String(80))
    role: Mapped[str] = mapped_column(String(20))
    key_id: Mapped[str] = mapped_column(String(40))
    action: Mapped[str] = mapped_column(String(80))
    subject: Mapped[str] = mapped_column(String(300))
    request_id: Mapped[str] = mapped_column(String(40))
    address: Mapped[str] = mapped_column(String(60))


class ProjectRow(Base):
    """A project: what is made in it is seen and changed by those whose keys name it."""

    __tablename__ = "projects"
    project: Mapped[str] = mapped_column(String(120), primary_key=True)
    description: Mapped[str] = mapped_column(String(1000))
    created_by: Mapped[str] = mapped_column(String(80))
    created_at: Mapped[dt.datetime] = mapped_column(UtcDateTime)
