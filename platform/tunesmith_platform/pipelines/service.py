"""What users do with pipelines. Each method is one transaction; what is sent is checked whole before it begins."""

import functools
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from sqlalchemy.orm import Session

from tunesmith import views
from tunesmith.data_step import DataOutput
from tunesmith.errors import Conflict, InvalidInput
from tunesmith.lifecycle import Desired, State
from tunesmith.pipelines import NewPipeline, PipelineView, StepView
from tunesmith.removal import discard, owner_of, remove_empty
from tunesmith.spec.base import Notice
from tunesmith.spec.pipeline import Step
from tunesmith.spec.variables import variables_in
from tunesmith_platform.clock import new_id, now
from tunesmith_platform.db.engine import Database
from tunesmith_platform.db.tables import PipelineRow, PipelineStepRow
from tunesmith_platform.hub import Hub
from tunesmith_platform.idempotency import Keyed, sent_as
from tunesmith_platform.pipelines import repository
from tunesmith_platform.sandbox import checks
from tunesmith_platform.scope import Scope
from tunesmith_platform.settings import Settings
from tunesmith_platform.tasks.kinds.registry import Kinds
from tunesmith_platform.tasks.later import look_as_later
from tunesmith_platform.tasks.step_paths import located

_STEP_FOLDER = re.compile(r"\d+-\d+|\.\d+-\d+\.[\w-]+\.part")
"""What a step's task calls the folder of its rows, and that of rows which it did not finish."""


class PipelineService:
    """Pipelines: create, list, show, stop, continue, delete. `runner` carries their steps out."""

    def __init__(
        self,
        database: Database,
        hub: Hub,
        settings: Settings,
        registered: Callable[[Scope, str], Path],
        kinds: Kinds,
    ) -> None:
        self._registered = registered
        self._kinds = kinds
        self._database = database
        self._hub = hub
        self._settings = settings

    def create(self, scope: Scope, new: NewPipeline, key: str | None = None) -> tuple[PipelineView, bool]:
        """Check a pipeline and begin with it; the same `key` and body again give the same pipeline.

        Returns:
            The pipeline, and whether it was begun now.

        Raises:
            InvalidInput: Something in it cannot be; with every problem and its place.
            PathNotAllowed: It names a file outside the allowed roots.
            IdempotencyConflict: The key was used with another body.
        """
        shown = functools.partial(_shown, scope)
        call = Keyed(scope, key, sent_as("pipeline", new), what="pipeline", shown=shown)
        if key is not None:
            with self._database.read() as session:
                if (replayed := call.before(session)) is not None:
                    return replayed, False
        workflow, steps = checks.pipeline(new)
        for step in steps:
            self._check(scope, step, workflow, new)
        pipeline_id, moment, whose = new_id("pipe"), now(), scope.stamp(new.project)

        def enter(session: Session) -> tuple[PipelineView, bool]:
            if (replayed := call.before(session)) is not None:
                return replayed, False
            call.remember(session, pipeline_id, whose["project"], moment)
            row = PipelineRow(
                **whose,
                id=pipeline_id,
                name=new.name or workflow,
                workflow=workflow,
                request=new.model_dump(mode="json"),
                reuse=new.reuse,
                state=State.RUNNING,
                desired=Desired.RUN,
                message="",
                notices=_notices(steps),
                created_at=moment,
            )
            session.add(row)
            session.flush()
            session.add_all(_step_row(pipeline_id, position, step) for position, step in enumerate(steps))
            session.flush()
            return _view(session, scope, row), True

        view, is_new = self._database.retry_on_conflict(enter)
        if is_new:
            self._hub.notify(pipeline_id)
        return view, is_new

    def _check(self, scope: Scope, step: Step, workflow: str, new: NewPipeline) -> None:
        place = f"workflows[{workflow}].jobs[{step.id}]"
        for variable in variables_in(step.parameters):
            if variable.source == "env" and variable.path[0] not in self._settings.pipeline_environment:
                listed = ", ".join(f"`{name}`" for name in self._settings.pipeline_environment) or "none"
                raise InvalidInput(
                    f"`{variable.text}` may not be read here.",
                    hint=f"Readable: {listed}. `TUNESMITH_PIPELINE_ENVIRONMENT` sets them.",
                    field=place,
                )
        kind = self._kinds.of(step.kind)

        def look(scope: Scope) -> dict[str, Any]:
            registered = functools.partial(self._registered, scope)
            found = located(step, kind.paths, self._settings, registered, folder=new.folder)
            kind.look_ahead(scope, step.model_copy(update={"parameters": found}))
            return found

        try:
            step.parameters = look_as_later(scope, new.project, look)
        except InvalidInput as error:
            error.problems = [problem.under(place) for problem in error.each_problem()]
            raise

    def page(self, scope: Scope, after: str | None, limit: int) -> views.Page[PipelineView]:
        """Pipelines, the newest first."""
        with self._database.read() as session:
            found = [_view(session, scope, row) for row in repository.find(session, scope, after, limit + 1)]
        return views.Page.of(found, limit, lambda pipeline: pipeline.id)

    def get(self, scope: Scope, pipeline_id: str) -> PipelineView:
        """A pipeline as it stands."""
        with self._database.read() as session:
            return _view(session, scope, repository.require(session, scope, pipeline_id))

    def stop(self, scope: Scope, pipeline_id: str) -> PipelineView:
        """Ask for a pipeline's stop; of one that is over nothing changes."""
        with self._database.write() as session:
            row = repository.require(session, scope, pipeline_id, locked=True)
            if row.ended_at is None and row.desired != Desired.STOP:
                row.desired, row.state, row.message = Desired.STOP, State.STOPPING, "Stopping."
            view = _view(session, scope, row)
        self._hub.notify(pipeline_id)
        return view

    def carry_on(self, scope: Scope, pipeline_id: str) -> PipelineView:
        """Continue a pipeline from the step that failed or was stopped; what is done stays done.

        Raises:
            Conflict: It runs, or has nothing left to do.
        """
        with self._database.write() as session:
            row = repository.require(session, scope, pipeline_id, locked=True)
            state = State(row.state)
            if state not in (State.FAILED, State.STOPPED):
                raise Conflict(
                    f"A {state} pipeline cannot be continued.",
                    hint="Only one that failed or was stopped can.",
                )
            for step in repository.steps(session, scope, pipeline_id):
                if step.state in (State.FAILED, State.STOPPED):
                    step.state, step.message, step.ended_at = State.PENDING, "", None
            row.state, row.desired, row.message, row.ended_at = State.RUNNING, Desired.RUN, "", None
            session.flush()
            view = _view(session, scope, row)
        self._hub.notify(pipeline_id)
        return view

    def delete(self, scope: Scope, pipeline_id: str, with_files: bool) -> None:
        """Delete a pipeline's records and, if asked, the rows that it made. Its tasks stay.

        Raises:
            Conflict: It is not over, or something else reads its rows.
        """
        folder = self._settings.pipelines_dir / pipeline_id
        with self._database.write() as session:
            row = repository.require(session, scope, pipeline_id, locked=True)
            if row.ended_at is None:
                raise Conflict(f"A {row.state} pipeline cannot be deleted.", hint="Stop it first.")
            user = repository.users_of(session, scope, f"{folder}/", pipeline_id) if with_files else None
            if user is not None:
                raise Conflict(
                    f"`{user}` reads rows that this pipeline made.",
                    hint="Delete that first, or leave the files.",
                )
            session.delete(row)
        if with_files:
            _remove_rows(folder)


def _remove_rows(folder: Path) -> None:
    """Remove the folders that steps' tasks made; what else lies among them stays."""
    if folder.is_symlink() or not folder.is_dir():
        return
    for child in folder.iterdir():
        if _STEP_FOLDER.fullmatch(child.name):
            owner = owner_of(child)
            # One from before there were marks: the folder above it has this pipeline's id.
            discard(child, owner if owner is not None else folder.name)
    remove_empty(folder)


def _shown(scope: Scope, session: Session, pipeline_id: str) -> PipelineView:
    """A pipeline that was begun before."""
    return _view(session, scope, repository.require(session, scope, pipeline_id))


def _step_row(pipeline_id: str, position: int, step: Step) -> PipelineStepRow:
    """A step as it stands before its pipeline begins."""
    return PipelineStepRow(
        pipeline_id=pipeline_id,
        position=position,
        name=step.id,
        kind=step.kind,
        component=step.component,
        method=step.method,
        parameters=step.parameters,
        hands_on=step.output,
        needs=step.needs,
        state=State.PENDING,
        message="",
        attempt=0,
        outputs={},
        output=None,
        is_reused=False,
    )


def step_of(row: PipelineStepRow) -> Step:
    """A stored step as the contract knows it."""
    return Step(
        id=row.name,
        kind=row.kind,
        component=row.component,
        method=row.method,
        parameters=row.parameters,
        output=row.hands_on,
        needs=row.needs,
    )


def output_folder(settings: Settings, row: PipelineStepRow, number: int) -> Path:
    """Where the rows of a step's task of this number go."""
    return settings.pipelines_dir / row.pipeline_id / f"{row.position}-{number}"


def _notices(steps: Sequence[Step]) -> list[dict[str, Any]]:
    """The notices of all steps, each with its place and once."""
    placed = [
        notice.model_copy(update={"field": f"components[{step.component}].{notice.field}"})
        for step in steps
        for notice in step.notices
    ]
    return [notice.model_dump() for at, notice in enumerate(placed) if notice not in placed[:at]]


def _view(session: Session, scope: Scope, row: PipelineRow) -> PipelineView:
    return PipelineView(
        id=row.id,
        name=row.name,
        project=row.project,
        workflow=row.workflow,
        state=State(row.state),
        message=row.message,
        notices=[Notice.model_validate(notice) for notice in row.notices],
        steps=[_step_view(step) for step in repository.steps(session, scope, row.id)],
        created_at=row.created_at,
        ended_at=row.ended_at,
    )


def _step_view(row: PipelineStepRow) -> StepView:
    return StepView(
        id=row.name,
        kind=row.kind,
        component=row.component,
        method=row.method,
        needs=row.needs,
        state=State(row.state),
        message=row.message,
        parameters=row.parameters,
        outputs={name: DataOutput.model_validate(output) for name, output in row.outputs.items()},
        output=row.output,
        task_id=row.task_id,
        is_reused=row.is_reused,
        started_at=row.started_at,
        ended_at=row.ended_at,
    )
