"""What its attempts do."""

from toy_kind.spec import CountSpec

from tunesmith.events import CheckpointSaved, Metrics, Progress, TrainingStarted
from tunesmith.job import AttemptDocument
from tunesmith.lifecycle import Desired, Reason
from tunesmith.outcome import Outcome
from tunesmith_jobs.failures import Stopped
from tunesmith_jobs.outlet import Outlet
from tunesmith_jobs.program import Program, WorkerContext


class CountDocument(AttemptDocument):
    """What an attempt needs."""

    artifact_uri: str
    begin: int = 0


class Counting(Program[CountDocument]):
    """Counts, in the driver's own process."""

    document = CountDocument

    def work(self, document: CountDocument, outlet: Outlet, context: WorkerContext) -> Outcome:
        """Count; says how it ended."""
        spec = CountSpec.stored(document.spec)
        outlet.emit(TrainingStarted(step=document.begin, total_steps=spec.to))
        for number in range(document.begin + 1, spec.to + 1):
            outlet.emit(Metrics(step=number, values={"number": float(number)}))
            outlet.emit(Progress(step=number, total_steps=spec.to))
            if number % spec.save_steps == 0:
                uri = f"{document.artifact_uri}/checkpoints/checkpoint-{number}"
                outlet.emit(CheckpointSaved(step=number, uri=uri, bytes=1, files=1, manifest_sha256="0" * 64))
                if outlet.desired is Desired.STOP:
                    raise Stopped("Stopped.")
        return Outcome.because(Reason.COMPLETED, f"Counted to {spec.to}.")
