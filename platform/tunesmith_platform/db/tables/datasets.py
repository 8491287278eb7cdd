"""Data sets, their versions, and uploads under way."""

import datetime as dt
from typing import Any

from sqlalchemy import ForeignKey, Index, Integer, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from tunesmith_platform.db.tables.base import Base, Big, Json, OwnedRow, UtcDateTime


class DatasetRow(OwnedRow, Base):
    """A data set. `numbers` is the highest version number that was ever given: none is given twice."""

    __tablename__ = "datasets"
    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    name: Mapped[str] = mapped_column(String(120))
    numbers: Mapped[int] = mapped_column(Integer, default=0)
    created_at: Mapped[dt.datetime] = mapped_column(UtcDateTime)
    updated_at: Mapped[dt.datetime] = mapped_column(UtcDateTime)
    __table_args__ = (
        Index("ux_datasets_name", "name", unique=True),
        Index("ix_datasets_owner", "owner"),
    )


class DatasetVersionRow(Base):
    """One file of a data set. `path` lies in our storage when `is_copied`; else it is the user's own file.

    `stamp` (size, time of change) tells when a user's own file must be read again. `lineage` says what it was made of,
    where an operation made it.
    """

    __tablename__ = "dataset_versions"
    dataset_id: Mapped[str] = mapped_column(ForeignKey("datasets.id", ondelete="CASCADE"), primary_key=True)
    number: Mapped[int] = mapped_column(Integer, primary_key=True)
    sha256: Mapped[str] = mapped_column(String(64))
    bytes: Mapped[int] = mapped_column(Big)
    file_name: Mapped[str] = mapped_column(String(120))
    path: Mapped[str] = mapped_column(Text)
    stamp: Mapped[list[int]] = mapped_column(Json)
    is_copied: Mapped[bool] = mapped_column()
    source: Mapped[str] = mapped_column(Text)
    facts: Mapped[dict[str, Any]] = mapped_column(Json)
    lineage: Mapped[dict[str, Any] | None] = mapped_column(Json)
    created_at: Mapped[dt.datetime] = mapped_column(UtcDateTime)
    __table_args__ = (Index("ix_dataset_versions_path", "path"),)


class UploadRow(OwnedRow, Base):
    """An upload: what was promised, and what became of it. What has arrived is the size of its file."""

    __tablename__ = "uploads"
    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    name: Mapped[str] = mapped_column(String(120))
    file_name: Mapped[str] = mapped_column(String(120))
    bytes: Mapped[int] = mapped_column(Big)
    sha256: Mapped[str | None] = mapped_column(String(64))
    dataset_id: Mapped[str | None] = mapped_column(String(40))
    created_at: Mapped[dt.datetime] = mapped_column(UtcDateTime)
    __table_args__ = (Index("ix_uploads_owner", "owner"),)
