"""What users see of packages: their files, what was proven of each, and the files themselves.

Knows the event log and the storage; knows no model.
"""

from pathlib import Path

from tunesmith.artifacts import MANIFEST, Manifest
from tunesmith.errors import Conflict, NotFound, Unavailable
from tunesmith.package_views import PackageView
from tunesmith.storage import open_storage
from tunesmith_platform.db.engine import Database
from tunesmith_platform.event_log import repository as events
from tunesmith_platform.scope import Scope
from tunesmith_platform.tasks import repository as tasks


class PackagingService:
    """Every task's package."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def view(self, scope: Scope, task_id: str) -> PackageView:
        """What a task has made.

        Raises:
            NotFound: There is no such task, or it has made no files.
        """
        with self._database.read() as session:
            task = tasks.require(session, scope, task_id)
            made = events.last_of_kind(session, scope, task_id, "package_made", 1)
        if not made:
            raise NotFound(
                f"Task `{task.name}` has made no GGUF files.",
                hint="Wait until it has completed, or make some: `tunesmith package TASK`.",
            )
        return PackageView.model_validate(
            made[0].payload | {"task_id": task.id, "name": task.name, "created_at": made[0].time}
        )

    def file(self, scope: Scope, task_id: str, name: str) -> Path:
        """Where a file of a package lies on this machine: one of those that its manifest names.

        Raises:
            NotFound: There is no such file.
            Conflict: It lies in a storage elsewhere.
            Unavailable: The storage does not give it back as it was stored.
        """
        view = self.view(scope, task_id)
        storage = open_storage(view.uri)
        place = storage.local(name)
        if place is None:
            raise Conflict(
                f"The files lie in `{view.uri}`, from where the API hands none out.",
                hint="Fetch them with the storage's own tools, or package with an `output_dir`.",
            )
        manifest = Manifest.decode(storage.read(MANIFEST) or b"")
        named = {file.path: file.bytes for file in manifest.files} if manifest else {}
        if name not in named or "/" in name:  # those in a folder below are kept apart: they are not the model
            offered = ", ".join(f"`{path}`" for path in named if "/" not in path)
            raise NotFound(
                f"This package has no file `{name}`.", hint=f"It has {offered}." if offered else None
            )
        if place.is_symlink() or not place.is_file() or place.stat().st_size != named[name]:
            raise Unavailable(f"`{name}` in the storage is not what was stored.", hint="Package it again.")
        return place
