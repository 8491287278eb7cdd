"""The registry of data sets: names with numbered versions, each a file whose bytes never change.

An uploaded file, or one from a bucket, is kept in the platform's storage under its SHA-256; a path in an allowed folder
stays where it is, and is refused once its bytes are others. Files are read before a transaction begins.
"""

import contextlib
import hashlib
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pydantic import Field
from sqlalchemy.orm import Session

from tunesmith import views
from tunesmith.data_step import FOLDER, place_of
from tunesmith.dataset_views import DatasetView, Part
from tunesmith.errors import Conflict, InvalidData, InvalidInput, NotFound, TooLarge
from tunesmith.removal import claim, discard, discard_file, part_of, remove_empty, remove_names
from tunesmith.spec.base import Spec
from tunesmith.spec.dataset import DATASET_NAME
from tunesmith.spec.given import Given
from tunesmith.storage import local_path, open_storage
from tunesmith_platform.clock import new_id
from tunesmith_platform.dataset_names import file_name_of, is_name, name_of, split
from tunesmith_platform.datasets import repository
from tunesmith_platform.datasets.seen import SeenDatasets
from tunesmith_platform.datasets.versions import Kept, dataset_view, enter, refuse_others
from tunesmith_platform.db.engine import Database
from tunesmith_platform.db.tables import DatasetRow, DatasetVersionRow
from tunesmith_platform.leases import held
from tunesmith_platform.paths import allowed_path, allowed_uri
from tunesmith_platform.sandbox import checks
from tunesmith_platform.scope import Scope
from tunesmith_platform.settings import Settings
from tunesmith_platform.tasks.find_inputs import StoredFile

_OWNER = "datasets"
_PIECE = 4 * 1024**2
_BYTES_SECONDS = 600.0
"""How long one waits for another that stores the same bytes, perhaps in a bucket far away."""


class NewDataset(Given):
    """A file to register."""

    source: str = Field(
        min_length=1,
        max_length=4096,
        description="An absolute path, or `s3://bucket/key`, as the server sees it.",
    )
    name: str | None = Field(None, pattern=DATASET_NAME, description="The file's own name when left out.")


class DatasetService:
    """Data sets: register, list, show, remove, and find the file that a task names."""

    def __init__(self, database: Database, settings: Settings) -> None:
        self._database = database
        self._settings = settings

    # --- what users do

    def page(self, scope: Scope, after: str | None = None, limit: int = 100) -> views.Page[DatasetView]:
        """Data sets by name, each with its newest version."""
        with self._database.read() as session:
            rows = repository.page(session, scope, after, limit + 1)
            newest = repository.newest(session, scope, [row.id for row in rows])
        shown = [dataset_view(row, [newest[row.id]]) for row in rows[:limit] if row.id in newest]
        more = len(rows) > limit
        return views.Page(data=shown, has_more=more, next=rows[limit - 1].name if more else None)

    def get(self, scope: Scope, dataset: str) -> DatasetView:
        """A data set with all its versions, by id or name; `name@number` shows that version alone.

        Raises:
            NotFound: There is none.
        """
        name, number = split(dataset)
        with self._database.read() as session:
            row = repository.require(session, scope, name)
            found = repository.versions(session, scope, row.id)
            if number is not None:
                return dataset_view(
                    row, [repository.require_version(session, scope, row, number)], found[0].number
                )
        return dataset_view(row, list(found))

    def register(self, scope: Scope, new: NewDataset) -> tuple[DatasetView, bool]:
        """Make a file the newest version of a data set; one with the same bytes as the newest is found, not made.

        Raises:
            InvalidData: It holds no rows that can be read.
            PathNotAllowed: It lies outside what the platform may read.
            TooLarge: It is larger than allowed.
        """
        if urlsplit(new.source).scheme not in ("", "file"):
            return self._register_uri(scope, new)
        path = allowed_path(str(local_path(new.source) or ""), self._settings.roots())
        if path.is_dir():
            raise InvalidData(
                f"`{new.source}` is a folder.",
                hint="Load its files into one data set: `POST /v1/datasets:run` with `load`, or "
                f"`tunesmith data run load {new.source}`.",
            )
        kind = checks.recognised(path)
        self._refuse_large(path.stat().st_size)
        sha256, stamp = _sum(path)
        kept = Kept(str(path), sha256, stamp, False, str(path), file_name_of(path.name), kind.model_dump())
        return self._enter(scope, new.name or name_of(path.name), kept)

    def take(
        self,
        scope: Scope,
        name: str,
        file: Path,
        file_name: str,
        sha256: str | None,
        source: str,
        *,
        lineage: dict[str, Any] | None = None,
    ) -> tuple[DatasetView, bool]:
        """Make a file that we hold the newest version of a data set; it is moved into the storage.

        Args:
            scope: Whose it becomes.
            name: The data set's name.
            file: The file; consumed unless it is refused.
            file_name: What its user calls it: the ending tells CSV and text.
            sha256: What its bytes were promised to be.
            source: Where it came from.
            lineage: What it was made of, where the platform made it: a `Lineage`.

        Raises:
            InvalidData: Its bytes are others than promised, or hold no rows that can be read.
        """
        found, stamp = _sum(file)
        if sha256 is not None and found != sha256:
            raise InvalidData(
                f"`{file_name}` has another SHA-256 than was promised: {found}.",
                hint="It was changed while it was sent, or damaged on the way: send it again.",
            )
        folder = file.with_name(f"{file.name}-{found[:12]}")
        claim(folder, _OWNER)
        named = folder / "file" / file_name
        named.parent.mkdir(exist_ok=True)
        file.rename(named)  # its ending tells what it is
        try:
            kind = checks.recognised(named)
            with self._bytes_of(place_of(found, file_name)):  # nobody removes what is found to be stored
                path = self._store(named.parent, found, file_name)
                try:
                    kept = Kept(path, found, stamp, True, source, file_name, kind.model_dump(), lineage)
                    entered = self._enter(scope, name, kept)
                except Exception:
                    _bring_back(path, named)
                    raise
        except Exception as error:
            if named.exists():
                named.rename(file)
            raise _without(f"{named.parent}/", error) if isinstance(error, InvalidData) else error from None
        finally:
            discard(folder, _OWNER)
        return entered

    def remove(self, scope: Scope, dataset: str) -> None:
        """Take a data set, or one version of it, from the registry; bytes that only it had are removed.

        Raises:
            NotFound: There is none.
            Conflict: A task that is not over reads it.
        """
        name, number = split(dataset)
        for place, file_name in self._take_out(scope, name, number):
            with self._bytes_of(place):
                if self._is_registered(scope, place):
                    continue  # the same bytes came again meanwhile
                # The place is named by the hash of what it holds: the one file that the version had.
                remove_names(open_storage(self._settings.storage_uri), f"{FOLDER}/{place}", file_name)
                discard_file(self._cache(place) / file_name)
                remove_empty(self._cache(place))

    def _take_out(self, scope: Scope, name: str, number: int | None) -> list[tuple[str, str]]:
        """Remove rows; answers the places, and the names, of bytes that nobody has any more."""
        orphans: list[tuple[str, str]] = []
        with self._database.write() as session:
            row = repository.require(session, scope, name)
            every = list(repository.versions(session, scope, row.id))
            going = every if number is None else [repository.require_version(session, scope, row, number)]
            for version in going:
                self._refuse_read(session, scope, row, version)
                if version.is_copied and not repository.is_shared(session, scope, version):
                    orphans.append((place_of(version.sha256, version.file_name), version.file_name))
                session.delete(version)
                session.flush()
            if len(going) == len(every):
                session.delete(row)
        return orphans

    # --- what tasks ask

    def seen_by(self, scope: Scope) -> SeenDatasets:
        """The registry as a scope sees it, for those who look for files and know nothing of scopes."""
        return SeenDatasets(self, scope)

    def pinned(self, scope: Scope, spec: Spec, fields: Iterable[str]) -> dict[str, str]:
        """Of those parameters that name a data set: the version that they mean now, which may be another one later.

        Raises:
            InvalidInput: There is no such data set.
        """
        given = {name: getattr(spec, name, None) for name in fields}
        return {
            name: self.find(scope, value).version for name, value in given.items() if value and is_name(value)
        }

    def expect_free(self, scope: Scope, name: str) -> None:
        """See that rows which are made later can be entered under a name.

        Raises:
            InvalidInput: The name is that of a data set which the scope does not see.
        """
        with self._database.read() as session:
            try:
                refuse_others(session, scope, name)
            except Conflict as error:
                raise InvalidInput(error.message, hint="Choose another name.") from error

    def find(self, scope: Scope, dataset: str) -> StoredFile:
        """The file of `name`, `name@number` or an id, on this machine and with its own bytes.

        Raises:
            InvalidInput: There is none, or its file was changed or removed since it was registered.
        """
        name, number = split(dataset)
        try:
            with self._database.read() as session:
                row = repository.require(session, scope, name)
                version = repository.require_version(session, scope, row, number)
        except NotFound as error:
            raise InvalidData(
                error.message,
                hint=f"{error.hint} A file is named by its absolute path.",
            ) from None
        full = f"{row.name}@{version.number}"
        if version.is_copied:
            return StoredFile(self._local(version), full, version.sha256, _parts(version))
        path = allowed_path(version.path, self._settings.roots())
        try:
            stamp = _stamp(path)
            same = stamp == version.stamp or _sum(path)[0] == version.sha256
        except OSError as error:
            raise InvalidData(
                f"The file of `{full}` cannot be read: {path}: {error.strerror}.", hint="Bring it back."
            ) from error
        if not same:
            raise InvalidData(
                f"The file of `{full}` was changed since it was registered: {path}.",
                hint=f"Register it again as a new version: `tunesmith data add {path} --name {row.name}`.",
            )
        return StoredFile(path, full, version.sha256, _parts(version))

    # --- the parts

    def _bytes_of(self, place: str) -> contextlib.AbstractContextManager[None]:
        """Be the only one, of all processes, that stores or removes these bytes; other bytes wait for nothing."""
        name = f"bytes {hashlib.sha256(place.encode()).hexdigest()[:32]}"
        return held(self._database, name, _BYTES_SECONDS)

    def _is_registered(self, scope: Scope, place: str) -> bool:
        sha256, _, file_name = place.partition("-")
        with self._database.read() as session:
            return repository.is_copied(session, scope, sha256, file_name)

    def _store(self, folder: Path, sha256: str, file_name: str) -> str:
        """Keep a folder with one file; answers where the file is."""
        storage = open_storage(self._settings.storage_uri)
        place = f"{FOLDER}/{place_of(sha256, file_name)}"
        if file_name not in storage.list(place):
            storage.put_folder(folder, place)
        root = local_path(self._settings.storage_uri)
        return str(root / place / file_name) if root else f"{self._settings.storage_uri}/{place}/{file_name}"

    def _register_uri(self, scope: Scope, new: NewDataset) -> tuple[DatasetView, bool]:
        uri = allowed_uri(new.source, self._settings.allowed_uris)
        folder, _, file_name = uri.rpartition("/")
        part = self.scratch() / new_id("fetch")
        try:
            open_storage(folder).get_file(file_name, part)
            self._refuse_large(part.stat().st_size)
            return self.take(
                scope, new.name or name_of(file_name), part, file_name_of(file_name), sha256=None, source=uri
            )
        except FileNotFoundError:
            raise InvalidData(f"There is no file `{uri}`.", hint="Check the bucket and the key.") from None
        finally:
            discard_file(part)

    def _enter(self, scope: Scope, name: str, kept: Kept) -> tuple[DatasetView, bool]:
        # Another process may take the name, or the number, at the same moment.
        return self._database.retry_on_conflict(lambda session: enter(session, scope, name, kept))

    def _refuse_read(
        self, session: Session, scope: Scope, row: DatasetRow, version: DatasetVersionRow
    ) -> None:
        path = str(self._local_path(version)) if version.is_copied else version.path
        task = repository.live_task_reading(session, scope, path)
        if task is not None:
            raise Conflict(
                f"Task `{task.name}` reads `{row.name}@{version.number}` and is {task.state}."
                if scope.sees(task.owner, task.project)
                else f"A task of another user reads `{row.name}@{version.number}`.",
                hint=f"Wait for it, or stop it first: `tunesmith stop {task.id}`."
                if scope.sees(task.owner, task.project)
                else "Wait for it.",
            )

    def _refuse_large(self, size: int) -> None:
        if size > self._settings.max_dataset_bytes:
            raise TooLarge(
                f"The file has {size} bytes; at most {self._settings.max_dataset_bytes} are taken.",
                hint="Its administrator sets the limit with `TUNESMITH_MAX_DATASET_BYTES`.",
            )

    def _cache(self, place: str) -> Path:
        return self._settings.work_dir / FOLDER / place

    def _local_path(self, version: DatasetVersionRow) -> Path:
        if local_path(self._settings.storage_uri) is not None:
            return Path(version.path)
        return self._cache(place_of(version.sha256, version.file_name)) / version.file_name

    def _local(self, version: DatasetVersionRow) -> Path:
        """A copied version's file on this machine; fetched from the bucket when it is not here."""
        path = self._local_path(version)
        if not path.is_file():
            if local_path(self._settings.storage_uri) is not None:
                raise InvalidData(f"The stored file is gone: {path}.", hint="Add it again.")
            path.parent.mkdir(parents=True, exist_ok=True)
            part = part_of(path)
            open_storage(self._settings.storage_uri).get_file(
                f"{FOLDER}/{place_of(version.sha256, version.file_name)}/{version.file_name}", part
            )
            if _sum(part)[0] != version.sha256:
                discard_file(part)
                raise InvalidData("The stored file is damaged.", hint="Add it again.")
            part.replace(path)
        return path

    def scratch(self) -> Path:
        """Where files lie until they are registered."""
        folder = self._settings.home / "uploads"
        folder.mkdir(parents=True, exist_ok=True)
        return folder


def _without(folder: str, error: InvalidData) -> InvalidData:
    """The same error without the name of our own folder."""
    for problem in error.problems:
        problem.message = problem.message.replace(folder, "")
    return InvalidData(error.message.replace(folder, ""), hint=error.hint, problems=error.problems)


def _stamp(path: Path) -> list[int]:
    stat = path.stat()
    return [stat.st_size, stat.st_mtime_ns]


def _sum(path: Path) -> tuple[str, list[int]]:
    digest = hashlib.sha256()
    stamp = _stamp(path)
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            digest.update(piece)
    return digest.hexdigest(), stamp


def _bring_back(stored: str, file: Path) -> None:
    """Put a file that was moved into the storage where it was: its user can have it entered again.

    The stored one stays. Its place is named by its bytes: the next try finds it there, and so may another process now.
    """
    if file.exists():
        return  # a storage that copies left it
    file.parent.mkdir(exist_ok=True)
    try:
        shutil.copyfile(stored, file)
    except OSError:  # no room, most likely
        discard_file(file)
        file.hardlink_to(stored)


def _parts(version: DatasetVersionRow) -> tuple[Part, ...]:
    """What each data set gave to a version that was mixed."""
    return tuple(Part.model_validate(part) for part in (version.lineage or {}).get("parts", []))
