"""A model's files beside each other, for who chooses one: what its packages made, and what it would take.

Knows tasks, found models and the sandbox; what is recommended, `which` says.
"""

from tunesmith.errors import InvalidInput, InvalidModel
from tunesmith.lifecycle import State
from tunesmith.package_views import WhichView
from tunesmith.spec.kinds import Feature, kind_of, kinds
from tunesmith.spec.package import PackageSpec
from tunesmith.spec.package_choices import LORA_ONLY
from tunesmith.storage import local_path
from tunesmith_platform.db.engine import Database
from tunesmith_platform.db.tables import TaskRow
from tunesmith_platform.packaging.service import PackagingService
from tunesmith_platform.packaging.which import CONTEXT, rows_of, which
from tunesmith_platform.sandbox import checks
from tunesmith_platform.scope import Scope
from tunesmith_platform.settings import Settings
from tunesmith_platform.tasks import repository as tasks
from tunesmith_platform.tasks.find_inputs import AllModels
from tunesmith_platform.tasks.kinds.resolve_model import Finder

_MOST = 200


class ChoosingService:
    """Which file of a model is the one for a machine.

    Args:
        database: Knows the tasks.
        settings: Which folders may be used.
        models: The registry of base models.
        packaging: Knows what packages made.
    """

    def __init__(
        self, database: Database, settings: Settings, models: AllModels, packaging: PackagingService
    ) -> None:
        self._database, self._packaging = database, packaging
        self._finder = Finder(database, settings, models)

    def which(
        self,
        scope: Scope,
        task_id: str,
        *,
        checkpoint: int | None = None,
        limit: int | None = None,
        context: int = CONTEXT,
    ) -> WhichView:
        """The files of a training's model, or of a package's.

        Args:
            scope: Whose tasks.
            task_id: The training, or the package.
            checkpoint: Files of this step alone; of every step, the newest of each type, when None.
            limit: Of memory, in bytes.
            context: Tokens that it is to run at.

        Raises:
            NotFound: There is no such task.
            InvalidInput: It neither trains a model nor packages one.
        """
        with self._database.read() as session:
            task = tasks.require(session, scope, task_id)
            made = [
                one
                for kind in kinds().values()
                if kind.spec is PackageSpec
                for one in tasks.find(
                    session, scope, tasks.Filter((State.COMPLETED,), kind.name, limit=_MOST)
                )
                if _is_of(one, task)
            ]
        if not _packages(task) and Feature.CHECKPOINTS not in kind_of(task.kind).supports:
            raise InvalidInput(
                f"Task `{task.name}` trains no model and packages none.",
                hint="Name a training, or a package: `tunesmith tasks list`.",
                field="task_id",
            )
        views = [self._packaging.view(scope, one.id) for one in made if _makes_gguf(one)]
        if checkpoint is not None:
            views = [view for view in views if view.step == checkpoint]
        forecast = self._forecast(scope, task, checkpoint)
        context = min(context, forecast["context"]) if forecast else context
        return which(rows_of(views, forecast, context, limit), context, limit, forecast)

    def _forecast(self, scope: Scope, task: TaskRow, checkpoint: int | None) -> dict[str, int] | None:
        """What files of its model would take; None where its folder lies elsewhere, or is gone."""
        try:
            if _packages(task):
                spec = PackageSpec.stored(task.spec)
            else:
                spec = PackageSpec.read({"task_id": task.id, "checkpoint": checkpoint})
            found = self._finder.find(scope, spec)
            folder = found.base or local_path(found.uri)
            return checks.gguf_sizes(folder) if folder is not None else None
        except (InvalidInput, InvalidModel):
            return None


def _packages(task: TaskRow) -> bool:
    return kind_of(task.kind).spec is PackageSpec


def _is_of(package: TaskRow, task: TaskRow) -> bool:
    return package.id == task.id or (package.parent_id == task.id and not _packages(task))


def _makes_gguf(package: TaskRow) -> bool:
    """Whether it has files of the whole model: a base beside its adapter is another one."""
    spec = PackageSpec.stored(package.spec)
    return spec.makes_gguf and spec.preset not in ("quantize_base", LORA_ONLY) and spec.merge_lora
