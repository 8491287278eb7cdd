"""What every table is made of: its base, JSON, large numbers, points in time."""

import datetime as dt

from sqlalchemy import JSON, BigInteger, Integer, String
from sqlalchemy import DateTime as SqlDateTime
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.engine import Dialect
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.types import TypeDecorator

Json = JSON().with_variant(JSONB(), "postgresql")
Big = BigInteger().with_variant(Integer(), "sqlite")
SQLITE_ONLY, POSTGRESQL_ONLY = {"dialect": "sqlite"}, {"dialect": "postgresql"}
"""Mark an index that other databases do not have."""


class UtcDateTime(TypeDecorator[dt.datetime]):
    """A point in time; SQLite keeps no zone, so it is stored as UTC and read back with its zone."""

    impl = SqlDateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: dt.datetime | None, dialect: Dialect) -> dt.datetime | None:
        """To UTC; a time without a zone is a mistake of ours."""
        if value is None:
            return None
        assert value.tzinfo is not None, "a time without a zone"
        return value.astimezone(dt.UTC)

    def process_result_value(self, value: dt.datetime | None, dialect: Dialect) -> dt.datetime | None:
        """With its zone."""
        if value is None:
            return None
        return value if value.tzinfo else value.replace(tzinfo=dt.UTC)


class Base(DeclarativeBase):
    """Every table's base."""


class OwnedRow:
    """What says whose a row is. Who makes one stamps it from its scope (`Scope.stamp`); there is no default."""

    owner: Mapped[str] = mapped_column(String(120))
    project: Mapped[str] = mapped_column(String(120))
