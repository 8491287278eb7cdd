"""Packages: what each takes of the storage, whether it is to stay, and when its files were removed."""

import datetime as dt

from sqlalchemy import ForeignKey, Index, Integer, String, Text, false
from sqlalchemy.orm import Mapped, mapped_column

from tunesmith_platform.db.tables.base import Base, Big, UtcDateTime


class PackageRow(Base):
    """A package that was reported complete. `removed_at`: it is no longer handed out; `is_gone`: its files are removed.

    Between the two the removal is under way, or was cut off: whoever looks next goes on with it.
    """

    __tablename__ = "packages"
    task_id: Mapped[str] = mapped_column(ForeignKey("tasks.id", ondelete="CASCADE"), primary_key=True)
    of_task_id: Mapped[str | None] = mapped_column(String(40))
    """The training whose model it is."""
    uri: Mapped[str] = mapped_column(Text)
    step: Mapped[int] = mapped_column(Big)
    bytes: Mapped[int] = mapped_column(Big)
    files: Mapped[int] = mapped_column(Integer)
    is_pinned: Mapped[bool] = mapped_column(default=False, server_default=false())
    removed_at: Mapped[dt.datetime | None] = mapped_column(UtcDateTime)
    is_gone: Mapped[bool] = mapped_column(default=False, server_default=false())
    created_at: Mapped[dt.datetime] = mapped_column(UtcDateTime)
    __table_args__ = (Index("ix_packages_of_task", "of_task_id"),)
