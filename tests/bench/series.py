"""Measurements: durable ingest per second against MLflow's log_batch, and charts over a million points.

Run: `python tests/bench/series.py [sqlite] [postgresql] [mlflow]`. Ingest goes through real HTTP into a real API
process and is committed (SQLite WAL with synchronous=FULL; PostgreSQL with its defaults) before it is answered; MLflow
runs as `tunesmith up` starts it, on SQLite, and takes its largest batches. A chart is asked of the same API process.
"""

import contextlib
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parent))
from real_postgres import real_postgres
from serving import Api, make_api, make_task, serving
from waiting import free_port

from tunesmith_platform.db.engine import Database
from tunesmith_platform.db.tables import ChunkRow
from tunesmith_platform.series import chunks

NAMES = (
    "loss",
    "learning_rate",
    "grad_norm",
    "epoch",
    "perplexity",
    "tokens_per_second",
    "samples_per_second",
    "supervised_tokens",
    "useful_token_share",
    "memory_bytes",
)
"""What the trainer measures at a step."""
MILLION = 1_000_000


def ingest(client: httpx.Client, api: Api, database: Database, names: Sequence[str], batches: int) -> float:
    """Report full batches of 2 000 events, each of them twice; points stored per second of the first sendings."""
    task_id = make_task(database)
    headers = api.report_headers(task_id)
    chance = np.random.default_rng(0)
    seconds, stored = 0.0, 0
    for batch in range(batches):
        seqs = range(batch * 2000 + 1, (batch + 1) * 2000 + 1)
        events = [
            {
                "seq": seq,
                "time": "2026-11-21T12:00:00.123456Z",
                "payload": {
                    "kind": "metrics",
                    "step": seq,
                    "values": dict(zip(names, chance.random(len(names)).tolist(), strict=True)),
                },
            }
            for seq in seqs
        ]
        body = httpx.Request("POST", "http://x", json={"attempt": 1, "events": events}).content
        for sending in range(2):
            started = time.perf_counter()
            reply = client.post(f"/v1/tasks/{task_id}/reports", content=body, headers=headers)
            took = time.perf_counter() - started
            assert reply.json()["last_seq"] == seqs[-1], reply.text
            if sending == 0:
                seconds += took
                stored += len(events) * len(names)
    found = client.get(f"/v1/tasks/{task_id}/curves", params={"name": names[0], "points": 10}).json()
    assert found["curves"][0]["count"] == batches * 2000, "what was sent twice is there once"
    return stored / seconds


def fill(database: Database, values: np.ndarray[Any, Any]) -> str:
    """A task with a million points, folded as ingest folds them."""
    task_id = make_task(database)
    points = np.zeros(len(values), chunks.POINT)
    points["step"], points["value"] = np.arange(1, len(values) + 1), values
    points["time"] = 1_795_000_000_000_000 + np.arange(len(values)) * 10_000
    with database.write() as session:
        last: ChunkRow | None = None
        for start in range(0, len(points), 10_000):
            part = chunks.Stretch(1, points[start : start + 10_000])
            last = chunks._append(session, task_id, "loss", last, part)
    return task_id


def chart(client: httpx.Client, task_id: str, **query: Any) -> tuple[dict[str, Any], list[float]]:
    """A curve, and the milliseconds of 40 answers."""
    times = []
    for _ in range(41):
        started = time.perf_counter()
        reply = client.get(f"/v1/tasks/{task_id}/curves", params={"name": "loss"} | query)
        times.append((time.perf_counter() - started) * 1000)
        assert reply.status_code == 200, reply.text
    return reply.json()["curves"][0], sorted(times[1:])


def check(curve: dict[str, Any], values: np.ndarray[Any, Any], first: int, last: int) -> None:
    """Hold a curve's every bucket against brute force."""
    drawn = set(curve["step"])
    assert all(value == values[step - 1] for step, value in zip(curve["step"], curve["value"], strict=True))
    width = curve["bucket"]
    for start in range((first - 1) // width * width, last, width):
        low, high = max(start, first - 1), min(start + width, last)
        bucket = values[low:high]
        assert {low + 1 + int(bucket.argmin()), low + 1 + int(bucket.argmax())} <= drawn


def charts(client: httpx.Client, database: Database) -> None:
    """Print how long charts over a million points take."""
    chance = np.random.default_rng(1)
    values = np.abs(chance.standard_normal(MILLION).cumsum() / 100 + chance.standard_normal(MILLION))
    started = time.perf_counter()
    task_id = fill(database, values)
    print(f"  a million points folded in {time.perf_counter() - started:.1f} s")
    for words, query, first, last in (
        ("all of it, 1000 points", {"points": 1000}, 1, MILLION),
        ("all of it, 4000 points", {"points": 4000}, 1, MILLION),
        ("a tenth of it", {"points": 4000, "from": 400_123, "to": 500_456}, 400_123, 500_456),
        ("two thirds of it", {"points": 4000, "from": 123_457, "to": 789_012}, 123_457, 789_012),
    ):
        curve, times = chart(client, task_id, **query)
        assert curve["count"] == last - first + 1
        check(curve, values, first, last)
        print(
            f"  chart, {words}: median {statistics.median(times):.1f} ms, worst of 40 {times[-1]:.1f} ms, "
            f"{len(curve['step'])} points, extremes as by brute force"
        )
    _, times = chart(client, task_id, points=1000, average=100)
    print(f"  chart, smoothed over all points: median {statistics.median(times):.1f} ms")
    for kind in ("csv", "parquet"):
        started = time.perf_counter()
        size = len(client.get(f"/v1/tasks/{task_id}/metrics:export", params={"format": kind}).content)
        print(f"  export as {kind}: {time.perf_counter() - started:.1f} s, {size / 1e6:.0f} MB")


def mlflow_rate(root: Path) -> float:
    """Points per second of MLflow's log_batch with its largest batches."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    command = [
        sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1",
        "--backend-store-uri", f"sqlite:///{root}/mlflow.db", "--artifacts-destination", str(root / "artifacts"),
    ]  # fmt: skip
    environment = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    with (
        serving(command, environment, f"{url}/health", root / "mlflow.log"),
        httpx.Client(base_url=f"{url}/api/2.0/mlflow", timeout=60) as client,
    ):
        run = client.post("/runs/create", json={"experiment_id": "0"}).json()["run"]["info"]["run_id"]
        seconds, count = 0.0, 0
        for batch in range(21):
            metrics = [
                {"key": name, "value": 0.5 + step, "timestamp": 1_795_000_000_000 + step, "step": step}
                for step in range(batch * 100, batch * 100 + 100)
                for name in NAMES
            ]
            started = time.perf_counter()
            reply = client.post("/runs/log-batch", json={"run_id": run, "metrics": metrics})
            assert reply.status_code == 200, reply.text
            if batch:
                seconds += time.perf_counter() - started
                count += len(metrics)
        return count / seconds


def main(wanted: Sequence[str]) -> None:
    """Print the figures."""
    rates: dict[str, float] = {}
    for kind in ("sqlite", "postgresql"):
        if kind not in wanted:
            continue
        with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
            root = Path(folder)
            api = make_api(root, stack.enter_context(real_postgres()) if kind == "postgresql" else "")
            stack.enter_context(api.serve())
            client = stack.enter_context(httpx.Client(base_url=api.url, headers=api.headers, timeout=60))
            database = Database(api.database_url)
            stack.callback(database.close)
            print(f"{kind}:", flush=True)
            ingest(client, api, database, NAMES, 2)
            rates[kind] = ingest(client, api, database, NAMES, 20)
            print(f"  ingest, {len(NAMES)} metrics a step: {rates[kind]:,.0f} points/s")
            print(f"  ingest, 1 metric a step: {ingest(client, api, database, NAMES[:1], 20):,.0f} points/s")
            charts(client, database)
    if "mlflow" in wanted:
        with tempfile.TemporaryDirectory() as folder:
            rate = mlflow_rate(Path(folder))
        print(f"MLflow's log_batch: {rate:,.0f} points/s")
        for kind, own in rates.items():
            print(f"  {kind} is {own / rate:.1f} times as fast")


if __name__ == "__main__":
    main(sys.argv[1:] or ["sqlite", "postgresql", "mlflow"])
