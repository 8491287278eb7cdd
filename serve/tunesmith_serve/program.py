"""What the attempts of a chat do: deploy the application, follow it, and remove it.

The driver works itself and reserves nothing but its own processor; the replica is Ray Serve's. Importing this imports
no Ray, no torch and no web server: drivers of all kinds may.
"""

import time
from typing import TYPE_CHECKING, Any, ClassVar, cast

from tunesmith.chat.document import ChatDocument
from tunesmith.errors import TunesmithError
from tunesmith.events import Phase, Serving
from tunesmith.outcome import Outcome
from tunesmith.spec.chat import ChatSpec
from tunesmith.spec.training import TrainSpec
from tunesmith_jobs.cluster import connect, resources_of
from tunesmith_jobs.model_work import Work, spec_of
from tunesmith_jobs.outlet import Outlet
from tunesmith_jobs.program import Needs, Program, WorkerContext
from tunesmith_serve import ahead
from tunesmith_serve.following import Follower

if TYPE_CHECKING:
    from tunesmith_serve.application import Application

LOOK_SECONDS = 1.0
_SOON_SECONDS = 0.2
"""How often it is looked while somebody waits for the first replica."""
_ORPHANS_EVERY = 10
_STOPPING = "The model is being stopped."


class Chatting(Program[ChatDocument]):
    """See the module."""

    document = ChatDocument
    engine: ClassVar[str] = "tunesmith_serve.choosing:engine_for"
    """What makes a replica's engine, as `module:function`."""

    def work(self, document: ChatDocument, outlet: Outlet, context: WorkerContext) -> Outcome:
        """Serve until a stop is wanted: this ends in no other way but a failure."""
        work, spec = Work(document, outlet, context.scratch), cast(ChatSpec, spec_of(document))
        follower = Follower(outlet.emit)
        follower.say(Serving(state="deploying"))
        work.check()
        resources, nodes = self._resources(document, spec)
        with ahead.begun(context.uri, nodes):
            from tunesmith_serve.application import Application

            work.phase_done(Phase.IMPORTS)
            application = Application(document, context.uri, spec, resources, self.engine)
            return self._follow(work, follower, application, resources)

    def _follow(
        self, work: Work, follower: Follower, application: "Application", resources: dict[str, float]
    ) -> Outcome:
        try:
            application.deploy()
            turn = 0
            while True:
                work.check()
                look = application.look()
                if look.state == "gone":
                    follower.say(
                        Serving(state="deploying", message="Ray Serve lost it: it is deployed again.")
                    )
                    application.deploy()
                if look.state == "failed":
                    raise TunesmithError(f"Ray Serve could not start the model. {look.message}")
                follower.follow(look, application.replica(), resources)
                if turn % _ORPHANS_EVERY == 0:
                    application.remove_orphans()
                turn += 1
                time.sleep(LOOK_SECONDS if follower.is_ready else _SOON_SECONDS)
        finally:
            application.remove(_STOPPING)

    def _resources(
        self, document: ChatDocument, spec: ChatSpec
    ) -> tuple[dict[str, float], list[dict[str, Any]]]:
        """Connect to Ray; what a replica is to reserve, and what nodes there are.

        Raises:
            InvalidInput: It asks for a GPU, and the cluster has none.
        """
        needs = reserved(spec, TrainSpec.stored(document.training), use_gpu=document.use_gpu)
        use_gpu, nodes = connected(document, needs)
        return reservation(needs, use_gpu, nodes, document.spare_cpus), nodes


def reserved(spec: ChatSpec, training: TrainSpec, *, use_gpu: bool) -> Needs:
    """What a replica needs.

    Args:
        spec: The task's parameters.
        training: The training that loads its model.
        use_gpu: Whether a GPU is of use.
    """
    return Needs(
        device=spec.device,
        can_use_gpu=use_gpu,
        per_worker=spec.resources_per_worker or training.resources_per_worker,
        is_beside=True,
    )


def reservation(
    needs: Needs, use_gpu: bool, nodes: list[dict[str, Any]], spare_cpus: float
) -> dict[str, float]:
    """What a replica reserves: no processor where a training leaves none.

    One that takes all of them would wait for as long as the model is served, and the model for the training's end. So
    they share them.

    Args:
        needs: Of a replica.
        use_gpu: Whether it has a GPU.
        nodes: As `ray.nodes()` tells of them.
        spare_cpus: How many processors of a node a training leaves to others.
    """
    found = resources_of(needs, use_gpu, nodes, spare_cpus)
    return found if spare_cpus or needs.per_worker else found | {"CPU": 0.0}


def connected(document: ChatDocument, needs: Needs) -> tuple[bool, list[dict[str, Any]]]:
    """Connect to Ray; whether a replica has a GPU, and what nodes there are.

    Raises:
        InvalidInput: It asks for a GPU, and the cluster has none.
    """
    import ray

    if not ray.is_initialized():
        ray.init(log_to_driver=False)  # Ray Serve would show a driver the lines of all jobs
    return connect(document, needs), ray.nodes()
