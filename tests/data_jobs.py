"""Carries out the jobs on data that a test's control plane handed to its fake Ray."""

import datetime as dt
import json
from pathlib import Path

from conftest_platform import Plane

from tunesmith.data_step import DataDocument
from tunesmith.events import JobPayload
from tunesmith.lifecycle import Desired
from tunesmith.outcome import Outcome
from tunesmith.spec.kinds import Room, kind_of
from tunesmith_jobs.activities import Activities
from tunesmith_jobs.program import Attempt
from tunesmith_jobs.worker import do
from tunesmith_platform.backends.protocols import ATTEMPT, JobStatus


class Ear:
    """An outlet that keeps what it hears."""

    superseded = False
    save_now = 0
    early_stop: str | None = None
    pinned: frozenset[int] | None = None
    listed: frozenset[int] | None = None

    def __init__(self, desired: Desired = Desired.RUN) -> None:
        self.desired = desired
        self.activities = Activities()
        self.heard: list[JobPayload] = []

    def emit(self, payload: JobPayload, time: dt.datetime | None = None) -> None:
        self.heard.append(payload)


def waiting(plane: Plane, room: Room = Room.DATA) -> list[str]:
    """The attempts of a room that nobody has begun with."""
    jobs = plane.jobs
    return [
        job
        for job, status in jobs.jobs.items()
        if status is JobStatus.PENDING and jobs.programs[job] == ATTEMPT
        if kind_of(json.loads(Path(jobs.documents[job]).read_bytes())["kind"]).room is room
    ]


def carry_out(plane: Plane, job: str) -> Outcome:
    """Do a job's work here, and report as it would."""
    document = DataDocument.model_validate_json(Path(plane.jobs.documents[job]).read_bytes())
    ear = Ear()
    outcome = do(Attempt.of(document), ear)
    said = [payload.model_dump(mode="json") for payload in (*ear.heard, outcome.finished())]
    plane.report(plane.task(document.task_id), *said, attempt=document.attempt)
    plane.jobs.jobs[job] = JobStatus.SUCCEEDED
    return outcome
