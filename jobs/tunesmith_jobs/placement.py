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

from tunesmith.job import AttemptDocument, ray_job_id
from tunesmith.outcome import Outcome
from tunesmith.removal import claim
from tunesmith_jobs import worker
from tunesmith_jobs.attempt import pass_on_sigterm
from tunesmith_jobs.cluster import connect, lost, resources_of
from tunesmith_jobs.document import read_outcome
from tunesmith_jobs.program import Attempt, Needs

Start = Callable[[Attempt], Outcome]
"""How an attempt's workers are started and waited for."""


def start(attempt: Attempt) -> Outcome:
    """Have an attempt's work done; says how it ended.

    Raises:
        InvalidInput: See `cluster.connect`.
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
        without_data_sets(Trainer)(worker.run, **options).fit()
    except TrainingFailedError as error:
        return read_outcome(document) or lost(error, needs)
    return what_was_left(document)


def without_data_sets(trainer: Any) -> Any:
    """A class of trainer that starts no process to hand out Ray's own data sets.

    Workers read their rows themselves; each start of theirs would take seconds of processor for it.
    """
    from ray.train.v2._internal.callbacks.datasets import DatasetsCallback

    class Trainer(trainer):  # type: ignore[misc]
        def _create_default_callbacks(self) -> list[Any]:
            return [
                one for one in super()._create_default_callbacks() if not isinstance(one, DatasetsCallback)
            ]

    return Trainer


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


def with_restarts(needs: Needs, restarts: int) -> Needs:
    """The same with fewer restarts left; where the platform makes another attempt, that stays so."""
    return needs if needs.restarts is None else dataclasses.replace(needs, restarts=restarts)


def ray_folder(document: AttemptDocument) -> Path:
    """Where Ray Train keeps what it writes of an attempt."""
    return Path(document.work_dir) / "ray"
