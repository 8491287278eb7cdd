"""Work handed out to the cluster as Ray Tasks, a few more at a time than find place, and taken back as it is done.

A worker that is lost costs its one piece of work, which Ray gives to another. Knows Ray; knows nothing of evaluations.
"""

import contextlib
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

from tunesmith.outcome import Outcome
from tunesmith.removal import discard, remove_empty
from tunesmith_jobs.cluster import lost, resources_of
from tunesmith_jobs.program import Needs

_RETRIES = 2
_CLEAR_SECONDS = 10.0
_WAIT_SECONDS = 0.5
_log = logging.getLogger("tunesmith_jobs.evaluate")


class Lost(Exception):
    """Work whose worker was lost once too often."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(outcome.message)
        self.outcome = outcome


class Fan(Protocol):
    """Has work done elsewhere."""

    cpus: float
    """Processors of one piece of work."""
    slots: int
    """Pieces of work that find place at a time."""

    def submit(self, function: Callable[[dict[str, Any]], Any], order: dict[str, Any]) -> Any:
        """Hand out a piece of work; returns what tells it."""

    def done(self, handles: list[Any]) -> list[Any]:
        """Those that are done; waits half a second for one at the most."""

    def result(self, handle: Any) -> Any:
        """What a piece of work gave.

        Raises:
            Lost: Its worker was lost.
            Exception: What the work itself raised.
        """

    def cancel(self, handles: list[Any]) -> None:
        """End work that is not wanted any more."""


class OnRay:
    """Hands work to Ray.

    Args:
        needs: What one worker needs.
        use_gpu: Whether it has a GPU.
        spare_cpus: How many processors of a node a training leaves to others.
    """

    def __init__(self, needs: Needs, use_gpu: bool, spare_cpus: float) -> None:
        import ray

        nodes = [node for node in ray.nodes() if node["Alive"]]
        self._needs = needs
        self._resources = resources_of(needs, use_gpu, nodes, spare_cpus)
        self.cpus = self._resources.get("CPU", 1.0)
        self.slots = max(1, sum(self._fits(node["Resources"]) for node in nodes))
        self._remote: dict[Any, Any] = {}

    def _fits(self, there: dict[str, float]) -> int:
        return int(min(there.get(name, 0.0) // count for name, count in self._resources.items() if count))

    def submit(self, function: Callable[[dict[str, Any]], Any], order: dict[str, Any]) -> Any:
        """See `Fan`."""
        import ray

        if function not in self._remote:
            self._remote[function] = ray.remote(function).options(
                num_cpus=self.cpus, num_gpus=self._resources.get("GPU", 0.0), max_retries=_RETRIES
            )
        return self._remote[function].remote(order | {"cpus": self.cpus})

    def done(self, handles: list[Any]) -> list[Any]:
        """See `Fan`."""
        import ray

        found, _ = ray.wait(handles, num_returns=1, timeout=_WAIT_SECONDS)
        if found:  # what came with it
            found, _ = ray.wait(handles, num_returns=len(handles), timeout=0)
        return list(found)

    def result(self, handle: Any) -> Any:
        """See `Fan`."""
        import ray
        from ray.exceptions import RayError, RayTaskError

        try:
            return ray.get(handle)
        except RayTaskError as error:
            raise (error.cause if isinstance(error.cause, Exception) else error) from None
        except RayError as error:
            raise Lost(lost(error, self._needs)) from error

    def cancel(self, handles: list[Any]) -> None:
        """See `Fan`."""
        import ray
        from ray.exceptions import RayError

        for handle in handles:
            with contextlib.suppress(RayError, ValueError):
                ray.cancel(handle, force=True)

    def clear(self, scratch: Path, task_id: str) -> None:
        """Remove what workers left in the attempt's scratch folder on the nodes besides this one; waits a moment."""
        import ray
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        asked = []
        try:
            own = ray.get_runtime_context().get_node_id()
            for node in ray.nodes():
                if not node["Alive"] or node["NodeID"] == own:
                    continue
                there = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
                clear = ray.remote(_clear).options(num_cpus=0, max_retries=0, scheduling_strategy=there)
                asked.append(clear.remote(str(scratch), task_id))
            if asked:
                ray.wait(asked, num_returns=len(asked), timeout=_CLEAR_SECONDS)
        except Exception as error:
            # Nothing depends on it, and what the evaluation itself ends by must be heard.
            _log.warning("What workers left in `%s` on other nodes is left: %s", scratch, error)


def _clear(scratch: str, task_id: str) -> None:
    folder = Path(scratch)
    discard(folder, task_id)
    for above in folder.parents[:2]:  # as far as nothing else lies there
        remove_empty(above)


def spread(
    fan: Fan,
    orders: Iterator[tuple[Any, Callable[[dict[str, Any]], Any], dict[str, Any]]],
    check: Callable[[], None],
) -> Iterator[tuple[Any, Any]]:
    """Have work done as it finds place; gives each piece's name and what came of it, in the order of their ends.

    An order is made when there is place for it, so that it may use what came of those before it.

    Args:
        fan: Has it done.
        orders: The name, the function and the order of each piece.
        check: Called twice a second; what it raises ends all work.

    Raises:
        Lost: A worker was lost once too often.
    """
    running: dict[Any, Any] = {}
    keys: list[Any] = []
    is_over = False
    try:
        while True:
            check()
            while not is_over and len(keys) <= fan.slots:
                following = next(orders, None)
                if following is None:
                    is_over = True
                    break
                name, function, order = following
                handle = fan.submit(function, order)
                keys.append(handle)
                running[id(handle)] = name
            if not keys:
                return
            for handle in fan.done(keys):
                name = running.pop(id(handle))
                keys = [one for one in keys if one is not handle]
                yield name, fan.result(handle)
    finally:
        fan.cancel(keys)
