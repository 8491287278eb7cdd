"""The quota ledger on SQLite and on a real PostgreSQL: whatever comes in whatever order, it adds up."""

import concurrent.futures
import itertools
import random

from conftest_platform import LOCAL, TIME, Plane
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from tunesmith.errors import QuotaExceeded
from tunesmith.events import JobEvent, Report
from tunesmith.lifecycle import Desired, State
from tunesmith_platform.clock import now
from tunesmith_platform.db.tables import AttemptRow, QuotaEntryRow, TaskRow
from tunesmith_platform.quota import repository as quota
from tunesmith_platform.quota.service import NewGrant, QuotaChange
from tunesmith_platform.reconciler.decisions import AttemptPhase
from tunesmith_platform.scope import INSTALLATION
from tunesmith_platform.tasks import repository as tasks


class Training:
    """A task of ten steps a planned checkpoint, and what its job has done."""

    def __init__(self, plane: Plane, project: str, planned: int) -> None:
        self.plane, self.planned = plane, planned
        spec = {"max_steps": planned * 10, "save_strategy": "steps", "save_steps": 10}
        self.id = plane.submit(project=project, spec=spec).id
        with plane.services.database.write() as session:
            task = tasks.locked(session, INSTALLATION, self.id)
            task.attempt, task.is_attempt_open = 1, True
            session.add(
                AttemptRow(
                    task_id=self.id, number=1, phase=AttemptPhase.SUBMITTED, last_seq=0, created_at=now()
                )
            )
            self.plane.services.moves.move(session, INSTALLATION, task, State.RUNNING)
        self.seq = 0
        self.saved: set[int] = set()
        self.is_told_to_stop = False

    @property
    def last(self) -> int:
        return max(self.saved, default=0)

    @property
    def is_done(self) -> bool:
        return self.last >= self.planned * 10

    def save(self, step: int) -> None:
        payload = {"kind": "checkpoint", "uri": "/c", "bytes": 1, "files": 1, "manifest_sha256": "0"}
        self.seq += 1
        event = {"seq": self.seq, "time": TIME, "payload": payload | {"step": step}}
        report = Report(attempt=1, events=[JobEvent.model_validate(event)])
        receipt = self.plane.services.events.ingest(self.id, report)
        self.plane.services.events.ingest(self.id, report)  # its answer was lost
        self.saved.add(step)
        self.is_told_to_stop = receipt.desired is Desired.STOP

    def save_planned(self) -> None:
        self.save((self.last // 10 + 1) * 10)

    def save_by_the_clock(self) -> None:
        if self.last % 10 < 9:
            self.save(self.last + 1)

    def end(self) -> None:
        with self.plane.services.database.write() as session:
            task = tasks.locked(session, INSTALLATION, self.id)
            task.is_attempt_open = False
            if task.state == State.RUNNING and not self.is_done:
                self.plane.services.moves.move(session, INSTALLATION, task, State.STOPPING)
            state = State.COMPLETED if self.is_done else State.STOPPED
            self.plane.services.moves.move(session, INSTALLATION, task, state)


def ledger(plane: Plane, project: str) -> list[QuotaEntryRow]:
    with plane.services.database.read() as session:
        query = select(QuotaEntryRow).where(QuotaEntryRow.project == project).order_by(QuotaEntryRow.id)
        return list(session.scalars(query))


def assert_it_adds_up(plane: Plane, project: str, trainings: list[Training]) -> None:
    view = plane.services.quota.get(LOCAL, project)
    entries = ledger(plane, project)
    running = list(itertools.accumulate(entry.amount - entry.reserved for entry in entries))
    assert [entry.available for entry in entries] == running, "each line says what was left after it"
    assert view.available == (running[-1] if running else 0)
    assert view.reserved == sum(entry.reserved for entry in entries)
    assert view.charged == sum(len(training.saved) for training in trainings)
    assert view.granted == sum(entry.amount for entry in entries if entry.kind == "grant")


def open_quota(plane: Plane, project: str, amount: int) -> None:
    plane.services.quota.change(LOCAL, project, QuotaChange(enabled=True))
    if amount:
        plane.services.quota.grant(LOCAL, project, NewGrant(amount=amount), None)


OPERATION = st.one_of(
    st.tuples(st.just("submit"), st.integers(1, 4)),
    st.tuples(st.just("planned"), st.integers(0, 9)),
    st.tuples(st.just("clock"), st.integers(0, 9)),
    st.tuples(st.just("end"), st.integers(0, 9)),
    st.tuples(st.just("grant"), st.integers(-3, 5)),
)
_numbers = itertools.count()


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], database=None
)
@given(amount=st.integers(0, 8), operations=st.lists(OPERATION, max_size=25))
def test_any_order_of_submits_saves_grants_and_ends_adds_up(
    plane: Plane, amount: int, operations: list[tuple[str, int]]
) -> None:
    project = f"p{next(_numbers)}"
    open_quota(plane, project, amount)
    trainings: list[Training] = []
    live: list[Training] = []
    taken = clocked = 0
    for operation, number in operations:
        if operation == "submit":
            before = plane.services.quota.get(LOCAL, project).available
            try:
                training = Training(plane, project, number)
            except QuotaExceeded:
                assert number > before
            else:
                assert number <= before
                trainings.append(training)
                live.append(training)
        elif operation == "grant" and number:
            plane.services.quota.grant(LOCAL, project, NewGrant(amount=number), None)
            taken += max(0, -number)
        elif live and operation in ("planned", "clock", "end"):
            training = live[number % len(live)]
            if operation == "planned":
                training.save_planned()
            elif operation == "clock":
                training.save_by_the_clock()
            if training.is_told_to_stop and not training.is_done:
                training.save_by_the_clock()  # the save of the stop
                clocked += 1
            if operation == "end" or training.is_told_to_stop or training.is_done:
                training.end()
                live.remove(training)
        assert_it_adds_up(plane, project, trainings)
        # Only takings, and stops with nothing left for their own save, lead below zero.
        assert plane.services.quota.get(LOCAL, project).available >= -taken - clocked
        with plane.services.database.read() as session:
            for training in live:
                assert (quota.reservation(session, INSTALLATION, training.id) or 0) >= 1, (
                    "a stop's save is covered"
                )
    for training in live:
        training.end()
    assert plane.services.quota.get(LOCAL, project).reserved == 0


def test_submits_saves_and_ends_side_by_side_never_overdraw(plane: Plane) -> None:
    open_quota(plane, "default", 40)
    made: list[Training] = []
    lowest: list[int] = []
    refused = itertools.count()

    def work(seed: int) -> None:
        chance = random.Random(seed)
        live: list[Training] = []
        for _ in range(25):
            choice = chance.random()
            if choice < 0.5 or not live:
                try:
                    training = Training(plane, "default", chance.randint(1, 5))
                    made.append(training)
                    live.append(training)
                except QuotaExceeded:
                    next(refused)
            else:
                training = chance.choice(live)
                if choice < 0.85:
                    training.save_planned()
                    assert not training.is_told_to_stop, "all that was planned is covered"
                if choice >= 0.85 or training.is_done:
                    training.end()
                    live.remove(training)
            lowest.append(plane.services.quota.get(LOCAL, "default").available)
        for training in live:
            training.end()

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    assert min(lowest) >= 0
    assert next(refused) > 0, "the grant was smaller than what was asked for"
    assert_it_adds_up(plane, "default", made)
    assert plane.services.quota.get(LOCAL, "default").reserved == 0
    with plane.services.database.read() as session:
        submitted = len(list(session.scalars(select(TaskRow.id))))
    assert submitted == len(made), "a refused submit leaves no task"


def test_the_same_grant_sent_side_by_side_is_made_once(plane: Plane) -> None:
    def send(_: int) -> int:
        return plane.services.quota.grant(LOCAL, "new", NewGrant(amount=5), "key")[0].id

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(send, range(16)))) == 1
    assert plane.services.quota.get(LOCAL, "new").available == 5
