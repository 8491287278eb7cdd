"""How the platform is: its parts, its limits, what it counts."""

import os

from sqlalchemy import text

import tunesmith
from tunesmith import views
from tunesmith.storage import local_path
from tunesmith_platform.backends.protocols import Jobs, JobStatus
from tunesmith_platform.db.engine import Database
from tunesmith_platform.runners.service import RunnerService
from tunesmith_platform.settings import Settings
from tunesmith_platform.tasks import repository as tasks


class SystemService:
    """Looks at each part when asked."""

    def __init__(self, database: Database, settings: Settings, jobs: Jobs, runners: RunnerService) -> None:
        self._database = database
        self._settings = settings
        self._jobs = jobs
        self._runners = runners

    def view(self) -> views.SystemView:
        """The platform as it stands."""
        with self._database.read() as session:
            session.execute(text("SELECT 1"))
            counts = tasks.count_by_state(session)
        seen = self._jobs.observe("tunesmith-probe")
        ray_ok = seen.status is not JobStatus.UNREACHABLE
        return views.SystemView(
            version=tunesmith.__version__,
            parts=[
                views.PartHealth(name="database", ok=True),
                views.PartHealth(name="ray", ok=ray_ok, message=seen.message),
                self._storage(),
            ],
            tasks_by_state=counts,
            max_concurrent_jobs=self._settings.max_concurrent_jobs,
            warm_runners=self._runners.ready(),
            allowed_roots=[str(root) for root in self._settings.roots()],
            mlflow_url=self._settings.mlflow_url or None,
        )

    def _storage(self) -> views.PartHealth:
        folder = local_path(self._settings.storage_uri)
        if folder is None:
            return views.PartHealth(name="storage", ok=True, message=self._settings.storage_uri)
        ok = os.access(folder, os.W_OK)
        return views.PartHealth(name="storage", ok=ok, message="" if ok else f"`{folder}` is not writable.")
