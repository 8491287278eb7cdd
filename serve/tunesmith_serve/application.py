"""An attempt's application on Ray Serve: deployed, looked at, and removed with nothing left behind.

Ray Serve is one for the whole cluster: its controller and its proxy, on the head, are started by the first chat and
ended by the last. Whoever finds its application gone deploys it again, so that two attempts that begin and end at the
same time do each other no harm. Knows Ray Serve and the board; knows no engine and no events.
"""

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tunesmith.chat.document import ChatDocument
from tunesmith.errors import InvalidInput
from tunesmith.spec.chat import ChatSpec
from tunesmith_serve.board import LOST_SECONDS, Board, Lease, RayStore, Renewing, ReplicaNote
from tunesmith_serve.replica import MAX_WAITING, Replica

ENGINE = "tunesmith_serve.choosing:engine_for"
_PREFIX = "chat-"
_NAME = "model"
_TRIES = 10
"""Once a second: Ray Serve that is just being ended takes some."""
_END_SECONDS = 3.0
"""How long the answers under way have to end with a word of their own."""
_DELETE_SECONDS = 15.0
_PAUSE_SECONDS = 0.1
_ORPHAN_SECONDS = 2 * LOST_SECONDS
_LOOK_BACK_SECONDS = 15.0
_QUIET = {"log_level": "WARNING", "enable_access_log": False}
_log = logging.getLogger("tunesmith_serve.application")


@dataclass(frozen=True)
class Look:
    """What Ray Serve says of an application.

    Attributes:
        state: `deploying`, `running`, `failed`, `unhealthy`; `gone` where it does not know it.
        message: Why.
        running: Replicas that answer.
        waiting: Replicas that find no place, or start.
    """

    state: str
    message: str = ""
    running: int = 0
    waiting: int = 0


class Application:
    """An attempt's application.

    Args:
        document: Of the attempt.
        uri: Where that lies: replicas read it.
        spec: The task's parameters.
        resources: What a replica reserves, by Ray's names.
        engine: What makes its engine, as `module:function`.
    """

    def __init__(
        self,
        document: ChatDocument,
        uri: str,
        spec: ChatSpec,
        resources: Mapping[str, float],
        engine: str = ENGINE,
    ) -> None:
        self._document, self._uri, self._spec = document, uri, spec
        self._resources, self._engine = dict(resources), engine
        self._name = document.application
        self._store = RayStore()
        self._board = Board(self._name, self._store)
        self._renewing = Renewing(self._board)
        self._others: dict[str, Lease] = {}

    def deploy(self) -> None:
        """Deploy it; returns before a replica is there.

        Raises:
            InvalidInput: Another Ray Serve listens elsewhere.
        """
        if not self._renewing.is_alive():
            self._renewing.now()
            self._renewing.start()
        for number in range(_TRIES):
            try:
                self._start()
                self._remove_earlier()
                self._run()
                return
            except InvalidInput:
                raise
            except Exception:  # the last chat of before ended Ray Serve meanwhile
                if number == _TRIES - 1:
                    raise
                _log.exception("Ray Serve did not take the application; it is tried again")
                _forget_client()
                time.sleep(1)

    def look(self) -> Look:
        """What Ray Serve says of it."""
        from ray import serve

        try:
            found = serve.status().applications.get(self._name)
        except Exception as error:  # its controller has ended, or is just being ended
            _log.warning("Ray Serve does not answer: %r", error)
            _forget_client()
            return Look("gone")
        if found is None:
            return Look("gone")
        deployment = found.deployments.get(_NAME)
        replicas = {} if deployment is None else deployment.replica_states
        message = " ".join(filter(None, (found.message, "" if deployment is None else deployment.message)))
        running = replicas.get("RUNNING", 0)
        waiting = replicas.get("STARTING", 0)
        states = {
            "RUNNING": "running",
            "DEPLOY_FAILED": "failed",
            "UNHEALTHY": "unhealthy",
            "DELETING": "gone",
        }
        return Look(states.get(str(found.status.value), "deploying"), message, running, waiting)

    def replica(self) -> ReplicaNote | None:
        """What its replica said last."""
        return self._board.replica()

    def remove_orphans(self) -> None:
        """Remove applications whose drivers are gone: a chat that was scaled to zero has nobody who would."""
        from ray import serve

        for name in Board.applications(self._store) - {self._name}:
            board = Board(name, self._store)
            if self._others.setdefault(name, Lease(_ORPHAN_SECONDS)).look(board.driver()):
                _log.warning("the application `%s` has no driver: it is removed", name)
                serve.delete(name, _blocking=False)
                board.clear()
                del self._others[name]

    def remove(self, why: str) -> None:
        """End its answers with a word, remove it, and end Ray Serve where it was the last.

        Args:
            why: What those are told who wait for an answer.
        """
        from ray import serve

        try:
            self._renewing.now(stop=why)
            if self.look().running:
                _wait(lambda: (note := self._board.replica()) is not None and note.is_ended, _END_SECONDS)
            serve.delete(self._name, _blocking=False)
            if not _wait(lambda: self._name not in serve.status().applications, _DELETE_SECONDS):
                _log.warning("the application `%s` is still being removed", self._name)
            if not serve.status().applications:
                serve.shutdown()
        except Exception:  # it never came up, or another chat's end ended it
            _log.exception("the application `%s` could not be removed", self._name)
        finally:
            self._renewing.stop()
            self._board.clear()

    def _start(self) -> None:
        from ray import serve
        from ray.serve.config import HTTPOptions, ProxyLocation
        from ray.serve.context import _get_global_client

        host, port = self._document.serve_host, self._document.serve_port
        # One proxy, on the head: the platform knows its address, and no other node listens.
        serve.start(
            proxy_location=ProxyLocation.HeadOnly,
            http_options=HTTPOptions(host=host, port=port),
            logging_config=_QUIET,
        )
        found = _get_global_client().http_config
        if (found.host, found.port) != (host, port):
            raise InvalidInput(
                f"Ray Serve runs on this cluster already; it listens at {found.host}:{found.port}, not at "
                f"{host}:{port}.",
                hint="Set `serve_bind` and `serve_port` of the platform to where it listens, or end it.",
            )

    def _remove_earlier(self) -> None:
        """Remove what earlier attempts of the task left."""
        from ray import serve

        own = f"{_PREFIX}{self._document.task_id}-"
        for name in serve.status().applications:
            if name.startswith(own) and name != self._name:
                serve.delete(name, _blocking=False)
                Board(name, self._store).clear()

    def _run(self) -> None:
        from ray import serve

        options = deployment_options(self._spec, self._resources)
        deployment = serve.deployment(Replica, name=_NAME, **options)
        actor = options["ray_actor_options"]
        bound = deployment.bind(self._uri, actor["num_cpus"], actor["num_gpus"] > 0, self._engine)
        target = serve.RunTarget(bound, self._name, self._document.route, _QUIET)
        serve.run_many(
            [target], wait_for_ingress_deployment_creation=False, wait_for_applications_running=False
        )


def deployment_options(spec: ChatSpec, resources: Mapping[str, float]) -> dict[str, Any]:
    """How Ray Serve runs a model: one replica, and none after a while without a question.

    Args:
        spec: The task's parameters.
        resources: What a replica reserves, by Ray's names.
    """
    more = dict(resources)
    cpus, gpus = more.pop("CPU", 1.0), more.pop("GPU", 0.0)
    most = spec.max_running + MAX_WAITING
    return {
        "ray_actor_options": {"num_cpus": cpus, "num_gpus": gpus, "resources": more},
        # More than it takes: it refuses those that are too many itself, with a word, and a look at its status comes in.
        "max_ongoing_requests": most + 16,
        "max_queued_requests": most,
        "backpressure_config": {"retry_after_s": 5},
        "autoscaling_config": {
            "min_replicas": 0 if spec.idle_timeout else 1,
            "initial_replicas": 1,
            "max_replicas": 1,
            "target_ongoing_requests": most,
            "upscale_delay_s": 0,
            "downscale_delay_s": spec.idle_timeout,
            "look_back_period_s": _LOOK_BACK_SECONDS,
        },
        "graceful_shutdown_wait_loop_s": 0.2,
        "graceful_shutdown_timeout_s": _END_SECONDS,
        # A replica that was killed is missed by this look alone. One that is slow on a busy machine is left.
        "health_check_period_s": 1,
        "health_check_timeout_s": 60,
        "logging_config": _QUIET,
    }


def _forget_client() -> None:
    """Let the next call look for Ray Serve anew."""
    from ray.serve.context import _set_global_client

    _set_global_client(None)


def _wait(is_so: Any, seconds: float) -> bool:
    """Wait until something is so; answers whether it came to that in time."""
    deadline = time.monotonic() + seconds
    while not is_so():
        if time.monotonic() >= deadline:
            return False
        time.sleep(_PAUSE_SECONDS)
    return True
