"""Control plane speeds with one API process: durable submits per second, lists, single tasks.

Run: `python tests/bench/api.py [sqlite] [postgresql]`. Real uvicorn, clients in processes of their own. On SQLite (WAL,
synchronous=FULL) submits are also held against the least that a durable POST costs with this stack (`bare_post.py`), in
turns: machines differ and are shared, the ratio stays. On PostgreSQL 100 000 tasks with 10 million measurements are
listed and shown.
"""

import http.client
import json
import multiprocessing
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parent))
from many_tasks import LIST, fill, ones_own, task_number
from real_postgres import real_postgres
from serving import WITH_LOOPS, Api, make_api, serving
from tiny_model import make_tiny_model
from waiting import free_port

from tunesmith_platform.db.engine import Database

TURNS = 3
POSTS = 600
TASKS, POINTS = 100_000, 10_000_000
READS = 100


def post_many(url: str, path: str, headers: dict[str, str], body: dict[str, Any], count: int) -> list[float]:
    """Post one body again and again; the seconds of each.

    By `http.client`: the two cores are shared with the server, and httpx takes a fifth of its time for itself.
    """
    address = urlsplit(url)
    connection = http.client.HTTPConnection(address.hostname or "", address.port)
    content, headers = json.dumps(body).encode(), {**headers, "Content-Type": "application/json"}
    seconds = []
    for _ in range(count):
        started = time.perf_counter()
        connection.request("POST", path, content, headers)
        answer = connection.getresponse()
        answer.read()
        assert answer.status == 201
        seconds.append(time.perf_counter() - started)
    connection.close()
    return seconds


@dataclass(frozen=True)
class Target:
    """What is posted where."""

    url: str
    path: str
    headers: dict[str, str]
    body: dict[str, Any]

    def timed(self, clients: int, count: int) -> tuple[float, list[float]]:
        """Posts a second, and the seconds of each."""
        jobs = [(self.url, self.path, self.headers, self.body, count // clients)] * clients
        with multiprocessing.Pool(clients) as pool:
            started = time.perf_counter()
            seconds = [one for part in pool.starmap(post_many, jobs) for one in part]
            return len(seconds) / (time.perf_counter() - started), seconds


def percentile(values: list[float], share: float) -> float:
    """The value below which a share of them lies, in milliseconds."""
    return sorted(values)[min(len(values) - 1, int(len(values) * share))] * 1000


def compare(submit: Target, root: Path) -> None:
    """Print submits a second, and a bare post's, in turns."""
    port = free_port()
    command = [
        sys.executable,
        str(Path(__file__).with_name("bare_post.py")),
        str(root / "bare.db"),
        str(port),
    ]
    address = f"http://127.0.0.1:{port}"
    with serving(command, dict(os.environ), f"{address}/healthz", root / "bare.log"):
        bare = Target(address, "/notes", {}, {"text": "a"})
        bare.timed(1, 20)
        for clients in (1, 4):
            ratios = []
            for _ in range(TURNS):
                least, _ = bare.timed(clients, POSTS)
                rate, seconds = submit.timed(clients, POSTS)
                ratios.append(rate / least)
                print(
                    f"submit, {clients} clients: {rate:.0f}/s, median {statistics.median(seconds) * 1000:.1f} ms, "
                    f"p99 {percentile(seconds, 0.99):.1f} ms; a bare post {least:.0f}/s: {rate / least:.2f} of it",
                    flush=True,
                )
            print(f"submits / bare posts, {clients} clients: median {statistics.median(ratios):.2f}")


def given(root: Path) -> dict[str, Any]:
    """The body of a submit, of what is laid into a folder."""
    data = root / "rows.jsonl"
    data.write_text('{"instruction": "a", "output": "b"}\n' * 100)
    return {"spec": {"model_name_or_path": str(make_tiny_model(root / "tiny")), "train_file": str(data)}}


def timed_reads(client: httpx.Client, path: str, params: dict[str, str], count: int) -> str:
    """Read one thing again and again; how long that takes, in words."""
    seconds = []
    for _ in range(count):
        started = time.perf_counter()
        assert client.get(path, params=params).status_code == 200
        seconds.append(time.perf_counter() - started)
    return f"median {statistics.median(seconds) * 1000:.1f} ms, p99 {percentile(seconds, 0.99):.1f} ms"


def on_sqlite(root: Path, api: Api) -> None:
    """Submits, and lists of 10 000 tasks."""
    body = given(root)
    with api.serve(**WITH_LOOPS, TUNESMITH_ALLOWED_ROOTS=f'["{root}"]'):
        submit = Target(api.url, "/v1/tasks", api.headers, body)
        submit.timed(1, 20)
        compare(submit, root)
        submit.timed(4, 10_000 - 20 - 2 * TURNS * POSTS)
        with httpx.Client(base_url=api.url, headers=api.headers) as client:
            for name, params in {
                "first page": {},
                "filtered": {"state": "pending", "name": "sft", "tag": "none"},
            }.items():
                print(f"list of 10 000, {name}: {timed_reads(client, '/v1/tasks', params, 300)}")
            seconds, after, seen = [], None, 0
            while True:
                started = time.perf_counter()
                page = client.get(
                    "/v1/tasks", params={"limit": 500} | ({"after": after} if after else {})
                ).json()
                seconds.append(time.perf_counter() - started)
                seen, after = seen + len(page["data"]), page["next"]
                if not page["has_more"]:
                    break
            print(f"all {seen} in pages of 500: p99 {percentile(seconds, 0.99):.1f} ms a page")


def on_postgresql(root: Path, api: Api) -> None:
    """Lists of 100 000 tasks, and what is asked of one of them."""
    body = given(root)
    with (
        api.serve(TUNESMITH_ALLOWED_ROOTS=f'["{root}"]'),
        httpx.Client(base_url=api.url, headers=api.headers, timeout=60) as client,
    ):
        database, started = Database(api.database_url), time.perf_counter()
        fill(database, client.post("/v1/tasks", json=body).json()["id"], TASKS, POINTS)
        print(f"{TASKS} tasks with {POINTS} measurements, made in {time.perf_counter() - started:.0f} s")
        for name, params in LIST.items():
            print(f"list, {name}: {timed_reads(client, '/v1/tasks', params, READS)}", flush=True)
        for path in ones_own(task_number(TASKS // 2)):
            print(f"{path}: {timed_reads(client, path, {}, READS)}", flush=True)
        database.close()


def main(wanted: Sequence[str]) -> None:
    """Print the figures."""
    if "sqlite" in wanted:
        with tempfile.TemporaryDirectory() as folder:
            on_sqlite(Path(folder), make_api(Path(folder)))
    if "postgresql" in wanted:
        with tempfile.TemporaryDirectory() as folder, real_postgres() as url:
            on_postgresql(Path(folder), make_api(Path(folder), url))


if __name__ == "__main__":
    main(sys.argv[1:] or ["sqlite", "postgresql"])
