"""The program that Ray runs: `python -m toy_kind.program <uri of its document>`."""

from toy_kind.spec import CountSpec

from tunesmith.events import CheckpointSaved, Finished, Metrics, Progress, TrainingStarted
from tunesmith.job import AttemptDocument
from tunesmith.lifecycle import Desired, Reason, State
from tunesmith_jobs.document import read_bytes
from tunesmith_jobs.report import Outlet, Reporter


class CountDocument(AttemptDocument):
    """What an attempt needs."""

    artifact_uri: str


def work(document: CountDocument, outlet: Outlet, *, begin: int = 0) -> Finished:
    """Count; returns the last word."""
    spec = CountSpec.stored(document.spec)
    outlet.emit(TrainingStarted(step=begin, total_steps=spec.to))
    for number in range(begin + 1, spec.to + 1):
        outlet.emit(Metrics(step=number, values={"number": float(number)}))
        outlet.emit(Progress(step=number, total_steps=spec.to))
        if number % spec.save_steps == 0:
            uri = f"{document.artifact_uri}/checkpoints/checkpoint-{number}"
            outlet.emit(CheckpointSaved(step=number, uri=uri, bytes=1, files=1, manifest_sha256="0" * 64))
            if outlet.desired is Desired.STOP:
                return Finished(outcome=State.STOPPED, reason=Reason.STOPPED_BY_USER, message="Stopped.")
    return Finished(outcome=State.COMPLETED, reason=Reason.COMPLETED, message=f"Counted to {spec.to}.")


def main(uri: str) -> int:
    """Run one attempt; returns the exit code."""
    document = CountDocument.model_validate_json(read_bytes(uri))
    with Reporter(document) as reporter:
        reporter.emit(work(document, reporter))
        return 0 if reporter.drain(60) else 1
