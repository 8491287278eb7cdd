"""Curves: folding, roll-ups, reducing with exact extremes, zoom, smoothing, axes, attempts, comparing, exporting."""

import csv
import io
import random
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from conftest_platform import LOCAL, TIME, Plane
from fastapi.testclient import TestClient
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from tunesmith.curves import Axis, Curve, Mode
from tunesmith.views import TaskView
from tunesmith_platform.clock import now
from tunesmith_platform.db.tables import AttemptRow, ChunkRow
from tunesmith_platform.reconciler.decisions import AttemptPhase
from tunesmith_platform.scope import INSTALLATION
from tunesmith_platform.series import chunks, downsample, reading
from tunesmith_platform.series.query import Span, Wish
from tunesmith_platform.tasks import repository as tasks

Measurement = tuple[int, int, float]
"""Attempt, step, value."""


def begin_attempt(plane: Plane, task: TaskView, attempt: int) -> None:
    with plane.services.database.write() as session:
        row = tasks.locked(session, INSTALLATION, task.id)
        row.attempt, row.is_attempt_open = attempt, True
        phase = AttemptPhase.SUBMITTED
        session.add(AttemptRow(task_id=task.id, number=attempt, phase=phase, last_seq=0, created_at=now()))


def measure(plane: Plane, task: TaskView, found: Sequence[Measurement], batch: int = 400) -> None:
    """Report measurements as the attempts' jobs do; attempts beyond the first are begun."""
    attempts = sorted({attempt for attempt, _, _ in found})
    for attempt in attempts:
        if attempt > 1:
            begin_attempt(plane, task, attempt)
        own = [
            {"kind": "metrics", "step": step, "values": {"loss": value, "supervised_tokens": step * 10.0}}
            for of, step, value in found
            if of == attempt
        ]
        for start in range(0, len(own), batch):
            plane.report(task, *own[start : start + batch], attempt=attempt)


def training(chance: random.Random, attempts: int, restarts: int, steps: int) -> list[Measurement]:
    """What is measured by a training that is thrown back again and again."""
    found: list[Measurement] = []
    step = 0
    for attempt in range(1, attempts + 1):
        for _ in range(restarts + 1):
            for _ in range(chance.randint(1, steps)):
                step += chance.choice([1, 1, 1, 2])
                found.append((attempt, step, round(chance.gauss(2, 1), 1)))
                if chance.random() < 0.02:
                    found.append((attempt, step, round(chance.gauss(2, 1), 1)))
            step = max(0, step - chance.randint(0, steps))
    return found


def segments(found: Sequence[Measurement]) -> list[list[Measurement]]:
    """Brute force: rising stretches of one attempt, of a step measured twice in a row the second."""
    parts: list[list[Measurement]] = []
    for item in found:
        if parts and parts[-1][-1][0] == item[0] and parts[-1][-1][1] <= item[1]:
            if parts[-1][-1][1] == item[1]:
                parts[-1].pop()
            parts[-1].append(item)
        else:
            parts.append([item])
    return parts


def merged(found: Sequence[Measurement]) -> list[Measurement]:
    """Brute force: of each step what was measured last."""
    last = {step: (attempt, step, value) for attempt, step, value in found}
    return [last[step] for step in sorted(last)]


def drawn(curve: Curve) -> list[Measurement]:
    return list(zip(curve.attempts, curve.step, curve.value, strict=True))


def one(plane: Plane, task: TaskView, **wish: Any) -> Curve:
    (curve,) = plane.services.series.curves(LOCAL, task.id, ["loss"], Wish(**wish)).curves
    return curve


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Little is much: chunks of two groups, folded often, read by their roll-ups."""
    monkeypatch.setattr(chunks, "FOLD_EVENTS", 50)
    monkeypatch.setattr(chunks, "CHUNK_POINTS", 128)
    monkeypatch.setattr(reading, "EXACT_POINTS", 0)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.slow
def test_whatever_restarts_the_curves_are_those_of_the_log(plane: Plane, small: None, seed: int) -> None:
    chance = random.Random(seed)
    found = training(chance, attempts=chance.randint(1, 3), restarts=chance.randint(0, 2), steps=700)
    task = plane.running()
    measure(plane, task, found, batch=chance.choice([1, 37, 400]))
    # All points where there is room for them.
    top = max(step for _, step, _ in found)
    for window in (Span(0, 10**9), Span(top // 3, top // 2), Span(top, top)):
        inside = [m for m in merged(found) if window.first <= m[1] <= window.last]
        curves = plane.services.series.curves(
            LOCAL, task.id, ["loss"], Wish(window=window, average=1, points=4000)
        ).curves
        assert [drawn(curve) for curve in curves] == ([inside] if inside else [])
        # Reduced: few points, of the very measurements, with the first, the last, the lowest and the highest.
        for curve in plane.services.series.curves(
            LOCAL, task.id, ["loss"], Wish(window=window, points=60)
        ).curves:
            assert len(curve.step) <= 60
            assert curve.count == len(inside)
            assert set(drawn(curve)) <= set(inside)
            assert curve.step == sorted(set(curve.step))
            assert (drawn(curve)[0], drawn(curve)[-1]) == (inside[0], inside[-1])
            values = [value for _, _, value in inside]
            assert (min(curve.value), max(curve.value)) == (min(values), max(values))
    apart = plane.services.series.curves(
        LOCAL, task.id, ["loss"], Wish(mode=Mode.SEGMENTS, average=1, points=4000)
    ).curves
    assert [drawn(curve) for curve in apart] == segments(found)
    laid = one(plane, task, mode=Mode.ACCUMULATED, average=1, points=4000)
    assert drawn(laid) == [m for part in segments(found) for m in part]
    assert all(a < b for a, b in pairwise(laid.x)), "redone steps lie behind what they redo"


def test_each_bucket_has_its_lowest_and_its_highest(plane: Plane, small: None) -> None:
    chance = random.Random(1)
    values = [round(chance.gauss(0, 1), 1) for _ in range(5000)]
    task = plane.running()
    measure(plane, task, [(1, step, value) for step, value in enumerate(values)])
    curve = one(plane, task, points=100)
    assert curve.bucket % 64 == 0
    assert curve.bucket <= 64 * 3
    kept = {0, len(values) - 1}
    for start in range(0, len(values), curve.bucket):
        bucket = values[start : start + curve.bucket]
        kept |= {start + bucket.index(min(bucket)), start + bucket.index(max(bucket))}
    assert drawn(curve) == [(1, step, values[step]) for step in sorted(kept)]
    # Zoomed in, boundaries stay where they were.
    zoom = one(plane, task, points=100, window=Span(1000, 4000))
    width = zoom.bucket
    first = -(-1000 // width) * width
    inside = range(first, 4001 // width * width)
    expected = set()
    for start in range(first, 4001 // width * width, width):
        bucket = values[start : start + width]
        expected |= {start + bucket.index(min(bucket)), start + bucket.index(max(bucket))}
    assert expected == {step for step in zoom.step if step in inside}


def test_what_is_sent_again_changes_nothing(plane: Plane, small: None) -> None:
    task = plane.running()
    payloads = [{"kind": "metrics", "step": step, "values": {"loss": 1.0 * step}} for step in range(1, 200)]
    plane.report(task, *payloads)
    before = one(plane, task, points=4000)
    plane.seqs[task.id, 1] = 1  # as if no answer had come
    plane.report(task, *payloads)
    assert one(plane, task, points=4000) == before
    with plane.services.database.read() as session:
        row = tasks.require(session, INSTALLATION, task.id)
        assert row.folded > 0
        assert session.query(ChunkRow).filter_by(name="loss").count() == 2


def test_chunks_go_with_their_task(plane: Plane, small: None) -> None:
    task = plane.running()
    measure(plane, task, [(1, step, 1.0) for step in range(100)])
    plane.report(task, {"kind": "finished", "outcome": "completed", "reason": "completed"})
    with plane.services.database.write() as session:
        assert session.query(ChunkRow).count() == 2
        session.delete(tasks.require(session, INSTALLATION, task.id))
    with plane.services.database.read() as session:
        assert session.query(ChunkRow).count() == 0


def test_odd_names_stay_in_the_log_and_odd_steps_are_refused(plane: Plane, small: None) -> None:
    task = plane.running()
    odd = {"kind": "metrics", "step": 10**30, "values": {"loss": 1.0}}
    long = {"kind": "metrics", "step": 1, "values": {"x" * 5000: 1.0, "损失": 2.0, "": 3.0, "loss": 1e300}}
    with pytest.raises(ValidationError):
        plane.report(task, odd)
    plane.report(task, *[long | {"step": step} for step in range(1, 99)])
    curves = plane.services.series.curves(LOCAL, task.id, None, Wish()).curves
    assert [curve.name for curve in curves] == ["", "loss", "损失"]
    assert one(plane, task, average=3).value[-1] == 1e300


@given(
    values=st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=80),
    window=st.integers(1, 90),
    alpha=st.floats(0.01, 1),
)
def test_smoothing_is_what_it_says(values: list[float], window: int, alpha: float) -> None:
    means = [float(np.mean(values[max(0, i - window + 1) : i + 1])) for i in range(len(values))]
    assert np.allclose(downsample.moving_average(np.array(values), window), means)
    mean = values[0]
    expected = [mean]
    for value in values[1:]:
        mean = alpha * value + (1 - alpha) * mean
        expected.append(mean)
    assert downsample.ema(np.array(values), alpha).tolist() == expected


@given(
    values=st.lists(st.integers(-5, 5), min_size=1, max_size=300),
    cuts=st.sets(st.integers(1, 299), max_size=60),
    limit=st.integers(10, 100),
)
def test_reduced_is_never_more_than_asked_and_misses_no_extreme(
    values: list[int], cuts: set[int], limit: int
) -> None:
    places = np.arange(len(values))
    owners = np.searchsorted(np.array(sorted(cuts), np.int64), places, side="right")
    index = places - np.array([places[owners == owner][0] for owner in owners])
    found = downsample.reduce(owners, index, np.array(values, np.float64), limit, grouped=False)
    kept = [values[place] for place in found.places]
    assert len(kept) <= limit
    assert (min(kept), max(kept)) == (min(values), max(values))
    assert (found.places[0], found.places[-1]) == (0, len(values) - 1)
    assert (found.bucket == 1) == (len(values) <= limit)


def test_zooming_does_not_move_a_smoothed_curve(plane: Plane, small: None) -> None:
    chance = random.Random(2)
    task = plane.running()
    measure(plane, task, [(1, step, chance.random()) for step in range(600)])
    for wish in ({"ema": 0.1}, {"average": 50}):
        whole = dict(zip((full := one(plane, task, points=4000, **wish)).step, full.value, strict=True))
        zoom = one(plane, task, points=4000, window=Span(300, 400), **wish)
        assert zoom.step == list(range(300, 401))
        assert zoom.value == [whole[step] for step in zoom.step]
        assert zoom.count == 101


def test_axes(plane: Plane, small: None) -> None:
    task = plane.running()
    measure(
        plane, task, [(1, step, 1.0) for step in range(1, 100)] + [(2, step, 2.0) for step in range(50, 60)]
    )
    by_tokens = one(plane, task, x=Axis.TOKENS)
    assert by_tokens.x == [step * 10.0 for step in by_tokens.step]
    assert one(plane, task, x=Axis.TOKENS, mode=Mode.ACCUMULATED).x[-1] == pytest.approx(990 + 10 * 10)
    assert one(plane, task, mode=Mode.ACCUMULATED).x == list(range(1, 110))
    started = plane.task(task.id).started_at
    assert started
    assert one(plane, task, x=Axis.TIME).x[0] == pytest.approx((TIME - started).total_seconds())
    with_none = plane.running()
    plane.report(with_none, {"kind": "metrics", "step": 1, "values": {"loss": 1.0}})
    assert plane.services.series.curves(LOCAL, with_none.id, None, Wish(x=Axis.TOKENS)).curves == []


def test_curves_over_http(plane: Plane, client: TestClient) -> None:
    task = plane.running()
    measure(plane, task, [(1, step, step / 2) for step in range(1, 51)])
    at = f"/v1/tasks/{task.id}"
    (curve,) = client.get(f"{at}/curves", params={"name": "loss", "from": 10, "to": 20}).json()["curves"]
    assert curve["step"] == list(range(10, 21))
    assert curve["count"] == 11
    (few,) = client.get(f"{at}/curves", params={"name": "loss", "points": 10}).json()["curves"]
    assert len(few["step"]) <= 10
    points = client.get(f"{at}/metrics", params={"name": "loss"}).json()["series"]["loss"]
    assert points[0] == {"step": 1, "value": 0.5, "time": "2026-11-21T00:00:00Z", "attempt": 1}
    assert client.get(f"{at}/curves", params={"name": "nothing"}).json()["curves"] == []


@pytest.mark.parametrize(
    ("query", "place"),
    [
        ({"points": 4001}, "points"),
        ({"points": 1}, "points"),
        ({"from": 5, "to": 4}, "from"),
        ({"from": -1}, "from"),
        ({"to": 2**70}, "to"),
        ({"ema": 0}, "ema"),
        ({"ema": "nan"}, "ema"),
        ({"ema": 0.5, "average": 3}, "ema"),
        ({"average": 0}, "average"),
        ({"x": "epoch"}, "x"),
        ({"mode": "all"}, "mode"),
    ],
)
def test_wrong_wishes_are_refused_with_their_place(
    plane: Plane, client: TestClient, query: dict[str, Any], place: str
) -> None:
    reply = client.get(f"/v1/tasks/{plane.running().id}/curves", params=query)
    assert reply.status_code == 422
    assert place in reply.json()["error"]["problems"][0]["field"]


def test_comparing(plane: Plane, client: TestClient) -> None:
    plane.settings.max_concurrent_jobs = 2
    a, b = plane.running(name="a"), plane.running(name="b")
    measure(plane, a, [(1, step, 5.0 - step) for step in range(1, 5)])
    plane.report(a, {"kind": "metrics", "step": 4, "values": {"eval_loss": 1.5}})
    measure(plane, b, [(1, 1, 7.0)])
    found = client.get("/v1/metrics:compare", params={"task": [a.id, b.id, a.id]}).json()
    assert [item["task"]["name"] for item in found["tasks"]] == ["a", "b"]
    assert [(curve["task_id"], curve["value"]) for curve in found["curves"]] == [
        (a.id, [4.0, 3.0, 2.0, 1.0]),
        (b.id, [7.0]),
    ]
    scores = {score["name"]: score for score in found["tasks"][0]["scores"]}
    assert sorted(scores) == ["eval_loss", "loss"]
    assert (scores["loss"]["last"], scores["loss"]["highest"], scores["loss"]["highest_step"]) == (
        1.0,
        4.0,
        1,
    )
    assert client.get("/v1/metrics:compare", params={"task": [a.id, "task-0"]}).status_code == 404
    assert client.get("/v1/metrics:compare").status_code == 422


def test_exports_hold_every_measurement(plane: Plane, client: TestClient, small: None) -> None:
    chance = random.Random(3)
    found = training(chance, attempts=2, restarts=1, steps=300)
    task = plane.running()
    measure(plane, task, found)
    expected = [
        (attempt, number, step, value)
        for number, part in enumerate(segments(found))
        for attempt, step, value in part
    ]
    at = f"/v1/tasks/{task.id}/metrics:export"
    reply = client.get(at, params={"name": "loss"})
    assert reply.headers["content-type"].startswith("text/csv")
    assert f'"{task.id}-metrics.csv"' in reply.headers["content-disposition"]
    rows = list(csv.DictReader(io.StringIO(reply.text)))
    assert [
        (int(row["attempt"]), int(row["segment"]), int(row["step"]), float(row["value"])) for row in rows
    ] == expected
    assert rows[0]["time"] == "2026-11-21T00:00:00+00:00"
    table = pq.read_table(io.BytesIO(client.get(at, params={"format": "parquet"}).content))
    assert set(table["name"].to_pylist()) == {"loss", "supervised_tokens"}
    losses = [row for row in table.to_pylist() if row["name"] == "loss"]
    assert [(r["attempt"], r["segment"], r["step"], r["value"]) for r in losses] == expected
    assert losses[0]["time"] == TIME
    assert client.get("/v1/tasks/task-0/metrics:export").status_code == 404
    assert client.get(at, params={"format": "xlsx"}).status_code == 422
