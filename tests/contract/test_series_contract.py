"""Curves are the same on SQLite and on a real PostgreSQL, whatever is sent twice, and while they are written."""

import concurrent.futures
from typing import Any

import pytest
from conftest_platform import LOCAL, TIME, Plane
from sqlalchemy import func, select

from tunesmith.curves import Mode
from tunesmith.events import JobEvent, Report
from tunesmith_platform.db.tables import ChunkRow
from tunesmith_platform.series import chunks, reading
from tunesmith_platform.series.query import Wish


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Little is much: chunks of two groups, folded often, read by their roll-ups."""
    monkeypatch.setattr(chunks, "FOLD_EVENTS", 50)
    monkeypatch.setattr(chunks, "CHUNK_POINTS", 128)
    monkeypatch.setattr(reading, "EXACT_POINTS", 0)


def report(start: int, stop: int) -> Report:
    """A batch whose event `seq` measures step `seq`, with a value that reads back to the last bit."""

    def event(seq: int) -> dict[str, Any]:
        values = {"loss": 1 / seq, "learning_rate": 5e-324 * seq}
        return {"seq": seq, "time": TIME, "payload": {"kind": "metrics", "step": seq, "values": values}}

    return Report(attempt=1, events=[JobEvent.model_validate(event(seq)) for seq in range(start, stop)])


def test_values_read_back_to_the_last_bit_and_are_there_once(plane: Plane, small: None) -> None:
    task = plane.running()
    for start in range(2, 602, 60):
        for _ in range(2):
            plane.services.events.ingest(task.id, report(start, start + 60))
    found = plane.services.series.curves(LOCAL, task.id, None, Wish(points=4000, average=1)).curves
    assert {curve.name: curve.value for curve in found} == {
        "learning_rate": [5e-324 * seq for seq in range(2, 602)],
        "loss": [1 / seq for seq in range(2, 602)],
    }
    with plane.services.database.read() as session:
        packed = select(func.sum(ChunkRow.points)).where(ChunkRow.name == "loss")
        assert 500 < (session.scalar(packed) or 0) <= 600


def test_a_reader_sees_one_moment_while_events_are_folded(plane: Plane, small: None) -> None:
    task = plane.running()

    def write() -> None:
        for start in range(2, 1002, 10):
            plane.services.events.ingest(task.id, report(start, start + 10))

    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        writing = pool.submit(write)
        last = 0
        while not writing.done() or last < 1001:
            found = plane.services.series.curves(
                LOCAL, task.id, ["loss"], Wish(points=4000, average=1, mode=Mode.SEGMENTS)
            ).curves
            if not found:
                continue
            (curve,) = found  # a doubled point would begin a second segment
            assert curve.step == list(range(2, curve.step[-1] + 1))
            assert curve.step[-1] >= last
            last = curve.step[-1]
        writing.result()
