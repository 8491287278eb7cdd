"""Control plane speeds on SQLite and one API process: durable submits per second, and lists of 10 000 tasks.

Run: `python tests/bench/api.py`. Real uvicorn, real SQLite (WAL, synchronous=FULL), clients in processes of their own.
Submits are also held against the least that a durable POST costs with this stack (`bare_post.py`), in turns: machines
differ and are shared, the ratio stays.
"""

import http.client
import json
import multiprocessing
import os
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx

sys.path.insert(0, str(Path(__file__).resolve().parent))
from serving import WITH_LOOPS, make_api, serving
from tiny_model import make_tiny_model
from waiting import free_port

TURNS = 3
POSTS = 600


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


def main() -> None:
    """Print the figures."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        model = make_tiny_model(root / "tiny")
        data = root / "rows.jsonl"
        data.write_text('{"instruction": "a", "output": "b"}\n' * 100)
        body = {"spec": {"model_name_or_path": str(model), "train_file": str(data)}}
        api = make_api(root)
        with api.serve(**WITH_LOOPS, TUNESMITH_ALLOWED_ROOTS=f'["{root}"]'):
            url, headers = api.url, api.headers
            submit = Target(url, "/v1/tasks", headers, body)
            submit.timed(1, 20)
            compare(submit, root)
            submit.timed(4, 10_000 - 20 - 2 * TURNS * POSTS)
            with httpx.Client(base_url=url, headers=headers) as client:
                for name, params in {
                    "first page": {},
                    "filtered": {"state": "pending", "name": "sft", "tag": "none"},
                }.items():
                    seconds = []
                    for _ in range(300):
                        started = time.perf_counter()
                        assert client.get("/v1/tasks", params=params).status_code == 200
                        seconds.append(time.perf_counter() - started)
                    print(
                        f"list of 10 000, {name}: median {statistics.median(seconds) * 1000:.1f} ms, "
                        f"p99 {percentile(seconds, 0.99):.1f} ms"
                    )
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


if __name__ == "__main__":
    main()
