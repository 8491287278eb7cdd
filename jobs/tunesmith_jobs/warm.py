"""The driver of a warm runner: `python -m tunesmith_jobs.warm <uri of its document>`.

Starts one worker whose imports are done before there is anything to do, asks the control plane for an attempt of any
kind, runs it as any driver would, and ends: one task a process. While it waits it reserves nothing; for the task it
reserves what a worker that Ray starts would. Where that cannot be had on the worker's node, and where several workers
are wanted, they are started as in any other job. Imports Ray; never torch.
"""

import logging
import os
import time
from typing import Any

import httpx

from tunesmith.job import RunnerAnswer, RunnerAsk, RunnerDocument
from tunesmith.outcome import Outcome
from tunesmith.storage import open_storage
from tunesmith_jobs import cluster, entry, placement
from tunesmith_jobs.document import read_outcome
from tunesmith_jobs.program import Attempt, Needs

_WAIT_SECONDS = 2.0
"""Short: a control plane that is told to end waits for its answers."""
_WARMING_SECONDS = 0.5
_ORPHANED_SECONDS = 600.0
"""A runner that reaches no control plane for so long ends."""
_ROOM_SECONDS = 10.0
"""How long the warm worker's node may take to make room before another is looked for."""
_ANSWER_SECONDS = 15.0
"""How long a worker that has nothing to do may take to answer."""
_NICENESS = 10
"""Of this process, which never computes: what computes beside it comes first."""
_log = logging.getLogger("tunesmith_jobs.warm")


class _Crowded(Exception):
    """The node has no memory to spare for a process that only waits."""


class _Orphaned(Exception):
    """No control plane has answered for long."""


class WarmWorker:
    """The process that works, on its node, with what the driver knows of it.

    Args:
        node: Ray's record of the node it is to be on.
        has_gpus: Whether the cluster has any.
    """

    def __init__(self, node: dict[str, Any], has_gpus: bool) -> None:
        self._node = node
        self._actor = self._start()
        self._warming = self._actor.warm.remote(node["Resources"].get("CPU", 1.0), has_gpus)

    def _start(self) -> Any:
        import ray
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        from tunesmith_jobs.warm_worker import Worker

        here = NodeAffinitySchedulingStrategy(self._node["NodeID"], soft=False)
        return ray.remote(Worker).options(num_cpus=0, scheduling_strategy=here).remote()

    def is_warm(self) -> bool:
        """Whether its imports are done.

        Raises:
            RayError: It is lost, or could not import.
        """
        import ray

        done, _ = ray.wait([self._warming], timeout=0)
        if done:
            ray.get(self._warming)
        return bool(done)

    def has_room(self) -> bool:
        """Whether its node has memory for a process that only waits. To be asked when it is warm.

        Raises:
            RayError: It is lost, or does not answer: nobody else would notice that it is frozen.
        """
        import ray

        return bool(ray.get(self._actor.has_room.remote(), timeout=_ANSWER_SECONDS))

    def end(self) -> None:
        """End it."""
        import ray

        ray.kill(self._actor)

    def start(self, attempt: Attempt) -> Outcome:
        """Have an attempt's work done by this worker, or as in any other job where that cannot be. A `placement.Start`.

        Raises:
            InvalidInput: See `cluster.connect`.
        """
        needs = attempt.needs
        if needs is None:
            self.end()
            return placement.start(attempt)
        use_gpu = cluster.connect(attempt.document, needs)
        room = self._reserve(needs, use_gpu, attempt.document.spare_cpus) if needs.is_single else None
        if room is None:
            self.end()
            return placement.in_workers(attempt, needs, use_gpu)
        return self._work(attempt, needs, use_gpu, *room)

    def _work(
        self, attempt: Attempt, needs: Needs, use_gpu: bool, reserved: dict[str, float], group: Any
    ) -> Outcome:
        """Have the work done by this worker and, when it is lost, by others that take its place."""
        from ray.exceptions import RayError

        try:
            if self.is_warm():
                self.has_room()  # asked of one that was lost while it waited, which costs the task nothing
            devices = _devices_of(group) if reserved.get("GPU") else None
            for restarts_left in range(needs.restarts or 0, -1, -1):
                try:
                    if self._has_done(attempt, reserved.get("CPU", 0.0), devices):
                        return placement.what_was_left(attempt.document)
                    break
                except RayError as error:
                    found = read_outcome(attempt.document)
                    if found is not None:
                        return found
                    if not restarts_left:
                        return cluster.lost(error, needs)
                    _log.warning("the worker is lost; another is started: %s", error)
                    needs = placement.with_restarts(needs, restarts_left - 1)
                if not self._is_node_there():
                    break
                self._actor = self._start()
        except RayError:
            _log.exception("the warm worker cannot be used")
        finally:
            self.end()
            self._release(group)
        return placement.in_workers(attempt, needs, use_gpu)

    def _has_done(self, attempt: Attempt, cpus: float, devices: str | None) -> bool:
        """Have the worker do an attempt's work; see `warm_worker.Worker.work`.

        Raises:
            RayError: It is lost.
        """
        import ray

        return bool(ray.get(self._actor.work.remote(attempt.uri, cpus, devices)))

    def _is_node_there(self) -> bool:
        import ray

        return any(node["Alive"] and node["NodeID"] == self._node["NodeID"] for node in ray.nodes())

    def _reserve(self, needs: Needs, use_gpu: bool, spare_cpus: float) -> tuple[dict[str, float], Any] | None:
        """Reserve on the worker's node what a worker that Ray starts would; None when that cannot be had there."""
        import ray
        from ray.util.placement_group import placement_group

        wanted = cluster.resources_of(needs, use_gpu, ray.nodes(), spare_cpus)
        here = self._node["Resources"]
        if any(here.get(name, 0.0) < count for name, count in wanted.items()):
            return None
        bundle = {name: count for name, count in wanted.items() if count}
        group = placement_group([bundle | {f"node:{self._node['NodeManagerAddress']}": 0.001}])
        if group.wait(_ROOM_SECONDS):
            return wanted, group
        self._release(group)
        return None

    def _release(self, group: Any) -> None:
        from ray.util.placement_group import remove_placement_group

        remove_placement_group(group)


def _devices_of(group: Any) -> str:
    """What `CUDA_VISIBLE_DEVICES` is in a process that has a reservation's GPUs."""
    import ray
    from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

    from tunesmith_jobs.warm_worker import visible_devices

    gpus = sum(bundle.get("GPU", 0.0) for bundle in group.bundle_specs)
    strategy = PlacementGroupSchedulingStrategy(group)
    task = ray.remote(visible_devices).options(num_cpus=0, num_gpus=gpus, scheduling_strategy=strategy)
    return str(ray.get(task.remote(), timeout=60))


def _best_node(nodes: list[dict[str, Any]]) -> dict[str, Any]:
    """Where a task with default resources would go."""
    alive = [node for node in nodes if node["Alive"]]
    return max(alive, key=lambda node: (node["Resources"].get("GPU", 0), node["Resources"].get("CPU", 0)))


def _await_attempt(document: RunnerDocument, worker: WarmWorker) -> str | None:
    """The document of the attempt that the control plane gave; None when this runner was given up.

    Raises:
        _Crowded: It is in the way of others.
        _Orphaned: Nobody can give it anything.
    """
    logging.getLogger("httpx").setLevel(logging.WARNING)
    timeout = httpx.Timeout(_WAIT_SECONDS + 10, connect=3.0)
    began = heard = time.monotonic()
    was_warm = False
    with httpx.Client(base_url=document.api_url, timeout=timeout, trust_env=False) as client:
        while time.monotonic() - heard < _ORPHANED_SECONDS:
            is_warm = worker.is_warm()
            if is_warm and not worker.has_room():
                raise _Crowded
            if is_warm and not was_warm:
                was_warm = True
                _log.info("warm after %.1f s", time.monotonic() - began)
            ask = RunnerAsk(is_warm=is_warm, wait_seconds=_WAIT_SECONDS if is_warm else _WARMING_SECONDS)
            try:
                answer = client.post(
                    f"/v1/runners/{document.runner_id}/next",
                    json=ask.model_dump(),
                    headers={"Authorization": f"Bearer {document.token}"},
                )
            except httpx.TransportError:
                time.sleep(_WARMING_SECONDS)
                continue
            if answer.status_code in (httpx.codes.NOT_FOUND, httpx.codes.UNAUTHORIZED):
                return None
            if answer.status_code != httpx.codes.OK:
                time.sleep(_WARMING_SECONDS)
                continue
            heard = time.monotonic()
            uri = RunnerAnswer.model_validate_json(answer.content).document_uri
            if uri is not None:
                return uri
    raise _Orphaned


def main(uri: str) -> int:
    """Wait for one attempt and run it; returns the exit code. One that left to make room, or was given up, gives 0."""
    os.nice(_NICENESS)
    os.environ.setdefault("RAY_TRAIN_V2_ENABLED", "1")
    import ray

    folder, _, name = uri.rpartition("/")
    data = open_storage(folder).read(name)
    if data is None:
        _log.warning("there is no document at %s: ending", uri)
        return 1
    ray.init(log_to_driver=True)
    has_gpus = ray.cluster_resources().get("GPU", 0) >= 1
    worker = WarmWorker(_best_node(ray.nodes()), has_gpus)
    try:
        attempt = _await_attempt(RunnerDocument.model_validate_json(data), worker)
    except _Crowded:
        _log.info("the node has no memory to spare: ending")
        return 0
    except _Orphaned:
        _log.warning("no control plane has answered for %.0f s: ending", _ORPHANED_SECONDS)
        return 1
    if attempt is None:
        return 0
    _log.info("running %s", attempt)
    return entry.main(attempt, worker.start)


if __name__ == "__main__":
    entry.run_and_exit(main)
