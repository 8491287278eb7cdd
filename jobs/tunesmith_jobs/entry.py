"""The driver of an attempt, whatever its kind: `python -m tunesmith_jobs.entry <uri of its document>`.

Says how long the start took, has the work done (`placement`), keeps the heartbeat while no worker speaks, and has the
last word. The spool has one writer at a time: the driver before and after, the first worker in between; the spool's
lock says who. Exits 0 once the last word has arrived, 1 when it could not end in order. Never imports torch.
"""

import datetime as dt
import logging
import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import httpx

import tunesmith
from tunesmith.errors import InvalidInput
from tunesmith.events import Phase, PhaseDone
from tunesmith.job import AttemptDocument
from tunesmith.lifecycle import Desired, Reason
from tunesmith.outcome import Outcome
from tunesmith.removal import claim, discard
from tunesmith.versions import numbers
from tunesmith_jobs import placement
from tunesmith_jobs.alive import alive
from tunesmith_jobs.attempt import FIRST_REPLY_SECONDS, last_word
from tunesmith_jobs.control_plane import ControlPlane, Gone
from tunesmith_jobs.document import has_outcome
from tunesmith_jobs.elsewhere import Elsewhere
from tunesmith_jobs.failures import outcome_of
from tunesmith_jobs.logs import log_to_output
from tunesmith_jobs.program import Attempt
from tunesmith_jobs.report import Reporter
from tunesmith_jobs.silence import Guard
from tunesmith_jobs.spool import SpoolLock
from tunesmith_jobs.stopping import StopFiles, StorageQuestion

_WATCH_SECONDS = 1.0
_log = logging.getLogger("tunesmith_jobs.entry")


def main(uri: str, start: placement.Start = placement.start) -> int:
    """Run one attempt; returns the exit code.

    Args:
        uri: Of its document.
        start: Has its work done; a warm runner has a worker for it.
    """
    began = dt.datetime.now(dt.UTC)
    return run_attempt(Attempt.read(uri), began, start)


def run_attempt(attempt: Attempt, began: dt.datetime, start: placement.Start = placement.start) -> int:
    """Drive an attempt; returns the exit code.

    Args:
        attempt: Which one.
        began: When its process began.
        start: Has its work done and says how it ended. Whoever works speaks for the attempt as long as it holds the
            spool.
    """
    document = attempt.document
    claim(
        Path(document.work_dir), document.task_id
    )  # before anything is written there: then it is known whose it is
    with alive(document, None):
        return _run_attempt(attempt, began, start)


def _run_attempt(attempt: Attempt, began: dt.datetime, start: placement.Start) -> int:
    document, needs = attempt.document, attempt.needs
    with Reporter(document) as reporter:
        waited = (began - document.submitted_at).total_seconds()
        reporter.emit(PhaseDone(phase=Phase.JOB, seconds=max(0.0, waited)))
        reporter.wait_heard(FIRST_REPLY_SECONDS)
        has_adopted = reporter.adopt_older()
        reporter.drain(FIRST_REPLY_SECONDS)
        if reporter.superseded:
            return 1
        if reporter.desired is Desired.STOP:
            stopped = Outcome.because(Reason.STOPPED_BY_USER, "Stopped before it began.")
            return 0 if last_word(reporter, stopped) else 1
    watch, guard = _Watch(document), Guard(document, Elsewhere(document, needs.workers[1] if needs else 0))
    watch.start()
    guard.start()
    try:
        refuse_another_version(document.tunesmith)
        outcome = start(attempt)
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
        _discard_rest(attempt)
    return 0 if has_arrived else 1


def refuse_another_version(platform: str) -> None:
    """See that this node has the platform's version: a document of another one means other things.

    Args:
        platform: The platform's version; empty in documents from before it was said.

    Raises:
        InvalidInput: It is another one; says which, and what to install.
    """
    wanted, own = numbers(platform), numbers(tunesmith.__version__)
    if wanted is not None and own is not None and wanted[:2] != own[:2]:
        raise InvalidInput(
            f"The cluster has Tunesmith {tunesmith.__version__}, the platform {platform}.",
            hint=f"Install `tunesmith[jobs]` {platform} on every node of the cluster, then continue the task.",
        )


def _discard_rest(attempt: Attempt) -> None:
    """Remove what nobody needs any more. Where workers were, others look for their processes' records."""
    document = attempt.document
    parts = [attempt.scratch, placement.ray_folder(document)] if attempt.needs else [Path(document.work_dir)]
    for part in parts:
        discard(part, document.task_id)


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
    log_to_output()
    started = time.monotonic()
    exit_code = program(sys.argv[1])
    _log.info("ended after %.1f s with code %s", time.monotonic() - started, exit_code)
    sys.stdout.flush()
    os._exit(exit_code)  # a thread of Ray that hangs must not keep a job that has ended


if __name__ == "__main__":
    run_and_exit(main)
