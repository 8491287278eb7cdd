"""What the attempts of an evaluation do. Drivers read this too: torch is imported by the work alone."""

from typing import cast

from tunesmith.evaluation.document import EvaluationDocument
from tunesmith.events import Phase
from tunesmith.model_step import ModelDocument
from tunesmith.outcome import Outcome
from tunesmith.spec.evaluation import EvaluateSpec
from tunesmith_jobs.model_work import ModelProgram, Work, spec_of
from tunesmith_jobs.outlet import Outlet
from tunesmith_jobs.program import Needs, WorkerContext


class Evaluation(ModelProgram):
    """A model measured on rows is a worker's work. A comparison is led by the driver, which hands its work out."""

    document = EvaluationDocument
    function = "tunesmith_jobs.evaluate.scoring:evaluate"

    def needs(self, document: ModelDocument) -> Needs | None:
        """See `Program.needs`."""
        return None if _is_comparison(document) else super().needs(document)

    def work(self, document: ModelDocument, outlet: Outlet, context: WorkerContext) -> Outcome:
        """See `Program.work`."""
        if not _is_comparison(document):
            return super().work(document, outlet, context)
        from tunesmith_jobs.cluster import connect
        from tunesmith_jobs.evaluate.comparing import compare
        from tunesmith_jobs.evaluate.fan import OnRay

        work = Work(document, outlet, context.scratch)
        work.check()
        needs = super().needs(document)
        assert needs is not None
        use_gpu = connect(document, needs)
        fan = OnRay(needs, use_gpu, document.spare_cpus)
        work.phase_done(Phase.IMPORTS)
        try:
            return compare(work, cast(EvaluateSpec, spec_of(document)), fan, use_gpu=use_gpu)
        finally:
            fan.clear(context.scratch, document.task_id)


def _is_comparison(document: ModelDocument) -> bool:
    return isinstance(document, EvaluationDocument) and bool(document.candidates)
