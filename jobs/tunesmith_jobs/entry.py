"""The driver of a training job: `python -m tunesmith_jobs.entry <uri of job.json>`.

Says how long the start took, starts the workers through Ray Train, keeps the heartbeat while no worker speaks, and has
the last word. The spool has one writer at a time: the driver before and after, the first worker in between; the
spool's lock says who. Exits 0 once the last word has arrived, 1 when it could not end in order.
Imports Ray; never torch, unless several workers need its process group.
"""

import datetime as dt
import logging
import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import httpx

from tunesmith.availability import NO_GPU
from tunesmith.errors import InvalidInput
from tunesmith.events import Phase, PhaseDone
from tunesmith.job import AttemptDocument, JobDocument, ray_job_id
from tunesmith.lifecycle import Desired, Reason
from tunesmith.outcome import Outcome
from tunesmith.removal import claim, discard
from tunesmith.spec.training import TrainSpec
from tunesmith.zero import uses_zero
from tunesmith_jobs.alive import alive
from tunesmith_jobs.attempt import FIRST_REPLY_SECONDS, last_word, pass_on_sigterm
from tunesmith_jobs.document import has_outcome, read_document, read_outcome
from tunesmith_jobs.elsewhere import Elsewhere
from tunesmith_jobs.failures import outcome_of
from tunesmith_jobs.report import ControlPlane, Gone, Reporter
from tunesmith_jobs.silence import Guard
from tunesmith_jobs.spool import SpoolLock
from tunesmith_jobs.stopping import StopFiles, StorageQuestion
from tunesmith_jobs.train import worker

_WATCH_SECONDS = 1.0
_RAYS_ADVICE = "Check python-core-worker-*.log files for more information."
"""Names files that a user of the platform does not see."""
_log = logging.getLogger("tunesmith_jobs.entry")


Fit = Callable[[str, JobDocument, TrainSpec], Outcome]
"""How an attempt's workers are started and waited for."""


def main(uri: str, fit: Fit | None = None) -> int:
    """Run one attempt; returns the exit code.

    Args:
        uri: Of the job's document.
        fit: Starts the workers; Ray Train when not given.
    """
    began = dt.datetime.now(dt.UTC)
    document = read_document(uri)
    spec = TrainSpec.stored(document.spec)
    return run_attempt(document, began, lambda: (fit or with_ray_train)(uri, document, spec))


def run_attempt(document: AttemptDocument, began: dt.datetime, work: Callable[[], Outcome]) -> int:
    """Drive an attempt whose work is done in Ray's workers; returns the exit code. See `_run_attempt`."""
    with alive(document, None):
        return _run_attempt(document, began, work)


def _run_attempt(document: AttemptDocument, began: dt.datetime, work: Callable[[], Outcome]) -> int:
    """Drive an attempt.

    Args:
        document: What the attempt was handed.
        began: When its process began.
        work: Has the work done and says how it ended. Whoever works speaks for the job as long as it holds the spool.
    """
    with Reporter(document) as reporter:
        waited = (began - document.submitted_at).total_seconds()
        reporter.emit(PhaseDone(phase=Phase.JOB, seconds=max(0.0, waited)))
        reporter.wait_heard(FIRST_REPLY_SECONDS)
        has_adopted = reporter.adopt_older()
        reporter.drain(FIRST_REPLY_SECONDS)
        if reporter.superseded:
            return 1
        if reporter.desired is Desired.STOP:
            stopped = Outcome.because(Reason.STOPPED_BY_USER, "Stopped before the first step.")
            return 0 if last_word(reporter, stopped) else 1
    watch, guard = _Watch(document), Guard(document, Elsewhere(document))
    watch.start()
    guard.start()
    try:
        outcome = work()
    except InvalidInput as error:
        outcome = outcome_of(error)
    except Exception:
        _log.exception("the job could not be run")
        return 1
    finally:
        watch.stop()
        guard.stop()
    if outcome.superseded:
        return 1
    with Reporter(document, lock_timeout=60) as reporter:
        if not has_adopted:
            reporter.adopt_older()
        guard.report_pending(reporter)
        if guard.words and outcome.reason in (Reason.WORKER_LOST, Reason.JOB_LOST):
            outcome = outcome.model_copy(update={"message": f"{guard.words} {outcome.message}"[:2000]})
        has_arrived = last_word(reporter, outcome)
    if has_arrived:
        discard(Path(document.work_dir) / "scratch" / str(document.attempt), document.task_id)
        discard(_ray_folder(document), document.task_id)
    return 0 if has_arrived else 1


def _ray_folder(document: AttemptDocument) -> Path:
    return Path(document.work_dir) / "ray"


def resources_of(
    spec: TrainSpec, use_gpu: bool, nodes: list[dict[str, Any]], spare_cpus: float = 0
) -> dict[str, float]:
    """What a worker reserves: what was asked for, else one GPU, else an even share of a node's processors.

    Args:
        spec: The training.
        use_gpu: Whether its workers have a GPU each.
        nodes: As `ray.nodes()` tells of them.
        spare_cpus: How many processors of a node are left to others.
    """
    if spec.resources_per_worker:
        return spec.resources_per_worker
    cpus = max((node["Resources"].get("CPU", 0.0) for node in nodes if node["Alive"]), default=1.0)
    cpus = max(1.0, cpus - spare_cpus)
    share = max(1.0, cpus // spec.workers[1])
    if not use_gpu:
        return {"CPU": share}
    gpus = max((node["Resources"].get("GPU", 0.0) for node in nodes if node["Alive"]), default=1.0)
    return {"GPU": 1.0, "CPU": max(1.0, cpus // max(1.0, gpus))}


def scaling_config(spec: TrainSpec, use_gpu: bool, nodes: list[dict[str, Any]], spare_cpus: float = 0) -> Any:
    """How many workers Ray starts, where, and with what. A range of workers is elastic: Ray takes what there is."""
    from ray.train import ScalingConfig

    least, most = spec.workers
    return ScalingConfig(
        num_workers=most if least == most else (least, most),
        use_gpu=use_gpu,
        resources_per_worker=resources_of(spec, use_gpu, nodes, spare_cpus),
        placement_strategy=spec.placement.upper(),
    )


def connect(document: AttemptDocument, device: str) -> bool:
    """Connect to Ray as the driver of an attempt; returns whether its workers are to have a GPU.

    Args:
        document: Of the attempt.
        device: What the task asks for: `auto`, `cpu` or `gpu`.

    Raises:
        InvalidInput: It asks for a GPU, and the cluster has none.
    """
    import ray

    if not ray.is_initialized():
        ray.init(log_to_driver=True)
    pass_on_sigterm(document)
    has_gpu = ray.cluster_resources().get("GPU", 0) >= 1
    if device == "gpu" and not has_gpu:
        raise InvalidInput(NO_GPU.message, hint=NO_GPU.hint, field=NO_GPU.field)
    return has_gpu and device != "cpu"


def with_ray_train(uri: str, document: JobDocument, spec: TrainSpec) -> Outcome:
    """Train with workers that Ray Train starts, and starts again when they are lost."""
    os.environ.setdefault("RAY_TRAIN_V2_ENABLED", "1")
    os.environ.setdefault("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "1")
    import ray
    from ray.train import FailureConfig, RunConfig

    use_gpu = connect(document, spec.device)
    claim(_ray_folder(document), document.task_id)
    options: dict[str, Any] = {
        "train_loop_config": {"document": uri},
        "scaling_config": scaling_config(spec, use_gpu, ray.nodes(), document.spare_cpus),
        "run_config": RunConfig(
            name=ray_job_id(document.task_id, document.attempt),
            storage_path=str(_ray_folder(document)),
            failure_config=FailureConfig(max_failures=spec.max_restarts),
        ),
    }
    from tunesmith_jobs.train.run import signals

    if is_single(spec):
        # No process group for one: a second and a torch import less.
        from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer as Trainer

        options["backend_config"] = signals.alone()
    else:
        from ray.train.torch import TorchTrainer as Trainer

        options["torch_config"] = signals.together()
    from ray.train import TrainingFailedError

    try:
        Trainer(worker.run, **options).fit()
    except TrainingFailedError as error:
        found = read_outcome(document)
        return found or lost(error)
    return what_was_left(document)


def is_single(spec: TrainSpec) -> bool:
    """Whether an attempt is one process that talks to no other."""
    return spec.workers == (1, 1) and not uses_zero(spec)


def what_was_left(document: AttemptDocument) -> Outcome:
    """The outcome that the workers left when they were done."""
    outcome = read_outcome(document)
    if outcome is None:  # the worker found itself superseded
        return Outcome.of_superseded()
    return outcome


def lost(error: Exception) -> Outcome:
    """The outcome of workers that were lost once too often."""
    text = str(error).replace(_RAYS_ADVICE, "").strip() or type(error).__name__
    reason = (
        Reason.OUT_OF_MEMORY
        if "OutOfMemory" in text or "running low on memory" in text
        else Reason.WORKER_LOST
    )
    return Outcome.because(reason, text[-2000:])


class _Watch(threading.Thread):
    """While no worker holds the spool: keeps the heartbeat, and carries out a stop or a fence."""

    def __init__(self, document: AttemptDocument) -> None:
        super().__init__(name="watch", daemon=True)
        self._document = document
        self._over = threading.Event()

    def stop(self) -> None:
        """End it; returns once it will do nothing more."""
        self._over.set()
        self.join()

    def run(self) -> None:
        """See the class."""
        plane = ControlPlane(self._document)
        lock = SpoolLock(Path(self._document.work_dir), self._document.attempt)
        stop = StopFiles(self._document)
        question = StorageQuestion(stop)
        while not self._over.wait(_WATCH_SECONDS):
            try:
                self._look(plane, lock, stop, question)
            except BaseException:  # the heartbeat goes on, whatever one look raises
                _log.exception("the watch failed; it goes on")
                lock.release()
        plane.close()

    def _look(self, plane: ControlPlane, lock: SpoolLock, stop: StopFiles, question: StorageQuestion) -> None:
        if not lock.acquire():
            return  # a worker speaks for the job
        lock.release()
        try:
            desired = Desired.STOP if stop.is_near() else plane.send([]).desired
        except Gone:
            _log.warning("attempt %s is over: exiting", self._document.attempt)
            os._exit(1)  # Ray ends the workers of a driver that is gone
        except (httpx.HTTPError, OSError, ValueError):
            desired = Desired.STOP if question.ask() else Desired.RUN
        if desired is not Desired.STOP or self._over.is_set() or not lock.acquire():
            return
        if has_outcome(self._document):
            lock.release()
            return
        # The lock is kept: a worker that comes up now can never speak.
        with Reporter(self._document, lock=lock) as reporter:
            outcome = Outcome.because(Reason.STOPPED_BY_USER, "Stopped while no step was being taken.")
            os._exit(0 if last_word(reporter, outcome) else 1)


def run_and_exit(program: Callable[[str], int]) -> NoReturn:
    """Run a driver's program on the URI that it was started with, and end the process."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    started = time.monotonic()
    exit_code = program(sys.argv[1])
    _log.info("ended after %.1f s with code %s", time.monotonic() - started, exit_code)
    sys.stdout.flush()
    os._exit(exit_code)  # a thread of Ray that hangs must not keep a job that has ended


if __name__ == "__main__":
    run_and_exit(main)
