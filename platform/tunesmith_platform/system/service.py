"""How the platform is: its parts, its limits, what it counts."""

import logging
import os
from urllib.parse import urlsplit

import tunesmith
from tunesmith import views
from tunesmith.errors import NotFound, Unavailable
from tunesmith.job import read_secret
from tunesmith.storage import local_path
from tunesmith_platform.backends.mlflow import is_password
from tunesmith_platform.backends.protocols import Jobs, JobStatus
from tunesmith_platform.db import connections, schema
from tunesmith_platform.db.engine import Database
from tunesmith_platform.leases import is_taken
from tunesmith_platform.mlflow_link import ENTRANCE, LINK_SECONDS, make_code
from tunesmith_platform.presence import CONTROLLER
from tunesmith_platform.runners.service import RunnerService
from tunesmith_platform.scope import Scope
from tunesmith_platform.settings import Settings
from tunesmith_platform.system.folders import FolderView, LoraFileView, list_folder, read_lora
from tunesmith_platform.tasks import repository as tasks

logger = logging.getLogger(__name__)


class SystemService:
    """Looks at each part when asked."""

    def __init__(self, database: Database, settings: Settings, jobs: Jobs, runners: RunnerService) -> None:
        self._database = database
        self._settings = settings
        self._jobs = jobs
        self._runners = runners
        self.schema_notice = ""
        """What was seen of the database's schema, should it be another version's now."""

    def look_at_schema(self) -> None:
        """See whether another version has migrated the database since this process began, and say so once."""
        found = schema.migrated_since(self._database)
        notice = "" if found is None else f"{found.message} {found.hint or ''}".strip()
        if notice and notice != self.schema_notice:
            logger.warning("%s", notice)
        self.schema_notice = notice

    def folder(self, path: str | None) -> FolderView:
        """One folder of those that tasks may use. See `list_folder`."""
        return list_folder(path, self._settings.roots())

    def lora_file(self, path: str) -> LoraFileView:
        """What a LoRA's file sets. See `read_lora`."""
        return read_lora(path, self._settings.roots())

    def view(self, scope: Scope) -> views.SystemView:
        """The platform as it stands."""
        with self._database.read() as session:
            counts = tasks.count_by_state(session, scope)
        self.look_at_schema()
        seen = self._jobs.observe("tunesmith-probe")
        ray_ok = seen.status is not JobStatus.UNREACHABLE
        return views.SystemView(
            version=tunesmith.__version__,
            parts=[
                views.PartHealth(
                    name="database",
                    ok=not self.schema_notice,
                    message=self.schema_notice or connections.shortage(self._database),
                ),
                views.PartHealth(name="ray", ok=ray_ok, message=seen.message),
                self._storage(),
                *self._controller(),
            ],
            tasks_by_state=counts,
            max_concurrent_jobs=self._settings.max_concurrent_jobs,
            warm_runners=self._runners.ready(),
            allowed_roots=[str(root) for root in self._settings.roots()],
            mlflow_url=self._settings.mlflow_url or None,
        )

    def mlflow_link(self, task: views.TaskView | None) -> views.MlflowLink:
        """A link that lets one browser into MLflow.

        Args:
            task: Whose run it shows; MLflow's first page when None.

        Raises:
            NotFound: There is no MLflow, or the task has no run in it.
            Unavailable: Its token cannot be read.
        """
        public = self._settings.mlflow_public_url.rstrip("/")
        if not public:
            raise NotFound("This platform writes no MLflow.", hint="Its curves are in `tunesmith compare`.")
        if task is not None and task.mlflow_url is None:
            raise NotFound(
                f"Task `{task.id}` has no run in MLflow.",
                hint="A training gets one when it starts; other tasks do not.",
            )
        page = f"{public}/" if task is None or task.mlflow_url is None else task.mlflow_url
        if self._settings.mlflow_token_file is None:
            return views.MlflowLink(url=page, valid_seconds=None)
        to = urlsplit(page)._replace(scheme="", netloc="").geturl()
        try:
            token = read_secret(self._settings.mlflow_token_file)
        except OSError as error:
            raise Unavailable(f"MLflow's token cannot be read: {error.strerror}.") from error
        if is_password(token):  # MLflow's own sign-in asks the browser
            return views.MlflowLink(url=page, valid_seconds=None)
        code = make_code(token, to)
        return views.MlflowLink(url=f"{public}{ENTRANCE}?code={code}", valid_seconds=LINK_SECONDS)

    def _controller(self) -> list[views.PartHealth]:
        """Whether somebody runs the background loops, where this process does not."""
        if self._settings.run_loops:
            return []
        if is_taken(self._database, CONTROLLER):
            return [views.PartHealth(name=CONTROLLER, ok=True)]
        message = "No process runs the background loops: nothing starts. Run `tunesmith controller`."
        return [views.PartHealth(name=CONTROLLER, ok=False, message=message)]

    def _storage(self) -> views.PartHealth:
        folder = local_path(self._settings.storage_uri)
        if folder is None:
            return views.PartHealth(name="storage", ok=True, message=self._settings.storage_uri)
        ok = os.access(folder, os.W_OK)
        return views.PartHealth(name="storage", ok=ok, message="" if ok else f"`{folder}` is not writable.")
