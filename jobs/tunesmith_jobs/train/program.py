"""What the attempts of a training do. Drivers read this too: torch is imported by the work alone."""

import functools
from pathlib import Path

from tunesmith.job import JobDocument
from tunesmith.outcome import Outcome
from tunesmith.spec.training import TrainSpec
from tunesmith.zero import uses_zero
from tunesmith_jobs.document import is_stop_requested
from tunesmith_jobs.outlet import Outlet
from tunesmith_jobs.program import Needs, Program, WorkerContext
from tunesmith_jobs.train.core import run
from tunesmith_jobs.train.job import Identity, Paths
from tunesmith_jobs.train.run.interruption import Notices
from tunesmith_jobs.train.telemetry.system import sampled


def needs_of(spec: TrainSpec) -> Needs:
    """What the workers of a training with these parameters reserve."""
    return Needs(
        device=spec.device,
        workers=spec.workers,
        is_group=uses_zero(spec),
        per_worker=spec.resources_per_worker,
        placement=spec.placement.upper(),
        restarts=spec.max_restarts,
    )


class Training(Program[JobDocument]):
    """Trains a model. A worker that is lost is started again and goes on from the newest checkpoint."""

    document = JobDocument

    def needs(self, document: JobDocument) -> Needs:
        """See `Program.needs`."""
        return needs_of(TrainSpec.stored(document.spec))

    def log_level(self, document: JobDocument) -> str:
        """See `Program.log_level`."""
        return TrainSpec.stored(document.spec).log_level

    def prepare_main_thread(self) -> None:
        """Take SIGTERM as the wish to save and stop."""
        Notices.handle_sigterm_for_process()

    def warm_up(self, folder: Path, *, can_compute: bool) -> None:
        """See `Program.warm_up`. One step loads all that training loads on first use."""
        import peft  # noqa: F401
        import transformers  # noqa: F401

        if can_compute:
            from tunesmith_jobs.train.rehearsal import rehearse

            rehearse(folder)

    def work(self, document: JobDocument, outlet: Outlet, context: WorkerContext) -> Outcome:
        """See `Program.work`."""
        paths = Paths(
            model=Path(document.model_path),
            train=Path(document.train_path),
            eval=Path(document.eval_path) if document.eval_path else None,
            artifact_uri=document.artifact_uri,
            scratch=context.scratch,
            output_dir=Path(document.output_dir) if document.output_dir else None,
            tokenizer=Path(document.tokenizer_path) if document.tokenizer_path else None,
            tokens=Path(document.work_dir).parent / "tokens",
            parts=tuple(document.train_parts),
        )
        identity = Identity(document.task_id, document.attempt, document.name, context.restart, context.rank)
        # The first worker lies where the driver does. What it is told, the others follow.
        asked = (functools.partial(is_stop_requested, document),) if context.rank == 0 else ()
        notices = Notices(context.is_drained, *asked)
        with sampled(outlet, paths.scratch / "system", context.rank) as speaking:
            return run(TrainSpec.stored(document.spec), paths, speaking, identity, notices)
