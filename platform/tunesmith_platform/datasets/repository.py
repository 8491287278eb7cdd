"""The data sets' queries."""

import datetime as dt
from collections.abc import Sequence

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from tunesmith.errors import NotFound
from tunesmith.lifecycle import State
from tunesmith.spec.problems import did_you_mean
from tunesmith_platform.db.scoping import expect, get, within
from tunesmith_platform.db.tables import DatasetRow, DatasetVersionRow, TaskRow, UploadRow
from tunesmith_platform.scope import Scope

_MOST_NAMES = 200
"""Data sets among whose names one is looked for that was meant."""
_OVER = [state for state in State if state.is_terminal]


def require(session: Session, scope: Scope, dataset: str) -> DatasetRow:
    """A data set by its id or name.

    Raises:
        NotFound: There is none.
    """
    row = get(session, scope, DatasetRow, dataset) or by_name(session, scope, dataset)
    if row is None:
        known = session.scalars(within(select(DatasetRow.name), scope, DatasetRow).limit(_MOST_NAMES)).all()
        meant = did_you_mean(dataset, known)
        shows = "`tunesmith data list` shows them."
        raise NotFound(
            f"There is no data set `{dataset}`.", hint=f"Did you mean `{meant}`? {shows}" if meant else shows
        )
    return row


def by_name(session: Session, scope: Scope, name: str) -> DatasetRow | None:
    """The data set with a name."""
    query = select(DatasetRow).where(DatasetRow.name == name)
    return session.scalars(within(query, scope, DatasetRow)).one_or_none()


def page(session: Session, scope: Scope, after: str | None, limit: int) -> Sequence[DatasetRow]:
    """Data sets by name, behind one."""
    query = within(select(DatasetRow).order_by(DatasetRow.name).limit(limit), scope, DatasetRow)
    return session.scalars(query.where(DatasetRow.name > after) if after else query).all()


def versions(session: Session, scope: Scope, dataset_id: str) -> Sequence[DatasetVersionRow]:
    """A data set's versions, newest first."""
    query = select(DatasetVersionRow).where(DatasetVersionRow.dataset_id == dataset_id)
    query = within(query, scope, DatasetVersionRow)
    return session.scalars(query.order_by(DatasetVersionRow.number.desc())).all()


def newest(session: Session, scope: Scope, dataset_ids: Sequence[str]) -> dict[str, DatasetVersionRow]:
    """The newest version of each data set."""
    last = (
        select(DatasetVersionRow.dataset_id, func.max(DatasetVersionRow.number).label("number"))
        .where(DatasetVersionRow.dataset_id.in_(dataset_ids))
        .group_by(DatasetVersionRow.dataset_id)
        .subquery()
    )
    query = select(DatasetVersionRow).join(
        last,
        (DatasetVersionRow.dataset_id == last.c.dataset_id) & (DatasetVersionRow.number == last.c.number),
    )
    query = within(query, scope, DatasetVersionRow)
    return {row.dataset_id: row for row in session.scalars(query)}


def require_version(session: Session, scope: Scope, row: DatasetRow, number: int | None) -> DatasetVersionRow:
    """A version by its number; the newest for None.

    Raises:
        NotFound: There is none.
    """
    found = versions(session, scope, row.id)
    for version in found:
        if number in (None, version.number):
            return version
    there = ", ".join(f"{row.name}@{version.number}" for version in found[:5])
    raise NotFound(f"There is no data set `{row.name}@{number}`.", hint=f"There is {there}.")


def is_shared(session: Session, scope: Scope, version: DatasetVersionRow) -> bool:
    """Whether another version, of any data set, has the same file: of anybody's, or its bytes would be removed."""
    expect(session, scope, version)
    query = select(func.count()).select_from(DatasetVersionRow).where(DatasetVersionRow.path == version.path)
    return (session.scalar(query) or 0) > 1


def is_copied(session: Session, scope: Scope, sha256: str, file_name: str) -> bool:
    """Whether a version, of any data set, has these bytes in our storage: anybody's, within the scope or not."""
    query = select(DatasetVersionRow.number).where(
        DatasetVersionRow.sha256 == sha256,
        DatasetVersionRow.file_name == file_name,
        DatasetVersionRow.is_copied,
    )
    return session.scalars(within(query.limit(1), scope.everything(), DatasetVersionRow)).first() is not None


def live_task_reading(session: Session, scope: Scope, path: str) -> TaskRow | None:
    """A task that is not over and reads a file: anybody's, within the scope or not."""
    scope = scope.everything()
    query = select(TaskRow).where(
        TaskRow.state.not_in(_OVER),
        (TaskRow.inputs["train_path"].as_string() == path)
        | (TaskRow.inputs["eval_path"].as_string() == path),
    )
    trains = session.scalars(within(query.limit(1), scope, TaskRow)).one_or_none()
    if trains is not None:
        return trains
    # Few work on data at a time, and each may read several files.
    works = select(TaskRow).where(TaskRow.state.not_in(_OVER), TaskRow.inputs["reads"].is_not(None))
    return next(
        (
            task
            for task in session.scalars(within(works, scope, TaskRow))
            if path in task.inputs.get("reads", [])
        ),
        None,
    )


def open_uploads(session: Session, scope: Scope) -> Sequence[UploadRow]:
    """Uploads that became nothing yet, oldest first."""
    query = select(UploadRow).where(UploadRow.dataset_id.is_(None)).order_by(UploadRow.id)
    return session.scalars(within(query, scope, UploadRow)).all()


def uploads_before(session: Session, scope: Scope, moment: dt.datetime) -> Sequence[UploadRow]:
    """Uploads that were begun before some moment."""
    query = select(UploadRow).where(UploadRow.created_at < moment)
    return session.scalars(within(query, scope, UploadRow)).all()


def upload(session: Session, scope: Scope, upload_id: str) -> UploadRow | None:
    """An upload; None where it was given up, or is another's."""
    return get(session, scope, UploadRow, upload_id)
