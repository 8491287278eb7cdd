"""What Ray runs to use a model: reads the document, does what its kind asks for, says how it ended.

Known failures become an outcome, never an exception: that is for a process that was lost. Knows which work a kind is;
knows nothing of Ray.
"""

import pkgutil
from pathlib import Path
from typing import cast

from tunesmith.events import Phase
from tunesmith.model_step import ModelDocument
from tunesmith.outcome import Outcome
from tunesmith.removal import claim, discard
from tunesmith.spec.kinds import kind_of
from tunesmith.spec.model_task import ModelUseSpec
from tunesmith_jobs.alive import alive
from tunesmith_jobs.attempt import guarded, report_work
from tunesmith_jobs.document import read_bytes
from tunesmith_jobs.model_work import Work
from tunesmith_jobs.models.libraries import prepare_libraries
from tunesmith_jobs.report import Outlet


def read(uri: str) -> ModelDocument:
    """The document at a URI.

    Raises:
        NotFound: There is none.
    """
    return ModelDocument.model_validate_json(read_bytes(uri))


def spec_of(document: ModelDocument) -> ModelUseSpec:
    """The parameters of a document's task."""
    return cast(ModelUseSpec, kind_of(document.kind).spec.stored(document.spec))


def run(uri: str) -> str:
    """Ray's entry: do the work; returns its `Outcome` as JSON."""
    document = read(uri)
    with alive(document, 0):
        return report_work(document, lambda reporter: work(document, reporter)).model_dump_json()


def work(document: ModelDocument, outlet: Outlet) -> Outcome:
    """Do what a document asks for; raises for nothing that a user can cause."""
    scratch = Path(document.work_dir) / "scratch" / str(document.attempt)

    def do() -> Outcome:
        claim(scratch, document.task_id)
        return _work(Work(document, outlet, scratch), spec_of(document))

    try:
        return guarded(outlet, do, source="worker-0", scratch=scratch)
    finally:
        discard(scratch, document.task_id)


def _work(work: Work, spec: ModelUseSpec) -> Outcome:
    work.check()
    prepare_libraries()
    work.phase_done(Phase.IMPORTS)
    program = kind_of(work.document.kind).work
    assert program is not None, f"`{work.document.kind}` names no work"
    outcome: Outcome = pkgutil.resolve_name(program)(work, spec)
    return outcome
