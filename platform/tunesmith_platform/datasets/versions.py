"""Entering a version of a data set: the next number, unless the newest one has these bytes already.

Runs in the caller's transaction; the file lies where it stays by then.
"""

from typing import Any, NamedTuple

from sqlalchemy.orm import Session

from tunesmith.dataset_views import DatasetView, VersionView
from tunesmith.errors import Conflict
from tunesmith_platform.clock import new_id, now
from tunesmith_platform.datasets import repository
from tunesmith_platform.db.scoping import sees
from tunesmith_platform.db.tables import DatasetRow, DatasetVersionRow
from tunesmith_platform.scope import Scope


class Kept(NamedTuple):
    """A file that was looked at, and where it lies for good."""

    path: str
    sha256: str
    stamp: list[int]
    is_copied: bool
    source: str
    file_name: str
    facts: dict[str, Any]
    lineage: dict[str, Any] | None = None


def refuse_others(session: Session, scope: Scope, name: str) -> DatasetRow | None:
    """The data set of a name, which is one of the scope's; None where nobody has one.

    Raises:
        Conflict: It is of another user or project: a name means one data set for all.
    """
    row = repository.by_name(session, scope.everything(), name)
    if row is not None and not sees(session, scope, row):
        raise Conflict(
            f"Another user or project has a data set named `{name}`.",
            hint="Choose another name: `--name NAME`.",
        )
    return row


def enter(session: Session, scope: Scope, name: str, kept: Kept) -> tuple[DatasetView, bool]:
    """Make a file the newest version of a data set; one with the same bytes as the newest is found, not made.

    Returns:
        The data set, and whether the version is new.

    Raises:
        Conflict: The name is another user's.
    """
    moment = now()
    row = refuse_others(session, scope, name)
    if row is None:
        row = DatasetRow(
            **scope.stamp(),
            id=new_id("dataset"),
            name=name,
            numbers=0,
            created_at=moment,
            updated_at=moment,
        )
        session.add(row)
        session.flush()
    every = list(repository.versions(session, scope, row.id))
    if every and every[0].sha256 == kept.sha256 and every[0].is_copied == kept.is_copied:
        return dataset_view(row, every), False
    row.numbers += 1
    row.updated_at = moment
    version = DatasetVersionRow(
        dataset_id=row.id,
        number=row.numbers,
        sha256=kept.sha256,
        bytes=kept.stamp[0],
        file_name=kept.file_name,
        path=kept.path,
        stamp=kept.stamp,
        is_copied=kept.is_copied,
        source=kept.source,
        facts=kept.facts,
        lineage=kept.lineage,
        created_at=moment,
    )
    session.add(version)
    session.flush()
    return dataset_view(row, [version, *every]), True


def dataset_view(row: DatasetRow, found: list[DatasetVersionRow], latest: int | None = None) -> DatasetView:
    """A data set with some of its versions as the API shows it, newest first."""
    return DatasetView(
        id=row.id,
        name=row.name,
        latest=found[0].number if latest is None else latest,
        versions=[
            VersionView(
                number=version.number,
                sha256=version.sha256,
                bytes=version.bytes,
                file_name=version.file_name,
                source=version.source,
                is_copied=version.is_copied,
                created_at=version.created_at,
                lineage=version.lineage,
                **version.facts,
            )
            for version in found
        ],
        created_at=row.created_at,
        updated_at=row.updated_at,
    )
