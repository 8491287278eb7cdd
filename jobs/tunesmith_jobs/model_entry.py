"""The driver of a job that uses a model: `python -m tunesmith_jobs.model_entry <uri of its document>`.

Drives the attempt as that of a training is driven (`entry`), and has the work done by one of Ray's workers, which has
the GPU where there is one. A worker that is lost ends the attempt; the platform makes another, as often as
`max_restarts` allows. Imports Ray; never torch.
"""

import datetime as dt

from tunesmith.lifecycle import Reason
from tunesmith.model_step import ModelDocument
from tunesmith.outcome import Outcome
from tunesmith.spec.training import TrainSpec
from tunesmith_jobs import model_worker
from tunesmith_jobs.document import read_outcome
from tunesmith_jobs.entry import connect, lost, resources_of, run_and_exit, run_attempt


def main(uri: str) -> int:
    """Run one attempt; returns the exit code."""
    began = dt.datetime.now(dt.UTC)
    document = model_worker.read(uri)
    return run_attempt(document, began, lambda: with_ray(uri, document))


def with_ray(uri: str, document: ModelDocument) -> Outcome:
    """Have the work done by a worker that Ray starts."""
    import ray
    from ray.exceptions import RayError

    has_gpu = connect(document, model_worker.spec_of(document).device)
    use_gpu = has_gpu and document.use_gpu
    resources = resources_of(TrainSpec.stored(document.training), use_gpu, ray.nodes())
    if document.spare_cpus:
        # Beside a training there is no more than what that leaves.
        resources = resources | {"CPU": min(resources.get("CPU", 1.0), max(1.0, document.spare_cpus))}
    # Left to itself, Ray starts a task that ran out of memory again without end.
    worker = ray.remote(model_worker.run).options(
        num_cpus=resources.get("CPU", 1.0), num_gpus=resources.get("GPU", 0.0), max_retries=0
    )
    try:
        return Outcome.model_validate_json(ray.get(worker.remote(uri)))
    except RayError as error:
        found = read_outcome(document) or lost(error)
        if found.reason is Reason.WORKER_LOST:  # the platform's word for what another attempt may fix
            return Outcome.because(Reason.JOB_LOST, found.message)
        return found


if __name__ == "__main__":
    run_and_exit(main)
