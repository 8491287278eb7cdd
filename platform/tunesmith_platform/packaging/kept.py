"""Which packages there are, what they take, which stay, and how one's files are removed.

A removal is journalled: the row says that it was begun before a file goes, so that one that was cut off goes on. Only
what carries the task's own manifest goes (`tunesmith.removal`). Knows rows and files; knows no model.
"""

import logging

from sqlalchemy.orm import Session

from tunesmith.artifacts import PACKAGE
from tunesmith.errors import Conflict
from tunesmith.package_views import PackageSummary, PruneVerdict, PruneView
from tunesmith.spec.package import PackageSpec
from tunesmith.views import Page
from tunesmith_platform.clock import now
from tunesmith_platform.db.engine import Database
from tunesmith_platform.db.tables import PackageRow, TaskRow
from tunesmith_platform.packaging import repository
from tunesmith_platform.packaging.retention import Model, Package, Rule, judged
from tunesmith_platform.scope import Scope
from tunesmith_platform.settings import Settings
from tunesmith_platform.tasks import files
from tunesmith_platform.tasks import repository as tasks
from tunesmith_platform.tasks.kinds.model_use import ModelInputs
from tunesmith_platform.tasks.service import say

logger = logging.getLogger(__name__)


class KeptPackages:
    """Every package.

    Args:
        database: Knows them.
        settings: Where their files lie.
    """

    def __init__(self, database: Database, settings: Settings) -> None:
        self._database, self._settings = database, settings

    def rule(self) -> Rule:
        """What the settings keep."""
        return Rule(self._settings.package_keep_last, self._settings.package_keep_days)

    def page(
        self, scope: Scope, of_task_id: str | None, after: str | None, limit: int
    ) -> Page[PackageSummary]:
        """Packages, the newest first."""
        with self._database.read() as session:
            rows = repository.page(session, scope, of_task_id, after, limit)
        shown = [_summary(row, task) for row, task in rows]
        return Page.of(shown, limit, lambda one: one.task_id)

    def pin(self, scope: Scope, task_id: str, *, is_pinned: bool) -> PackageSummary:
        """Let a package stay whatever its age, or not any more.

        Raises:
            NotFound: There is none.
        """
        with self._database.write() as session:
            row = repository.require(session, scope, task_id)
            row.is_pinned = is_pinned
            task = tasks.require(session, scope, task_id)
            return _summary(row, task)

    def prune(self, scope: Scope, rule: Rule, *, is_dry: bool) -> PruneView:
        """Remove the packages that a rule does not keep; or only say which these are."""
        with self._database.read() as session:
            rows = repository.kept(session, scope)
            used = repository.in_use(session, scope, [row.uri for row, _ in rows])
        packages = [
            Package(row.task_id, _model_of(row, task), row.created_at, _spared(row, used))
            for row, task in rows
        ]
        by_id = {row.task_id: (row, task) for row, task in rows}
        verdicts = []
        for one in judged(packages, rule, now()):
            goes, why = one.goes, one.why
            if goes and not is_dry:
                try:
                    self.remove(scope, one.task_id, why)
                except Conflict as error:  # somebody took it up meanwhile
                    goes, why = False, error.message
            row, task = by_id[one.task_id]
            verdicts.append(
                PruneVerdict(task_id=task.id, name=task.name, bytes=row.bytes, goes=goes, why=why)
            )
        freed = sum(one.bytes for one in verdicts if one.goes)
        return PruneView(is_dry=is_dry, bytes=freed, packages=verdicts)

    def remove(self, scope: Scope, task_id: str, why: str) -> None:
        """Remove a package's files, wherever they show; its record and its proofs' words stay in the log.

        Raises:
            NotFound: There is none.
            Conflict: It is pinned, or in use.
        """
        with self._database.write() as session:
            row = repository.require(session, scope, task_id)
            if row.removed_at is None:
                self._refuse(session, scope, row)
                row.removed_at = now()
                task = tasks.require(session, scope, task_id)
                say(
                    session,
                    scope,
                    task,
                    f"Its package's files are removed ({row.bytes / 1e6:.1f} MB): {why}.",
                )
        self._finish(scope, task_id)

    def finish(self, scope: Scope, task_id: str) -> None:
        """Go on with a removal that was cut off."""
        self._finish(scope, task_id)

    def unfinished(self, scope: Scope) -> list[str]:
        """The tasks of packages whose removal was begun."""
        with self._database.read() as session:
            return list(repository.unfinished(session, scope))

    def _refuse(self, session: Session, scope: Scope, row: PackageRow) -> None:
        if row.is_pinned:
            raise Conflict(
                "The package is pinned.", hint=f"Unpin it first: `tunesmith packages unpin {row.task_id}`."
            )
        used = repository.in_use(session, scope, [row.uri])
        if used:
            raise Conflict(
                "A task that is not over, or a chat, uses the package.",
                hint="Wait until that task is over, or stop it.",
            )

    def _finish(self, scope: Scope, task_id: str) -> None:
        with self._database.read() as session:
            task = tasks.require(session, scope, task_id)
            left = files.of_task(task, tasks.mirror_of(session, scope, task_id), self._settings)
        if not files.remove_result_of(left, PACKAGE):
            logger.warning("%s: its package's files could not all be removed; it is tried again", task_id)
            return
        with self._database.write() as session:
            row = repository.require(session, scope, task_id)
            row.is_gone = True


def _model_of(row: PackageRow, task: TaskRow) -> Model:
    """What a package is of: a training, or a folder that was made elsewhere.

    Only its project's others are counted with it: what one project packages of a base that many share moves nobody
    else's out.
    """
    spec, inputs = PackageSpec.stored(task.spec), ModelInputs.model_validate(task.inputs)
    base = str(inputs.training.get("model_name_or_path", inputs.model_uri))
    if spec.is_of_base and base != inputs.model_uri:
        return Model(task.project, base)
    return Model(task.project, row.of_task_id or inputs.model_uri)


def _spared(row: PackageRow, used: set[str]) -> str | None:
    if row.is_pinned:
        return "it is pinned"
    return "a task that is not over, or a chat, uses it" if row.uri in used else None


def _summary(row: PackageRow, task: TaskRow) -> PackageSummary:
    origin = ModelInputs.model_validate(task.inputs).origin
    is_of_base = PackageSpec.stored(task.spec).is_of_base
    return PackageSummary(
        task_id=row.task_id,
        name=task.name,
        project=task.project,
        of=origin.base if is_of_base else origin.task_name or origin.base,
        of_task_id=row.of_task_id,
        step=row.step,
        uri=row.uri,
        bytes=row.bytes,
        files=row.files,
        is_pinned=row.is_pinned,
        removed_at=row.removed_at,
        created_at=row.created_at,
    )
