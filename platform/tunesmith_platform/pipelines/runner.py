"""The loop that carries pipelines out: observe the steps that run, decide, start, stop, record.

Level-triggered, under a lease of its own: it looks at what is, so a step is started once however often the platform
restarts. Each step is a task like any other: on data, to train, or to use a model. No file is read and nothing is
called while a transaction is open.
"""

import datetime as dt
import logging
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Protocol

from tunesmith.errors import Conflict, NotFound, TunesmithError, Unavailable
from tunesmith.lifecycle import Desired, State
from tunesmith.spec.kinds import Feature, kind_of
from tunesmith.spec.task import MoreSteps, new_task
from tunesmith.spec.variables import resolve
from tunesmith.storage import local_path
from tunesmith_platform.clock import now
from tunesmith_platform.db.engine import Database
from tunesmith_platform.db.tables import PipelineRow, PipelineStepRow
from tunesmith_platform.hub import Hub
from tunesmith_platform.leases import Lease
from tunesmith_platform.loops import Loop
from tunesmith_platform.pipelines import repository
from tunesmith_platform.pipelines.decisions import StepFacts, decide
from tunesmith_platform.pipelines.service import output_folder, step_of
from tunesmith_platform.scope import INSTALLATION, Scope
from tunesmith_platform.settings import Settings
from tunesmith_platform.tasks.derive import TaskVerbs
from tunesmith_platform.tasks.kinds.registry import Kinds
from tunesmith_platform.tasks.service import TaskService
from tunesmith_platform.tasks.step_paths import content_key

logger = logging.getLogger(__name__)

_LEASE = dt.timedelta(seconds=60)


class Services(Protocol):
    """The parts that the loop works with."""

    database: Database
    hub: Hub
    kinds: Kinds
    settings: Settings
    tasks: TaskService
    verbs: TaskVerbs


class PipelineRunner(Loop):
    """Brings every pipeline on."""

    idle_seconds = 0.0  # nobody waits for the next step to the second: it looks by the clock

    def __init__(self, services: Services) -> None:
        super().__init__(services.hub)
        self._services = services
        self._settings = services.settings
        self._lease = Lease(services.database, "pipelines", _LEASE)

    def end(self) -> None:
        """Let another process take over at once."""
        self._lease.release()

    def tick(self) -> None:
        """One round."""
        with self._services.database.read() as session:
            if not (todo := repository.open_ones(session, INSTALLATION)):
                return
        if not self._lease.take():
            return
        self.each(todo, self.advance, told=self._tell_trouble)

    def _tell_trouble(self, pipeline_id: str, error: BaseException | None) -> None:
        """Say in a pipeline's message that it cannot be brought on; the next round that can writes over it."""
        if error is None:
            return
        with self._services.database.write() as session:
            repository.require(session, INSTALLATION, pipeline_id, locked=True).message = _trouble(error)

    def advance(self, pipeline_id: str) -> None:
        """Bring one pipeline as far as it goes now.

        Raises:
            LeaseLost: Another process brings it on: this one stood still for too long.
        """
        if not self._lease.take():
            return  # the pipelines before this one took long
        row, steps = self._read(pipeline_id)
        under_way = [step for step in steps if step.state in (State.RUNNING, State.STOPPING)]
        scope = Scope.acting_for(row)
        self.each(under_way, lambda row: self._observe_task(row, scope), name=_called, told=self._tell_step)
        while True:
            row, steps = self._read(pipeline_id)
            by_name = {step.name: step for step in steps}
            facts = [StepFacts(step.name, State(step.state), step.needs) for step in steps]
            wanted = decide(facts, Desired(row.desired))
            self.each(
                [by_name[name] for name in wanted.stop],
                lambda row: self._stop_step(row, scope),
                name=_called,
            )
            # A step whose result was there already may let others start at once.
            if not self._start_each(row, wanted.start, by_name):
                break
        self._record(pipeline_id, wanted.state)

    def _start_each(
        self, pipeline: PipelineRow, names: Iterable[str], by_name: dict[str, PipelineStepRow]
    ) -> bool:
        """Start steps; whether one of them is done at once."""
        done: list[str] = []

        def start(row: PipelineStepRow) -> None:
            if self._start(pipeline, row, by_name):
                done.append(row.name)

        self.each([by_name[name] for name in names], start, name=_called, told=self._tell_step)
        return bool(done)

    def _tell_step(self, row: PipelineStepRow, error: BaseException | None) -> None:
        """Say in a step's message that it cannot be looked after; what it does next writes over it."""
        if error is not None:
            self._note(row, _trouble(error))

    def _read(self, pipeline_id: str) -> tuple[PipelineRow, list[PipelineStepRow]]:
        with self._services.database.read() as session:
            return repository.require(session, INSTALLATION, pipeline_id), list(
                repository.steps(session, INSTALLATION, pipeline_id)
            )

    def _record(self, pipeline_id: str, state: State) -> None:
        with self._services.database.write() as session:
            self._lease.require(session)
            row = repository.require(session, INSTALLATION, pipeline_id, locked=True)
            steps = repository.steps(session, INSTALLATION, pipeline_id)
            row.state = state if row.desired == Desired.RUN or state.is_terminal else State.STOPPING
            done = sum(step.state == State.COMPLETED for step in steps)
            row.message = f"{done} of {len(steps)} steps are done."
            failed = [step for step in steps if step.state == State.FAILED]
            if failed:
                row.message = f"`{failed[0].name}` failed: {failed[0].message}"
            row.ended_at = now() if state.is_terminal else None

    # --- one step

    def _start(
        self, pipeline: PipelineRow, row: PipelineStepRow, by_name: dict[str, PipelineStepRow]
    ) -> bool:
        """Start a step, or take what an identical one made. True when it is done at once."""
        scope = Scope.acting_for(pipeline)
        step = step_of(row)
        try:
            kind = self._services.kinds.of(row.kind)
            if row.task_id is not None and _goes_on(row):
                self._carry_on_task(row, scope)
                return False
            outputs = {"jobs": {name: {"output": other.output} for name, other in by_name.items()}}
            step.parameters = resolve(step.parameters, outputs)
            kind.look_again(scope, step, row.parameters)
            spec = kind.read_step(step, self._environment())
            pinned = kind.pinned(scope, spec, step.parameters)
            sums = {
                output["path"]: output["sha256"]
                for other in by_name.values()
                for output in other.outputs.values()
            }
            key = content_key(step, kind.paths, pinned.told_by, sums)
            if key is not None and pipeline.reuse:
                with self._services.database.read() as session:
                    found = list(repository.same(session, scope, key))
                    if not found and repository.is_running(session, scope, key):
                        return False  # what it waits for is being made
                for other in found:
                    if self._is_there(scope, other):
                        self._finish(row, other.outputs, other.task_id, other.output, key=key, is_reused=True)
                        return True
            self._start_task(pipeline, row, kind.of_step(step, pinned.parameters), key)
        except Unavailable as error:
            self._note(row, f"Waiting: {error.message}")
        except TunesmithError as error:
            self._fail(row, error)
        return False

    def _environment(self) -> dict[str, str | None]:
        return {name: os.environ.get(name) for name in self._settings.pipeline_environment}

    def _is_there(self, scope: Scope, row: PipelineStepRow) -> bool:
        """Whether what a step made is still there."""
        if not all(Path(output["path"]).is_file() for output in row.outputs.values()):
            return False
        if row.outputs:
            return True
        try:
            task = self._services.tasks.get(scope, str(row.task_id))
        except NotFound:
            return False
        place = local_path(task.model_uri) if task.model_uri else None
        return task.state is State.COMPLETED and (place is None or place.is_dir())

    def _start_task(
        self, pipeline: PipelineRow, row: PipelineStepRow, parameters: dict[str, Any], key: str | None
    ) -> None:
        # What goes on where it was has one task; what begins anew has one each time.
        number = row.attempt if _goes_on(row) else row.attempt + 1
        envelope = {
            "name": f"{pipeline.name}-{row.name}"[:120],
            "project": pipeline.project,
            "tags": ["pipeline"],
            "notes": f"Step `{row.name}` of the pipeline {pipeline.id}.",
        }
        task, _ = self._services.tasks.create(
            Scope.acting_for(pipeline),
            new_task(row.kind, parameters, envelope),
            f"{pipeline.id}.{row.position}.{number}",
            rows_dir=output_folder(self._settings, row, number),
        )
        self._begin(row, key, attempt=number, task_id=task.id, message=task.message)

    def _carry_on_task(self, row: PipelineStepRow, scope: Scope) -> None:
        """Continue the task of a step that failed, from its last checkpoint."""
        task = self._services.tasks.get(scope, str(row.task_id))
        if task.state in (State.FAILED, State.STOPPED):
            self._services.verbs.carry_on(scope, task.id, MoreSteps())
        self._begin(row, row.key, task_id=task.id)

    def _observe_task(self, row: PipelineStepRow, scope: Scope) -> None:
        try:
            task = self._services.tasks.get(scope, str(row.task_id))
        except NotFound as error:
            self._fail(row, error, forget_task=True)
            return
        if task.state is State.COMPLETED:
            made = self._services.kinds.of(row.kind).result(scope, task)
            outputs = {name: output.model_dump(mode="json") for name, output in made.rows.items()}
            self._finish(row, outputs, task.id, made.handed_on)
        elif task.state is State.FAILED:
            self._end(row, State.FAILED, task.message)
        elif task.state is State.STOPPED:
            self._end(row, State.STOPPED, task.message)
        elif task.message != row.message:
            self._note(row, task.message)

    def _stop_step(self, row: PipelineStepRow, scope: Scope) -> None:
        try:
            self._services.tasks.stop(scope, str(row.task_id))
        except (NotFound, Conflict, Unavailable) as error:
            logger.warning("%s could not be stopped yet: %s", row.name, error.message)
            return
        self._change(row, state=State.STOPPING, message="Stopping.")

    # --- records

    def _change(self, row: PipelineStepRow, **values: Any) -> None:
        with self._services.database.write() as session:
            self._lease.require(session)
            stored = repository.step(session, INSTALLATION, row.pipeline_id, row.position)
            for name, value in values.items():
                setattr(stored, name, value)

    def _begin(self, row: PipelineStepRow, key: str | None, **values: Any) -> None:
        moment = {"started_at": now(), "ended_at": None}
        self._change(row, **({"message": ""} | values | moment), state=State.RUNNING, key=key)

    def _finish(
        self, row: PipelineStepRow, outputs: dict[str, Any], task_id: str | None, raw: Any, **values: Any
    ) -> None:
        """Record a step as done, with what it hands on."""
        moment = now()
        try:
            handed = raw
            if row.hands_on is not None and not values.get("is_reused"):
                _, steps = self._read(row.pipeline_id)
                jobs = {step.name: {"output": step.output} for step in steps}
                handed = resolve(row.hands_on, {"output": raw, "jobs": jobs})
        except TunesmithError as error:
            self._fail(row, error)
            return
        values = {"started_at": row.started_at or moment, "message": ""} | values
        self._change(
            row,
            state=State.COMPLETED,
            outputs=outputs,
            task_id=task_id,
            output=handed,
            ended_at=moment,
            **values,
        )

    def _fail(self, row: PipelineStepRow, error: TunesmithError, *, forget_task: bool = False) -> None:
        hint = f" {error.hint}" if error.hint else ""
        self._end(row, State.FAILED, f"{error.message}{hint}")
        if forget_task:
            self._change(row, task_id=None, attempt=row.attempt + 1)

    def _end(self, row: PipelineStepRow, state: State, message: str) -> None:
        self._change(row, state=state, message=message[:4000], ended_at=now())

    def _note(self, row: PipelineStepRow, message: str) -> None:
        if row.message != message:
            self._change(row, message=message)


def _goes_on(row: PipelineStepRow) -> bool:
    """Whether a step that failed goes on in its task, from a checkpoint."""
    return Feature.CHECKPOINTS in kind_of(row.kind).supports


def _called(row: PipelineStepRow) -> str:
    return f"{row.pipeline_id} {row.name}"


def _trouble(error: BaseException) -> str:
    why = error.message if isinstance(error, TunesmithError) else type(error).__name__
    return f"The platform cannot bring it on just now and goes on trying: {why}"[:4000]
