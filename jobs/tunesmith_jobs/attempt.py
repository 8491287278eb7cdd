"""What the processes of every attempt do, whatever its kind: pass a stop on, work, report, have the last word.

Knows the document, the reports and the outcome; knows nothing of Ray, models or rows.
"""

import signal
import threading
import traceback
from collections.abc import Callable
from pathlib import Path

from tunesmith.job import AttemptDocument
from tunesmith.lifecycle import State
from tunesmith.outcome import Outcome
from tunesmith_jobs.document import request_stop, write_outcome
from tunesmith_jobs.failures import outcome_of
from tunesmith_jobs.logs import captured, log_line
from tunesmith_jobs.outlet import Outlet
from tunesmith_jobs.report import Reporter

FIRST_REPLY_SECONDS = 3.0
"""How long the first word of the control plane is waited for: it may want a stop."""
LAST_WORD_SECONDS = 15 * 60.0
_DRAIN_SECONDS = 2.0
_LOCK_SECONDS = 120.0
_TRACEBACK_LINES = 30


def pass_on_sigterm(document: AttemptDocument) -> None:
    """Ask the worker that does the work to save and stop when this process gets SIGTERM; the attempt ends in order.

    To be called once Ray is connected to, which puts a handler of its own there: it exits at once, and the workers end
    with their driver. From outside of the main thread nothing can be done.
    """
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, lambda *_: request_stop(document))


def report_work(document: AttemptDocument, work: Callable[[Reporter], Outcome]) -> Outcome:
    """Do the work as the process that speaks for the attempt.

    The outcome is left on the node before anybody else may speak: who does then must not say that it was stopped.

    Args:
        document: Of the attempt.
        work: Does it and says how it ended; takes who reports.
    """
    with Reporter(document, lock_timeout=_LOCK_SECONDS) as reporter:
        outcome = work(reporter)
        if not outcome.superseded:
            reporter.drain(_DRAIN_SECONDS)
            write_outcome(document, outcome)
        return outcome


def guarded(
    outlet: Outlet, work: Callable[[], Outcome], *, source: str, scratch: Path, level: str = "info"
) -> Outcome:
    """Do the work with its log reported; whatever a user can cause becomes the outcome, and is never raised.

    Args:
        outlet: Takes the log, and the end of the traceback where the work failed.
        work: Does it and says how it ended.
        source: Who speaks in the log.
        scratch: Where the work writes.
        level: The least level that is reported.
    """
    with captured(outlet, level, source):
        try:
            return work()
        except Exception as error:
            outcome = outcome_of(error, scratch if scratch.is_dir() else None)
            if outcome.outcome is State.FAILED and not outcome.superseded:
                lines = traceback.format_exc().strip().splitlines()
                outlet.emit(log_line("error", "\n".join(lines[-_TRACEBACK_LINES:]), source))
            return outcome


def last_word(reporter: Reporter, outcome: Outcome) -> bool:
    """Say how the attempt ended; returns whether that arrived."""
    reporter.emit(outcome.finished())
    return reporter.drain(LAST_WORD_SECONDS)
