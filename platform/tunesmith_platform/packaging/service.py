"""What users see of packages: their files, what was proven of each, and the files themselves.

Knows the event log and the storage; knows no model.
"""

from functools import partial

from tunesmith.artifacts import MANIFEST, Manifest
from tunesmith.errors import NotFound, Unavailable
from tunesmith.package_views import PackageView
from tunesmith.storage import open_storage
from tunesmith_platform.db.engine import Database
from tunesmith_platform.event_log import repository as events
from tunesmith_platform.packaging import repository
from tunesmith_platform.packaging.ranges import Sent
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
            row = repository.find(session, scope, task_id)
        if row is not None and row.removed_at is not None:
            raise NotFound(
                f"The package of `{task.name}` was removed on {row.removed_at:%Y-%m-%d}.",
                hint="Make it again: `tunesmith tasks clone` packages the same once more.",
            )
        if not made:
            raise NotFound(
                f"Task `{task.name}` has made no GGUF files.",
                hint="Wait until it has completed, or make some: `tunesmith package TASK`.",
            )
        return PackageView.model_validate(
            made[0].payload | {"task_id": task.id, "name": task.name, "created_at": made[0].time}
        )

    def file(self, scope: Scope, task_id: str, name: str, sha256: str | None = None) -> Sent:
        """A file of a package: one of those that its manifest names, from wherever it lies.

        Args:
            scope: Who asks.
            task_id: The package's task.
            name: The file's.
            sha256: What it must be; whatever it is when None.

        Raises:
            NotFound: There is no such file.
            Unavailable: The storage does not give it back as it was stored, or does not answer.
        """
        view = self.view(scope, task_id)
        storage = open_storage(view.uri)
        try:
            manifest = Manifest.decode(storage.read(MANIFEST) or b"")
            named = {file.path: file for file in manifest.files} if manifest else {}
            file = named.get(name)
            # Those in a folder below are kept apart: they are not the model.
            if file is None or "/" in name or (sha256 is not None and file.sha256 != sha256):
                offered = ", ".join(f"`{path}`" for path in named if "/" not in path)
                raise NotFound(
                    f"This package has no file `{name}`.", hint=f"It has {offered}." if offered else None
                )
            sizes = storage.sizes()
        except OSError as error:
            raise Unavailable("The storage does not answer.", details={"reason": str(error)[:300]}) from error
        if sizes.get(name) != file.bytes:
            raise Unavailable(f"`{name}` in the storage is not what was stored.", hint="Package it again.")
        return Sent(name, file.bytes, file.sha256, partial(storage.pieces, name))
