"""What Ray runs to use a model: reads the document, does what its kind asks for, says how it ended.

Known failures become an outcome, never an exception: that is for a process that was lost. Knows which work a kind is;
knows nothing of Ray.
"""

import traceback
from pathlib import Path

from tunesmith.errors import TunesmithError
from tunesmith.events import Phase
from tunesmith.lifecycle import Reason, State
from tunesmith.model_step import MODEL_STEPS, ModelDocument
from tunesmith.outcome import Outcome
from tunesmith.removal import claim, discard
from tunesmith.spec.evaluation import EvaluateSpec
from tunesmith.spec.generate import GenerateSpec
from tunesmith.spec.model_task import ModelUseSpec
from tunesmith.spec.package import PackageSpec
from tunesmith_jobs.alive import alive
from tunesmith_jobs.document import read_bytes
from tunesmith_jobs.failures import Superseded, reason_of
from tunesmith_jobs.logs import captured, log_line
from tunesmith_jobs.model_work import Stopped, Work
from tunesmith_jobs.models.libraries import prepare_libraries
from tunesmith_jobs.report import Outlet, Reporter

_DRAIN_SECONDS = 2.0
_LOCK_SECONDS = 120.0


def read(uri: str) -> ModelDocument:
    """The document at a URI.

    Raises:
        NotFound: There is none.
    """
    return ModelDocument.model_validate_json(read_bytes(uri))


def spec_of(document: ModelDocument) -> ModelUseSpec:
    """The parameters of a document's task."""
    return MODEL_STEPS[document.kind].stored(document.spec)


def run(uri: str) -> str:
    """Ray's entry: do the work; returns its `Outcome` as JSON."""
    document = read(uri)
    with alive(document, 0), Reporter(document, lock_timeout=_LOCK_SECONDS) as reporter:
        outcome = work(document, reporter)
        if not outcome.superseded:
            reporter.drain(_DRAIN_SECONDS)
    return outcome.model_dump_json()


def work(document: ModelDocument, outlet: Outlet) -> Outcome:
    """Do what a document asks for; raises for nothing that a user can cause."""
    scratch = Path(document.work_dir) / "scratch" / str(document.attempt)
    with captured(outlet, "info", "worker-0"):
        try:
            claim(scratch, document.task_id)
            return _work(Work(document, outlet, scratch), spec_of(document))
        except Superseded:
            return Outcome(outcome=State.FAILED, reason=Reason.JOB_LOST, superseded=True)
        except Stopped:
            return Outcome.because(Reason.STOPPED_BY_USER, "Stopped on request; nothing is left of it.")
        except Exception as error:
            reason = reason_of(error, scratch if scratch.is_dir() else None)
            text = str(error)
            if isinstance(error, TunesmithError):
                text = f"{error.message} {error.hint or ''}".strip()
            lines = traceback.format_exc().strip().splitlines()
            outlet.emit(log_line("error", "\n".join(lines[-30:]), "worker-0"))
            return Outcome.because(reason, (text or type(error).__name__)[:2000])
        finally:
            discard(scratch, document.task_id)


def _work(work: Work, spec: ModelUseSpec) -> Outcome:
    work.check()
    prepare_libraries()
    work.phase_done(Phase.IMPORTS)
    match spec:
        case EvaluateSpec():
            from tunesmith_jobs.evaluate.scoring import evaluate

            return evaluate(work, spec)
        case GenerateSpec():
            from tunesmith_jobs.generate.answering import generate

            return generate(work, spec)
        case PackageSpec():
            from tunesmith_jobs.package.merging import package

            return package(work, spec)
    raise AssertionError(f"no work for {type(spec).__name__}")
