"""Training quotas, and the ledger of what was granted and used."""

import datetime as dt

from sqlalchemy import Index, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from tunesmith_platform.db.tables.base import Base, Big, UtcDateTime


class QuotaProjectRow(Base):
    """A project's switch, and the sums of its ledger. Whoever appends to the ledger holds this row."""

    __tablename__ = "quota_projects"
    project: Mapped[str] = mapped_column(String(120), primary_key=True)
    enabled: Mapped[bool] = mapped_column(default=False)
    low_threshold: Mapped[int] = mapped_column(Big, default=0)
    is_low: Mapped[bool] = mapped_column(default=False)
    granted: Mapped[int] = mapped_column(Big, default=0)
    charged: Mapped[int] = mapped_column(Big, default=0)
    reserved: Mapped[int] = mapped_column(Big, default=0)

    @property
    def available(self) -> int:
        """What a new task may reserve."""
        return self.granted - self.charged - self.reserved


class QuotaEntryRow(Base):
    """One entry of the quota ledger; never changed, never deleted, and it outlives its task.

    `amount` changes the balance, `reserved` what of it is held for tasks; the sums over a project are its row's.
    A step has one entry at most, so a checkpoint that is reported again is charged once.
    """

    __tablename__ = "quota_entries"
    id: Mapped[int] = mapped_column(Big, primary_key=True, autoincrement=True)
    project: Mapped[str] = mapped_column(String(120))
    time: Mapped[dt.datetime] = mapped_column(UtcDateTime)
    kind: Mapped[str] = mapped_column(String(20))
    amount: Mapped[int] = mapped_column(Big, default=0)
    reserved: Mapped[int] = mapped_column(Big, default=0)
    available: Mapped[int] = mapped_column(Big)
    task_id: Mapped[str | None] = mapped_column(String(40))
    step: Mapped[int | None] = mapped_column(Big)
    note: Mapped[str] = mapped_column(Text, default="")
    by: Mapped[str] = mapped_column(String(80))
    key: Mapped[str | None] = mapped_column(String(200))
    __table_args__ = (
        Index("ix_quota_entries_project", "project", "id"),
        Index("ux_quota_entries_step", "task_id", "step", unique=True),
        Index("ux_quota_entries_key", "project", "by", "key", unique=True),
    )
