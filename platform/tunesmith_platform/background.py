"""How each background loop is made, for the API's own process and for the controller's."""

from collections.abc import Callable
from typing import Any

from tunesmith.home import Home
from tunesmith_platform.chats.proving import ProofLoop
from tunesmith_platform.embedded.watching import SupervisorWatch, inherited
from tunesmith_platform.evaluations.loop import CheckpointScoring
from tunesmith_platform.loops import Loop
from tunesmith_platform.mirror.service import Mirror
from tunesmith_platform.monitoring.loop import Monitor
from tunesmith_platform.notifications.loop import Notifier
from tunesmith_platform.packaging.loop import PackageRetention
from tunesmith_platform.pipelines.runner import PipelineRunner
from tunesmith_platform.presence import CONTROLLER, Presence
from tunesmith_platform.reconciler.loop import Reconciler
from tunesmith_platform.runners.pool import RunnerPool
from tunesmith_platform.services import Services


def background_loops(
    services: Services, hears: Callable[[], bool] = lambda: True
) -> dict[str, Callable[[], Loop]]:
    """How each background loop is made, also anew.

    Args:
        services: The parts that they work with.
        hears: Whether somebody hears what jobs report: this process does where it serves the API.
    """
    database, hub, settings, tracking = services.database, services.hub, services.settings, services.tracking
    made: dict[str, Any] = {"reconciler": None, "mirror": None}
    sweeps = {
        "deleting old conversations": services.conversations.sweep,
        "deleting old entries of the audit log": services.audit.sweep,
    }

    def reconciler() -> Reconciler:
        found = made["reconciler"] = Reconciler(services, made["mirror"], hears)
        return found

    def mirror() -> Mirror:
        assert tracking is not None
        found = made["mirror"] = Mirror(
            database,
            tracking,
            hub,
            services.kinds,
            settings.public_url,
            copies_packages=settings.mlflow_copies_packages,
        )
        if made["reconciler"] is not None:
            made["reconciler"].mirror = found
        return found

    makers: dict[str, Callable[[], Loop]] = {} if tracking is None else {"Mirror": mirror}
    if (environment := inherited()) is not None:
        makers["SupervisorWatch"] = lambda: SupervisorWatch(Home(settings.home), hub, environment)
    return makers | {
        "Reconciler": reconciler,
        "RunnerPool": lambda: RunnerPool(database, hub, settings, services.jobs),
        "Monitor": lambda: Monitor(database, hub, settings, hears, sweeps),
        "Notifier": lambda: Notifier(services.notifications, hub),
        "PipelineRunner": lambda: PipelineRunner(services),
        "CheckpointScoring": lambda: CheckpointScoring(services),
        "PackageRetention": lambda: PackageRetention(services.kept_packages, database, hub),
        "ProofLoop": lambda: ProofLoop(services),
        "Presence": lambda: Presence(database, hub, CONTROLLER),
    }
