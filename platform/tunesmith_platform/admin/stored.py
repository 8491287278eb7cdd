"""What the database knows of the storage: what must be there for it to be worth something, and whether it is.

A backup holds no file of the storage, which is far larger and changes by whole results alone; it holds this list.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Iterator
from enum import StrEnum
from typing import Any, Literal

from pydantic import BaseModel
from sqlalchemy import Connection, select

from tunesmith.artifacts import MANIFEST, Manifest
from tunesmith.errors import TunesmithError
from tunesmith.storage import open_storage
from tunesmith_platform.db.tables import (
    CheckpointRow,
    DatasetVersionRow,
    ModelRow,
    PackageRow,
    TaskRow,
)

_AT_A_TIME = 500


class Stored(BaseModel):
    """One thing in the storage: a folder with a manifest, a folder, or a file."""

    what: Literal["checkpoint", "package", "model", "base model", "data set"]
    of: str
    uri: str
    bytes: int | None = None
    sha256: str | None = None
    """Of a checkpoint's manifest, or of a file."""


class Found(StrEnum):
    """How a thing is found where it should be."""

    THERE = "there"
    CHANGED = "changed"
    MISSING = "missing"
    UNREADABLE = "unreadable"


def every_stored(connection: Connection) -> Iterator[Stored]:
    """All that the database knows of, as it recorded it."""
    checkpoint, package, version = (
        CheckpointRow.__table__.c,
        PackageRow.__table__.c,
        DatasetVersionRow.__table__.c,
    )
    for row in _of(connection, checkpoint.task_id, checkpoint.step, checkpoint.uri, checkpoint.bytes,
                   checkpoint.manifest_sha256):  # fmt: skip
        yield Stored(
            what="checkpoint",
            of=f"{row.task_id}:{row.step}",
            uri=row.uri,
            bytes=row.bytes,
            sha256=row.manifest_sha256,
        )
    for row in _of(
        connection, package.task_id, package.uri, package.bytes, where=package.removed_at.is_(None)
    ):
        yield Stored(what="package", of=row.task_id, uri=row.uri, bytes=row.bytes)
    task = TaskRow.__table__.c
    for row in _of(connection, task.id, task.model_uri, where=task.model_uri.is_not(None)):
        yield Stored(what="model", of=row.id, uri=row.model_uri)
    for row in _of(
        connection, version.dataset_id, version.number, version.path, version.bytes, version.sha256
    ):
        of = f"{row.dataset_id}:{row.number}"
        yield Stored(what="data set", of=of, uri=row.path, bytes=row.bytes, sha256=row.sha256)
    model = ModelRow.__table__.c
    for row in _of(connection, model.name, model.path, model.sha256):
        yield Stored(what="base model", of=row.name, uri=row.path, sha256=row.sha256)


def _of(connection: Connection, *columns: Any, where: Any = None) -> Iterator[Any]:
    query = select(*columns) if where is None else select(*columns).where(where)
    yield from connection.execution_options(yield_per=_AT_A_TIME).execute(query)


def look(entry: Stored) -> Found:
    """Whether a thing is where it should be, with the sizes that were recorded. Its bytes are not read."""
    try:
        if entry.what == "data set":
            return _look_at_file(entry)
        storage = open_storage(entry.uri)
        said = storage.read(MANIFEST)
        if said is None:
            # A base model has no manifest, and a task's model of an early version may have none.
            is_there = entry.what in ("base model", "model") and bool(storage.list())
            return Found.THERE if is_there else Found.MISSING
        is_other = entry.what == "checkpoint" and hashlib.sha256(said).hexdigest() != entry.sha256
        manifest = Manifest.decode(said)
        if is_other or manifest is None:
            return Found.CHANGED
        sizes = storage.sizes()
        is_whole = all(sizes.get(file.path) == file.bytes for file in manifest.files)
        return Found.THERE if is_whole else Found.CHANGED
    except (OSError, TunesmithError):
        return Found.UNREADABLE


def _look_at_file(entry: Stored) -> Found:
    folder, _, name = entry.uri.rpartition("/")
    storage = open_storage(folder)
    place = storage.local(name)
    size = (place.stat().st_size if place.is_file() else None) if place else storage.sizes().get(name)
    if size is None:
        return Found.MISSING
    return Found.THERE if size == entry.bytes else Found.CHANGED


class Looked(BaseModel):
    """What was found of a backup's list."""

    counts: dict[str, int]
    not_there: list[tuple[Found, Stored]]


def look_at_all(lines: Iterator[bytes]) -> Looked:
    """Look at every entry of a list, as it was written into a backup."""
    counts: Counter[str] = Counter()
    not_there = []
    for line in lines:
        entry = Stored.model_validate(json.loads(line))
        found = look(entry)
        counts[found] += 1
        if found is not Found.THERE:
            not_there.append((found, entry))
    return Looked(counts={one.value: counts[one] for one in Found}, not_there=not_there)
