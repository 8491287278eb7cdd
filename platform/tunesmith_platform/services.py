"""What the endpoints and loops work with, put together once in `app.py`."""

from dataclasses import dataclass

from tunesmith_platform.auth import Keys
from tunesmith_platform.backends.protocols import Jobs, Tracking
from tunesmith_platform.checkpoints.service import CheckpointService
from tunesmith_platform.db.engine import Database
from tunesmith_platform.events.hub import Hub
from tunesmith_platform.events.service import EventService
from tunesmith_platform.settings import Settings
from tunesmith_platform.system.service import SystemService
from tunesmith_platform.tasks.service import TaskService


@dataclass(frozen=True)
class Services:
    """The control plane's parts."""

    settings: Settings
    database: Database
    hub: Hub
    keys: Keys
    jobs: Jobs
    tracking: Tracking | None
    tasks: TaskService
    events: EventService
    checkpoints: CheckpointService
    system: SystemService
