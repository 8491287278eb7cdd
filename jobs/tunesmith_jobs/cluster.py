"""A driver's connection to Ray, and what a worker reserves there. Imports Ray, when it is asked; never torch."""

from typing import Any

from tunesmith.availability import NO_GPU
from tunesmith.errors import InvalidInput
from tunesmith.job import AttemptDocument
from tunesmith.lifecycle import Reason
from tunesmith.outcome import Outcome
from tunesmith_jobs.attempt import pass_on_sigterm
from tunesmith_jobs.program import Needs

_RAYS_ADVICE = "Check python-core-worker-*.log files for more information."
"""Names files that a user of the platform does not see."""


def connect(document: AttemptDocument, needs: Needs) -> bool:
    """Connect to Ray as the driver of an attempt; returns whether its workers are to have a GPU.

    Args:
        document: Of the attempt.
        needs: Of its workers.

    Raises:
        InvalidInput: It asks for a GPU, and the cluster has none.
    """
    import ray

    if not ray.is_initialized():
        ray.init(log_to_driver=True)
    pass_on_sigterm(document)
    has_gpu = ray.cluster_resources().get("GPU", 0) >= 1
    if needs.device == "gpu" and not has_gpu:
        raise InvalidInput(NO_GPU.message, hint=NO_GPU.hint, field=NO_GPU.field)
    return has_gpu and needs.device != "cpu" and needs.can_use_gpu


def resources_of(
    needs: Needs, use_gpu: bool, nodes: list[dict[str, Any]], spare_cpus: float = 0
) -> dict[str, float]:
    """What a worker reserves: what was asked for, else one GPU, else an even share of a node's processors.

    Args:
        needs: Of the workers.
        use_gpu: Whether they have a GPU each.
        nodes: As `ray.nodes()` tells of them.
        spare_cpus: How many processors of a node a training leaves to others.
    """
    if not needs.is_beside:
        return _all_of(needs, use_gpu, nodes, spare_cpus)
    found = _all_of(needs, use_gpu, nodes, 0)
    return found | {"CPU": min(found.get("CPU", 1.0), max(1.0, spare_cpus))} if spare_cpus else found


def _all_of(needs: Needs, use_gpu: bool, nodes: list[dict[str, Any]], spare_cpus: float) -> dict[str, float]:
    if needs.per_worker:
        return dict(needs.per_worker)
    cpus = max((node["Resources"].get("CPU", 0.0) for node in nodes if node["Alive"]), default=1.0)
    cpus = max(1.0, cpus - spare_cpus)
    share = max(1.0, cpus // needs.workers[1])
    if not use_gpu:
        return {"CPU": share}
    gpus = max((node["Resources"].get("GPU", 0.0) for node in nodes if node["Alive"]), default=1.0)
    return {"GPU": 1.0, "CPU": max(1.0, cpus // max(1.0, gpus))}


def lost(error: Exception, needs: Needs) -> Outcome:
    """The outcome of workers that were lost once too often, or of one that nobody starts again in this attempt."""
    text = (str(error).replace(_RAYS_ADVICE, "").strip() or type(error).__name__)[-2000:]
    if "OutOfMemory" in text or "running low on memory" in text:
        return Outcome.because(Reason.OUT_OF_MEMORY, text)
    # A lost job is the platform's word for what another attempt may fix.
    return Outcome.because(Reason.JOB_LOST if needs.restarts is None else Reason.WORKER_LOST, text)
