"""Uploads that survive a broken line: begun with a size, sent in pieces by offset, finished with a check.

What has arrived is the size of a file on disk, so that nothing else can be out of step with it. Knows bytes; what
becomes of them is the registry's matter.
"""

import contextlib
import datetime as dt
import fcntl
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from pydantic import Field

from tunesmith.dataset_views import DatasetView, UploadView
from tunesmith.errors import Conflict, InvalidInput, NotFound, TooLarge, TooManyRequests
from tunesmith.limits import MAX_COUNT
from tunesmith.removal import discard_file
from tunesmith.spec.dataset import DATASET_NAME
from tunesmith.spec.given import Given
from tunesmith_platform.clock import new_id, now
from tunesmith_platform.dataset_names import name_of, safe_file_name
from tunesmith_platform.datasets import repository
from tunesmith_platform.datasets.service import DatasetService
from tunesmith_platform.db.engine import Database, advisory_lock
from tunesmith_platform.db.tables import UploadRow
from tunesmith_platform.scope import INSTALLATION, Scope
from tunesmith_platform.settings import Settings

MAX_OPEN = 16
"""Uploads that one user may have open."""
KEPT = dt.timedelta(hours=48)
_SPARE_BYTES = 512 * 1024**2
"""Left free on the disk."""
_WAY_OUT = "Finish one of them, or give it up: `tunesmith data uploads` lists them."


class NewUpload(Given):
    """A file that is about to be sent."""

    file_name: str = Field(
        min_length=1, max_length=120, description="Its name, whose ending tells CSV and text."
    )
    bytes: int = Field(gt=0, le=MAX_COUNT, description="Its size.")
    name: str | None = Field(
        None, pattern=DATASET_NAME, description="The data set; the file's own name when left out."
    )
    sha256: str | None = Field(
        None, pattern="^[0-9a-f]{64}$", description="Of its bytes: what arrives is held against it."
    )


class UploadService:
    """Uploads: begin, send, ask how far, finish, give up."""

    def __init__(self, database: Database, settings: Settings, datasets: DatasetService) -> None:
        self._database = database
        self._settings = settings
        self._datasets = datasets

    def begin(self, scope: Scope, new: NewUpload) -> UploadView:
        """Begin an upload of a user's.

        Raises:
            TooLarge: The file is larger than allowed, or than the disk has room for besides what was promised before.
            TooManyRequests: The user has too many uploads open, or they come to too much.
        """
        file_name = safe_file_name(new.file_name)
        self._give_up_old()
        free = shutil.disk_usage(self._datasets.scratch()).free - _SPARE_BYTES
        with self._database.write() as session:
            advisory_lock(session, "uploads")
            waiting = repository.open_uploads(session, INSTALLATION)  # they share one disk
            room = min(self._settings.max_dataset_bytes, free - sum(map(self._missing, waiting)))
            if new.bytes > room:
                raise TooLarge(
                    f"The file has {new.bytes} bytes; at most {max(0, room)} can be taken now.",
                    hint="Lay it into an allowed folder of the server, and register its path.",
                )
            own = repository.open_uploads(session, scope.own())
            if len(own) >= MAX_OPEN:
                raise TooManyRequests(f"You have {MAX_OPEN} uploads open already.", hint=_WAY_OUT)
            promised = new.bytes + sum(row.bytes for row in own)
            if promised > self._settings.max_open_upload_bytes:
                raise TooManyRequests(
                    f"Your open uploads come to {promised} bytes with this one; at most "
                    f"{self._settings.max_open_upload_bytes} may be under way.",
                    hint=_WAY_OUT,
                )
            row = UploadRow(
                **scope.stamp(),
                id=new_id("upload"),
                name=new.name or name_of(file_name),
                file_name=file_name,
                bytes=new.bytes,
                sha256=new.sha256,
                created_at=now(),
            )
            session.add(row)
        self._part(row.id).touch(mode=0o600)
        return self._view(row)

    def open(self, scope: Scope) -> list[UploadView]:
        """A user's uploads that became nothing yet, oldest first."""
        self._give_up_old()
        with self._database.read() as session:
            return [self._view(row) for row in repository.open_uploads(session, scope.own())]

    def get(self, scope: Scope, upload_id: str) -> UploadView:
        """How far an upload is. Others' are as if they were not there: here, and wherever one is named."""
        return self._view(self._require(scope, upload_id))

    def put(self, scope: Scope, upload_id: str, offset: int, data: bytes) -> UploadView:
        """Take a piece; the same piece again changes nothing.

        Raises:
            Conflict: Bytes before it are missing; `details` has the `offset` to go on at.
            InvalidInput: It reaches beyond the promised size.
        """
        row = self._require(scope, upload_id)
        if offset + len(data) > row.bytes:
            raise InvalidInput(
                f"The piece ends at byte {offset + len(data)}; the file was promised to have {row.bytes}.",
                field="offset",
                hint="Begin a new upload when the file has grown.",
            )
        with self._alone(upload_id):
            row = self._require(scope, upload_id)  # it may have been finished or given up meanwhile
            if row.dataset_id is not None:
                return self._view(row)
            part = self._part(upload_id)
            arrived = _size(part)
            if offset > arrived:
                raise Conflict(
                    f"Bytes {arrived} to {offset} have not arrived.",
                    hint="Go on at `details.offset`.",
                    details={"offset": arrived},
                )
            handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW, 0o600)
            try:
                rest = memoryview(data)[max(0, arrived - offset) :]
                at = max(offset, arrived)
                while rest:
                    written = os.pwrite(handle, rest, at)
                    rest, at = rest[written:], at + written
            finally:
                os.close(handle)
        return self._view(row)

    def finish(self, scope: Scope, upload_id: str) -> tuple[DatasetView, bool]:
        """Make what has arrived a version of its data set; asked again, it answers the same.

        Raises:
            Conflict: Bytes are missing.
            InvalidData: The bytes are not those that were promised, or hold no rows that can be read.
        """
        row = self._require(scope, upload_id)
        with self._alone(upload_id):
            row = self._require(scope, upload_id)
            if row.dataset_id is not None:
                return self._datasets.get(scope, row.dataset_id), False
            part = self._part(upload_id)
            arrived = _size(part)
            if arrived < row.bytes:
                raise Conflict(
                    f"{row.bytes - arrived} bytes have not arrived.",
                    hint="Go on at `details.offset`.",
                    details={"offset": arrived},
                )
            view, made = self._datasets.take(
                scope, row.name, part, row.file_name, row.sha256, source="upload"
            )
            with self._database.write() as session:
                stored = repository.upload(session, scope.own(), upload_id)
                if stored is not None:
                    stored.dataset_id = view.id
            return view, made

    def give_up(self, scope: Scope, upload_id: str) -> None:
        """Remove what has arrived."""
        self._require(scope, upload_id)
        with self._alone(upload_id):  # a piece that is being written would leave a file that is nobody's
            self._remove(upload_id)

    # --- the parts

    def _give_up_old(self) -> None:
        with self._database.read() as session:
            old = repository.uploads_before(session, INSTALLATION, now() - KEPT)
        for row in old:
            moved = self._moved_at(row)
            if row.dataset_id is None and moved >= now() - KEPT:
                continue
            # One that is being sent or finished is not given up.
            with contextlib.suppress(BlockingIOError), self._alone(row.id, wait=False):
                self._remove(row.id)

    def _remove(self, upload_id: str) -> None:
        with self._database.write() as session:
            row = repository.upload(session, INSTALLATION, upload_id)
            if row is not None:
                session.delete(row)
        discard_file(self._part(upload_id))

    def _missing(self, row: UploadRow) -> int:
        return max(0, row.bytes - _size(self._part(row.id)))

    def _require(self, scope: Scope, upload_id: str) -> UploadRow:
        with self._database.read() as session:
            row = repository.upload(session, scope.own(), upload_id)
        if row is None:
            raise NotFound(f"There is no upload `{upload_id}`.", hint="Begin it again.")
        return row

    @contextlib.contextmanager
    def _alone(self, upload_id: str, *, wait: bool = True) -> Iterator[None]:
        """Be the only one, of all processes on the state folder, that touches what has arrived of an upload.

        The system's own lock on a file beside it, which ends with its process, however that ends.

        Raises:
            BlockingIOError: Another does, and `wait` is off.
        """
        file = self._lock_file(upload_id)
        while True:
            handle = os.open(file, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
                if not _is_at(file, handle):
                    continue  # who had it removed the file: a lock on that keeps nobody out
                try:
                    yield
                finally:
                    discard_file(file)
                return
            finally:
                os.close(handle)

    def _lock_file(self, upload_id: str) -> Path:
        return self._datasets.scratch() / f"{upload_id}.lock"

    def _part(self, upload_id: str) -> Path:
        return self._datasets.scratch() / f"{upload_id}.part"

    def _moved_at(self, row: UploadRow) -> dt.datetime:
        try:
            return dt.datetime.fromtimestamp(self._part(row.id).stat().st_mtime, dt.UTC)
        except OSError:
            return row.created_at

    def _view(self, row: UploadRow) -> UploadView:
        return UploadView(
            id=row.id,
            name=row.name,
            file_name=row.file_name,
            bytes=row.bytes,
            offset=row.bytes if row.dataset_id else _size(self._part(row.id)),
            expires_at=self._moved_at(row) + KEPT,
        )


def _is_at(file: Path, handle: int) -> bool:
    """Whether an open file is still the one at its place."""
    try:
        return os.path.samestat(file.stat(), os.fstat(handle))
    except FileNotFoundError:
        return False


def _size(part: Path) -> int:
    try:
        return part.stat().st_size
    except FileNotFoundError:
        return 0
