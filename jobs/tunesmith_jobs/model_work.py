"""What every job that uses a model works with: what it was handed, whom it reports to, and when it is to stop.

Knows the document and the outlet; knows nothing of models, and imports no torch before there is work.
"""

import pkgutil
import time
from pathlib import Path
from typing import ClassVar, cast

from tunesmith.events import Phase, PhaseDone, Progress
from tunesmith.lifecycle import Desired
from tunesmith.model_step import ModelDocument
from tunesmith.outcome import Outcome
from tunesmith.spec.kinds import kind_of
from tunesmith.spec.model_task import ModelUseSpec
from tunesmith.spec.training import TrainSpec
from tunesmith_jobs.document import is_stop_requested
from tunesmith_jobs.failures import Stopped, Superseded
from tunesmith_jobs.models.libraries import prepare_libraries
from tunesmith_jobs.outlet import Outlet
from tunesmith_jobs.program import Needs, Program, WorkerContext

_REPORT_SECONDS = 1.0


class Work:
    """One attempt's work.

    Args:
        document: What it was handed.
        outlet: Takes the events; says what the user wants.
        scratch: A folder of its own.
    """

    def __init__(self, document: ModelDocument, outlet: Outlet, scratch: Path) -> None:
        self.document = document
        self.outlet = outlet
        self.scratch = scratch
        self.training = TrainSpec.stored(document.training)
        """The training whose model and rows these are."""
        self._phase_began = time.perf_counter()
        self._reported_at = 0.0

    def check(self) -> None:
        """Go on only if that is wanted.

        Raises:
            Stopped: The user wants it stopped, or the machine is taken back.
            Superseded: The attempt is over for the control plane.
        """
        if self.outlet.superseded:
            raise Superseded
        if self.outlet.desired is Desired.STOP or is_stop_requested(self.document):
            raise Stopped("Stopped on request; nothing is left of it.")

    def take_library_tokenizer(self) -> None:
        """Write rows with the tokenizer that the library makes, as the training does.

        Raises:
            InvalidModel: There is none.
        """
        from tunesmith_jobs.models.library_tokenizer import library_tokenizer

        own = self.document.tokenizer_path
        found = library_tokenizer(
            Path(self.document.encoder_path), Path(own) if own else None, self.scratch / "library"
        )
        if found.folder is not None:
            self.document = self.document.model_copy(update={"tokenizer_path": str(found.folder)})

    def phase_done(self, phase: Phase) -> None:
        """Report how long a phase of the start took, and go on only if that is wanted."""
        now = time.perf_counter()
        self.outlet.emit(PhaseDone(phase=phase, seconds=now - self._phase_began))
        self._phase_began = now
        self.check()

    def report(self, done: int, total: int, seconds_left: float | None = None) -> None:
        """Report how far it is, about once a second, and go on only if that is wanted."""
        now = time.monotonic()
        if done >= total or now - self._reported_at >= _REPORT_SECONDS:
            self._reported_at = now
            self.outlet.emit(Progress(step=done, total_steps=total, seconds_left=seconds_left))
        self.check()


class ModelProgram(Program[ModelDocument]):
    """What the attempts of a kind that uses a model do: a worker loads it, and a function of the kind uses it.

    A worker that is lost ends the attempt: it has nothing to go on from.
    """

    document = ModelDocument
    function: ClassVar[str]
    """What does the work, as `module:function`; takes `Work` and the task's parameters. Imported by the work alone."""

    def needs(self, document: ModelDocument) -> Needs:
        """See `Program.needs`."""
        training = TrainSpec.stored(document.training)
        return Needs(
            device=spec_of(document).device,
            can_use_gpu=document.use_gpu,
            per_worker=training.resources_per_worker,
            is_beside=True,
        )

    def warm_up(self, folder: Path, *, can_compute: bool) -> None:
        """See `Program.warm_up`."""
        pkgutil.resolve_name(self.function)

    def work(self, document: ModelDocument, outlet: Outlet, context: WorkerContext) -> Outcome:
        """See `Program.work`."""
        work = Work(document, outlet, context.scratch)
        work.check()
        prepare_libraries()
        work.take_library_tokenizer()
        use = pkgutil.resolve_name(self.function)
        work.phase_done(Phase.IMPORTS)
        outcome: Outcome = use(work, spec_of(document))
        return outcome


def spec_of(document: ModelDocument) -> ModelUseSpec:
    """The parameters of a document's task."""
    return cast(ModelUseSpec, kind_of(document.kind).spec.stored(document.spec))
