"""How an attempt's workers are started and waited for: in the driver itself, as a task of Ray's, or by Ray Train.

What an attempt needs says which: no worker, one that nobody starts again, or workers that are started again when they
are lost. A warm runner has a worker already (`warm`) and comes here where it cannot be used. Imports Ray; never torch,
unless several workers need its process group.
"""

import dataclasses
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tunesmith.availability import NO_GPU
from tunesmith.errors import InvalidInput
from tunesmith.job import AttemptDocument, ray_job_id
from tunesmith.lifecycle import Reason
from tunesmith.outcome import Outcome
from tunesmith.removal import claim
from tunesmith_jobs import worker
from tunesmith_jobs.attempt import pass_on_sigterm
from tunesmith_jobs.document import read_outcome
from tunesmith_jobs.program import Attempt, Needs

_RAYS_ADVICE = "Check python-core-worker-*.log files for more information."
"""Names files that a user of the platform does not see."""

Start = Callable[[Attempt], Outcome]
"""How an attempt's workers are started and waited for."""


def start(attempt: Attempt) -> Outcome:
    """Have an attempt's work done; says how it ended.

    Raises:
        InvalidInput: See `connect`.
    """
    needs = attempt.needs
    if needs is None:
        return in_this_process(attempt)
    return in_workers(attempt, needs, connect(attempt.document, needs))


def in_this_process(attempt: Attempt) -> Outcome:
    """Do the work here."""
    pass_on_sigterm(attempt.document)
    return worker.speak(attempt)


def in_workers(attempt: Attempt, needs: Needs, use_gpu: bool) -> Outcome:
    """Have the work done by workers that Ray starts.

    Args:
        attempt: Which one.
        needs: What they reserve.
        use_gpu: Whether each has a GPU.
    """
    return (_by_task if needs.restarts is None else _by_ray_train)(attempt, needs, use_gpu)


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


def scaling_config(needs: Needs, use_gpu: bool, nodes: list[dict[str, Any]], spare_cpus: float = 0) -> Any:
    """How many workers Ray Train starts, where, and with what. A range of workers is elastic."""
    from ray.train import ScalingConfig

    least, most = needs.workers
    return ScalingConfig(
        num_workers=most if least == most else (least, most),
        use_gpu=use_gpu,
        resources_per_worker=resources_of(needs, use_gpu, nodes, spare_cpus),
        placement_strategy=needs.placement,
    )


def _by_ray_train(attempt: Attempt, needs: Needs, use_gpu: bool) -> Outcome:
    """Have the work done by workers that Ray Train starts, and starts again when they are lost."""
    os.environ.setdefault("RAY_TRAIN_V2_ENABLED", "1")
    os.environ.setdefault("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "1")
    import ray
    from ray.train import FailureConfig, RunConfig

    from tunesmith_jobs import signals

    document, folder = attempt.document, ray_folder(attempt.document)
    claim(folder, document.task_id)
    options: dict[str, Any] = {
        "train_loop_config": {"document": attempt.uri},
        "scaling_config": scaling_config(needs, use_gpu, ray.nodes(), document.spare_cpus),
        "run_config": RunConfig(
            name=ray_job_id(document.task_id, document.attempt),
            storage_path=str(folder),
            failure_config=FailureConfig(max_failures=needs.restarts or 0),
        ),
    }
    prepare = attempt.program.prepare_main_thread
    if needs.is_single:
        # No process group for one: a second and a torch import less.
        from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer as Trainer

        options["backend_config"] = signals.alone(prepare)
    else:
        from ray.train.torch import TorchTrainer as Trainer

        options["torch_config"] = signals.together(prepare)
    from ray.train import TrainingFailedError

    try:
        Trainer(worker.run, **options).fit()
    except TrainingFailedError as error:
        return read_outcome(document) or lost(error, needs)
    return what_was_left(document)


def _by_task(attempt: Attempt, needs: Needs, use_gpu: bool) -> Outcome:
    """Have the work done by one worker that Ray starts; when it is lost, the attempt ends."""
    import ray
    from ray.exceptions import RayError

    document = attempt.document
    resources = resources_of(needs, use_gpu, ray.nodes(), document.spare_cpus)
    # Left to itself, Ray starts a task that ran out of memory again without end.
    task = ray.remote(worker.run_task).options(
        num_cpus=resources.get("CPU", 1.0), num_gpus=resources.get("GPU", 0.0), max_retries=0
    )
    try:
        return Outcome.model_validate_json(ray.get(task.remote(attempt.uri)))
    except RayError as error:
        return read_outcome(document) or lost(error, needs)


def what_was_left(document: AttemptDocument) -> Outcome:
    """The outcome that the workers left when they were done."""
    outcome = read_outcome(document)
    if outcome is None:  # the worker found itself superseded
        return Outcome.of_superseded()
    return outcome


def lost(error: Exception, needs: Needs) -> Outcome:
    """The outcome of workers that were lost once too often, or of one that nobody starts again in this attempt."""
    text = (str(error).replace(_RAYS_ADVICE, "").strip() or type(error).__name__)[-2000:]
    if "OutOfMemory" in text or "running low on memory" in text:
        return Outcome.because(Reason.OUT_OF_MEMORY, text)
    # A lost job is the platform's word for what another attempt may fix.
    return Outcome.because(Reason.JOB_LOST if needs.restarts is None else Reason.WORKER_LOST, text)


def with_restarts(needs: Needs, restarts: int) -> Needs:
    """The same with fewer restarts left; where the platform makes another attempt, that stays so."""
    return needs if needs.restarts is None else dataclasses.replace(needs, restarts=restarts)


def ray_folder(document: AttemptDocument) -> Path:
    """Where Ray Train keeps what it writes of an attempt."""
    return Path(document.work_dir) / "ray"
