"""What lies in a platform's folders and is of use to nobody: found, and removed where it is proven ours.

The loops remove what they made when it is over; what is left here is what a crash, a lost database or a deletion that
was cut off left behind. Each kind names its proof. What has none stays, whatever it takes.
"""

import contextlib
import datetime as dt
import json
import logging
import os
import re
from collections.abc import Iterator
from pathlib import Path

from pydantic import BaseModel
from sqlalchemy import Connection, select

from tunesmith.artifacts import CHECKPOINTS, RESULTS
from tunesmith.errors import TunesmithError
from tunesmith.home import Home
from tunesmith.job import read_secret, report_token
from tunesmith.removal import claim, discard_file, remove_own
from tunesmith.storage import Storage, open_storage
from tunesmith_platform.clock import made_at, now
from tunesmith_platform.db.engine import Database
from tunesmith_platform.db.tables import RestoreRow, TaskRow, UploadRow
from tunesmith_platform.settings import Settings
from tunesmith_platform.tasks import files
from tunesmith_platform.tasks.files import TaskFiles

logger = logging.getLogger(__name__)

_TASK = re.compile(r"^task-[0-9a-z]{18}$")
_UPLOAD = re.compile(r"^(upload-[0-9a-z]{18})\.(part|lock)$")
_DOCUMENT = re.compile(r"^attempt-\d+\.json$")
_SESSION = re.compile(r"^session_\d{4}-\d\d-\d\d_[\d_-]+$")
_RAY = "ray"
_YOUNG = dt.timedelta(hours=1)
"""What was made so lately may be on its way into the database."""
DELETED_TASK, SCRATCH, UPLOAD, SESSION = "deleted task", "scratch", "upload", "Ray's logs"
WHY = {
    DELETED_TASK: "no task has its id, and its document is signed with this platform's secret",
    SCRATCH: "a work folder with the id of a task that is no more",
    UPLOAD: "no upload has its id",
    SESSION: "an earlier session in the folder that this platform's Ray has alone",
}
"""Why what is found is ours, by what it is."""


class Garbage(BaseModel):
    """One thing that may go."""

    what: str
    path: str
    bytes: int
    files: int
    why: str


class Collector:
    """Finds and removes what is of use to nobody.

    Args:
        database: Says what is still of use.
        settings: Where things lie.
        ray: The folder of this platform's own Ray; None where it has none.
    """

    def __init__(self, database: Database, settings: Settings, ray: Path | None) -> None:
        self._settings = settings
        self._ray = ray
        self._storage = open_storage(settings.storage_uri)
        # Looked at before the rows are: a task has its row before it has a folder.
        self._folders = [name for name in self._storage.list("tasks") if _TASK.match(name)]
        self._work = _names(settings.work_dir, _TASK)
        self._uploads = _names(settings.home / "uploads", _UPLOAD)
        with database.read() as whole:
            connection = whole.connection()
            self._tasks = frozenset(connection.scalars(select(TaskRow.id)))
            self._known_uploads = frozenset(connection.scalars(select(UploadRow.id)))
            self._gap = _unknown_time(connection)

    def find(self) -> list[Garbage]:
        """All of it, the largest first."""
        found = [*self._deleted_tasks(), *self._scratch(), *self._parts(), *self._sessions()]
        return sorted(found, key=lambda one: (-one.bytes, one.path))

    def remove(self, one: Garbage) -> bool:
        """Remove one; whether it is gone. What does not let itself be removed is logged and left."""
        try:
            if one.what == DELETED_TASK:
                left = self._files(one.path.rpartition("/")[2])
                files.remove(left)
                files.remove_records(left)
            elif one.what == UPLOAD:
                discard_file(Path(one.path))
            elif one.what == SCRATCH:
                remove_own(Path(one.path), Path(one.path).name)
            else:
                place = Path(one.path)
                claim(place.parent, _RAY, is_proven=True)
                remove_own(place, _RAY)
        except (OSError, TunesmithError) as error:
            logger.warning("`%s` is left: %s", one.path, error)
        if one.what == DELETED_TASK:
            return not self._storage.files(f"tasks/{one.path.rpartition('/')[2]}")
        return not os.path.lexists(one.path)

    # --- what there is

    def _is_of_nobody(self, task_id: str) -> bool:
        """Whether an id is of no task, and cannot be of one that this database does not know."""
        made = made_at(task_id)
        if task_id in self._tasks or made is None or made > now() - _YOUNG:
            return False
        # Between a backup and its restore tasks were begun that nobody deleted.
        return not any(begin <= made <= end for begin, end in self._gap)

    def _deleted_tasks(self) -> Iterator[Garbage]:
        secret = read_secret(self._settings.report_secret_file)
        for task_id in self._folders:
            if not self._is_of_nobody(task_id) or not _is_signed(self._storage, task_id, secret):
                continue
            sizes = self._storage.sizes(f"tasks/{task_id}")
            ours = {name: size for name, size in sizes.items() if _is_a_tasks(name)}
            if ours:
                yield _garbage(DELETED_TASK, f"{self._storage.uri}/tasks/{task_id}", list(ours.values()))

    def _scratch(self) -> Iterator[Garbage]:
        for task_id in self._work:
            place = self._settings.work_dir / task_id
            if self._is_of_nobody(task_id) and not place.is_symlink():
                yield _garbage(SCRATCH, str(place), _sizes(place))

    def _parts(self) -> Iterator[Garbage]:
        for name in self._uploads:
            found = _UPLOAD.match(name)
            made = made_at(found[1]) if found else None
            if found and made and found[1] not in self._known_uploads and made < now() - _YOUNG:
                place = self._settings.home / "uploads" / name
                yield _garbage(UPLOAD, str(place), _sizes(place))

    def _sessions(self) -> Iterator[Garbage]:
        if self._ray is None or not self._ray.is_dir() or self._ray.is_symlink():
            return
        facts = self._ray.stat()
        if facts.st_uid != os.getuid() or facts.st_mode & 0o022:
            return  # somebody else may write there
        latest = os.path.realpath(self._ray / "session_latest")
        for name in _names(self._ray, _SESSION):
            place = self._ray / name
            if str(place) != latest and not place.is_symlink():
                yield _garbage(SESSION, str(place), _sizes(place))

    def _files(self, task_id: str) -> TaskFiles:
        documents = f"{self._storage.uri}/tasks/{task_id}"
        return TaskFiles(
            task_id, self._settings.work_dir / task_id, documents, f"{documents}/artifacts", None, None
        )


def collector(database: Database, settings: Settings, ray_folder: Path) -> Collector:
    """What looks through a platform's folders; Ray's is looked at where it is this state folder's own."""
    return Collector(database, settings, ray_folder if Home(settings.home).root.is_dir() else None)


def _garbage(what: str, path: str, sizes: list[int]) -> Garbage:
    return Garbage(what=what, path=path, bytes=sum(sizes), files=len(sizes), why=WHY[what])


def _is_a_tasks(name: str) -> bool:
    """Whether a file of a task's folder is one that is removed with it: what else lies there is somebody's."""
    return bool(_DOCUMENT.match(name)) or any(
        name.startswith(f"artifacts/{folder}/") for folder in (CHECKPOINTS, *RESULTS)
    )


def _is_signed(storage: Storage, task_id: str, secret: str) -> bool:
    """Whether a document of a task holds the token that a platform's secret makes for it."""
    for name in storage.list(f"tasks/{task_id}"):
        if _DOCUMENT.match(name):
            with contextlib.suppress(ValueError, KeyError, TypeError, OSError):
                said = json.loads(storage.read(f"tasks/{task_id}/{name}") or b"")
                if said["token"] == report_token(secret, task_id, int(said["attempt"])):
                    return True
    return False


def _unknown_time(connection: Connection) -> list[tuple[dt.datetime, dt.datetime]]:
    rows = connection.execute(select(RestoreRow.taken_at, RestoreRow.restored_at))
    return [(row.taken_at, row.restored_at) for row in rows]


def _names(folder: Path, form: re.Pattern[str]) -> list[str]:
    try:
        return sorted(entry.name for entry in os.scandir(folder) if form.match(entry.name))
    except OSError:
        return []


def _sizes(place: Path) -> list[int]:
    every = [place] if place.is_file() else place.rglob("*")
    sizes = []
    for file in every:
        with contextlib.suppress(OSError):
            facts = file.lstat()
            if not file.is_dir() or file.is_symlink():
                sizes.append(facts.st_size)
    return sizes
