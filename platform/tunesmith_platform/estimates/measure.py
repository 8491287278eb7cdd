"""Measured preflights: started, looked after when somebody asks, and kept for whatever would measure the same.

One at a time on the whole installation, outside the tasks and their queue. The job ends itself at its limit; whoever
asks next records what it left, or that it left nothing. Knows jobs and storage; knows nothing of formulas.
"""

import datetime as dt
import hashlib
import json
from pathlib import Path
from typing import Any

from tunesmith.errors import Conflict, TunesmithError
from tunesmith.estimate import MeasurementState, MeasurementView
from tunesmith.job import ray_job_id
from tunesmith.probe import PROGRAM, RESULT, ProbeDocument, ProbeResult
from tunesmith.removal import remove_names
from tunesmith.secret_values import words_without_secrets
from tunesmith.spec.kinds import Room
from tunesmith.spec.parameter import names_with
from tunesmith.spec.roles import Role
from tunesmith.spec.training import TrainSpec
from tunesmith.storage import open_storage
from tunesmith_platform.backends.compute import Compute, ComputeService
from tunesmith_platform.backends.protocols import Jobs, JobStatus
from tunesmith_platform.clock import new_id, now
from tunesmith_platform.db.engine import Database, advisory_lock
from tunesmith_platform.db.tables import MeasurementRow
from tunesmith_platform.estimates import repository
from tunesmith_platform.file_state import state_of
from tunesmith_platform.queue import repository as queue
from tunesmith_platform.scope import INSTALLATION, Scope
from tunesmith_platform.settings import Settings
from tunesmith_platform.tasks.inputs import TrainInputs

LIMIT = dt.timedelta(minutes=8)
"""How long a measurement may take, its start included."""
_DOCUMENT = "attempt-1.json"
_GRACE = dt.timedelta(seconds=60)
_INDIFFERENT = frozenset(names_with(TrainSpec, Role.NO_STEP_COST))
"""Parameters that change neither the memory nor the time of a step; every other one is part of the key."""


class Measurements:
    """The measurements of this platform."""

    def __init__(self, database: Database, settings: Settings, jobs: Jobs, compute: ComputeService) -> None:
        self._database = database
        self._settings = settings
        self._jobs = jobs
        self._compute = compute

    def find(self, scope: Scope, spec: TrainSpec, inputs: TrainInputs) -> MeasurementView | None:
        """What was measured of the same before; None when nothing was."""
        key = key_of(spec, inputs, self._compute.look())
        with self._database.read() as session:
            row = repository.newest(session, scope, key, [MeasurementState.DONE])
            return _view(row) if row else None

    def measure(
        self, scope: Scope, spec: TrainSpec, inputs: TrainInputs, tokenizer_path: str | None
    ) -> MeasurementView:
        """The measurement of a run: one that was made before, one under way, or a new one.

        Raises:
            Conflict: Another one is under way, or a task runs: each would disturb the other.
            Unavailable: Ray cannot be reached.
        """
        key = key_of(spec, inputs, self._compute.look())
        with self._database.read() as session:
            under_way = [row.id for row in repository.running(session, INSTALLATION)]
        for measurement_id in under_way:
            self.get(INSTALLATION, measurement_id)  # it may be over and nobody asked
        moment = now()
        row = MeasurementRow(
            **scope.stamp(),
            id=new_id("measure"),
            key=key,
            state=MeasurementState.MEASURING.value,
            message="Being handed to Ray.",
            spec=spec.model_dump(mode="json"),
            inputs=inputs.model_dump(mode="json"),
            result=None,
            created_at=moment,
            ended_at=None,
        )
        with self._database.write() as session:
            advisory_lock(session, "measurement")
            found = repository.newest(
                session, scope, key, [MeasurementState.DONE, MeasurementState.MEASURING]
            )
            if found is not None:
                return _view(found)
            if others := repository.running(session, INSTALLATION):
                raise Conflict(
                    f"Another measurement, `{others[0].id}`, is under way.",
                    hint="Ask again when it has ended; it takes a few minutes at most.",
                )
            if queue.count_open(session, INSTALLATION, Room.TRAIN) or queue.count_open(
                session, INSTALLATION, Room.MODEL
            ):
                raise Conflict(
                    "A task is running: a measurement beside it would measure both.",
                    hint="Ask again when it has ended, or take the estimate by formula.",
                )
            session.add(row)
            view = _view(row)
        try:
            self._submit(row, tokenizer_path)
        except (TunesmithError, OSError) as error:
            words = f"It could not be started: {words_without_secrets(error)}"
            self._end(scope, row.id, MeasurementState.FAILED, words)
            raise
        return view

    def get(self, scope: Scope, measurement_id: str) -> MeasurementView:
        """A measurement as it stands now.

        Raises:
            NotFound: There is none with this id.
        """
        row = self.row(scope, measurement_id)
        if row.state != MeasurementState.MEASURING:
            return _view(row)
        result = self._result(row)
        seen = self._jobs.observe(ray_job_id(row.id, 1))
        is_late = now() - row.created_at > LIMIT + _GRACE
        if result is None and (seen.status.is_over or seen.status is JobStatus.ABSENT or is_late):
            result = self._result(row)  # it may have come while we looked
        if result is not None:
            state = MeasurementState.FAILED if result.error else MeasurementState.DONE
            return self._end(scope, row.id, state, result.error, result)
        if is_late:
            self._kill(row.id)
            return self._end(
                scope, row.id, MeasurementState.FAILED, f"It took longer than {LIMIT.seconds // 60} minutes."
            )
        is_gone = seen.status is JobStatus.ABSENT and now() - row.created_at > _GRACE
        if seen.status.is_over or is_gone:
            tail = self._jobs.log_tail(ray_job_id(row.id, 1), 5)
            words = seen.message or "the job ended without a result"
            return self._end(scope, row.id, MeasurementState.FAILED, f"{words}. {tail}".strip()[:2000])
        return _view(row)

    def row(self, scope: Scope, measurement_id: str) -> MeasurementRow:
        """A measurement's own record."""
        with self._database.read() as session:
            return repository.require(session, scope, measurement_id)

    def _submit(self, row: MeasurementRow, tokenizer_path: str | None) -> None:
        document = ProbeDocument(
            id=row.id,
            spec=row.spec,
            model_path=row.inputs["model_path"],
            train_path=row.inputs["train_path"],
            eval_path=row.inputs["eval_path"],
            tokenizer_path=tokenizer_path,
            work_dir=f"{self._settings.work_dir}/{row.id}",
            limit_seconds=LIMIT.total_seconds(),
        )
        storage = open_storage(self._settings.storage_uri)
        path = f"{_folder(row.id)}/{_DOCUMENT}"
        storage.write(path, document.model_dump_json(indent=1).encode())
        self._jobs.submit(ray_job_id(row.id, 1), f"{storage.uri}/{path}", PROGRAM)

    def _result(self, row: MeasurementRow) -> ProbeResult | None:
        data = open_storage(self._settings.storage_uri).read(f"{_folder(row.id)}/{RESULT}")
        return ProbeResult.model_validate_json(data) if data else None

    def _kill(self, measurement_id: str) -> None:
        try:
            self._jobs.kill(ray_job_id(measurement_id, 1))
        except TunesmithError:
            return  # it ends itself at its limit

    def _end(
        self,
        scope: Scope,
        measurement_id: str,
        state: MeasurementState,
        message: str,
        result: ProbeResult | None = None,
    ) -> MeasurementView:
        with self._database.write() as session:
            row = repository.require(session, scope, measurement_id)
            if row.state == MeasurementState.MEASURING:
                row.state, row.message, row.ended_at = state.value, message, now()
                row.result = result.model_dump(mode="json") if result and not result.error else None
            view = _view(row)
        remove_documents(self._settings, measurement_id)
        return view


def key_of(spec: TrainSpec, inputs: TrainInputs, compute: Compute) -> str:
    """The same for what would measure the same: model, data, the parameters that matter, hardware."""
    parameters = {
        name: value for name, value in spec.model_dump(mode="json").items() if name not in _INDIFFERENT
    }
    parts = [
        state_of(Path(inputs.model_path)),
        state_of(Path(inputs.train_path)),
        parameters,
        *_hardware(compute),
    ]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _hardware(compute: Compute) -> list[Any]:
    """What tells one cluster from another: the machine where it is all of it, else what Ray has said."""
    found: list[Any] = []
    if (here := compute.machine) is not None:
        found = [here.model_dump(mode="json", exclude={"cpu_flags"}), sorted(here.cpu_flags)]
        if here.gpus or not compute.has_gpu:
            return found
    has = compute.cluster
    return [*found, [has.nodes, has.cpus, has.gpus, has.memory_bytes] if has is not None else None]


def remove_documents(settings: Settings, measurement_id: str) -> None:
    """Remove what a measurement was handed, and what it answered."""
    remove_names(open_storage(settings.storage_uri), _folder(measurement_id), _DOCUMENT, RESULT)


def _folder(measurement_id: str) -> str:
    return f"estimates/{measurement_id}"


def _view(row: MeasurementRow) -> MeasurementView:
    result = ProbeResult.model_validate(row.result) if row.result else None
    return MeasurementView(
        id=row.id,
        state=MeasurementState(row.state),
        message=row.message,
        peak_bytes=result.peak_bytes if result else None,
        seconds_per_step=result.seconds_per_step if result else None,
        longest_step_seconds=result.longest_step_seconds if result else None,
        start_seconds=result.start_seconds if result else None,
        longest_batch_tokens=result.longest_batch_tokens if result else None,
        created_at=row.created_at,
    )
