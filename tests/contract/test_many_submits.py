"""A thousand submits to three servers on one PostgreSQL, one of them killed in the middle: each is one task."""

import concurrent.futures
import itertools
import random
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from api_process import Server
from conftest_platform import Plane
from given import SPEC
from real_postgres import own_database
from waiting import wait_until

from tunesmith.home import Home

pytestmark = [pytest.mark.slow, pytest.mark.long]
SUBMITS, TWICE, CLIENTS = 1000, 100, 24


@pytest.fixture
def servers(
    home: Home, tmp_path: Path, postgres_server: str, postgres_with_schema: str
) -> Iterator[tuple[Plane, list[Server]]]:
    """Three of them, each with the loops; a plane in this process looks at what they did."""
    with own_database(postgres_server, postgres_with_schema) as url:
        plane = Plane(home, database_url=url)
        found = [Server(home, url, tmp_path / f"{number}.log") for number in range(3)]
        try:
            wait_until(lambda: all(server.answers() for server in found), 120, "three servers")
            yield plane, found
        finally:
            for server in found:
                server.process.kill()
                server.process.wait(20)
            plane.services.database.close()


def test_a_thousand_submits_make_a_thousand_tasks(servers: tuple[Plane, list[Server]]) -> None:
    """Every tenth is sent twice at once; who gets no answer asks another server with the same key."""
    plane, every = servers
    headers = {"Authorization": f"Bearer {plane.api_key}"}
    done, turns = itertools.count(1), itertools.count()
    killed = threading.Event()
    local = threading.local()

    def submit(number: int) -> tuple[int, str]:
        if not hasattr(local, "client"):
            local.client = httpx.Client(headers=headers, timeout=30)
        deadline = time.monotonic() + 240
        while time.monotonic() < deadline:
            server = every[next(turns) % len(every)]
            try:
                reply = local.client.post(
                    f"{server.url}/v1/tasks",
                    json={"spec": SPEC, "name": f"n-{number}"},
                    headers={"Idempotency-Key": f"key-{number}"},
                )
            except httpx.HTTPError:
                continue  # whether it was stored nobody knows: the key does
            if reply.status_code in (200, 201):
                if next(done) == SUBMITS // 2:
                    every[1].process.send_signal(signal.SIGKILL)
                    killed.set()
                return number, reply.json()["id"]
            assert reply.status_code in (409, 429, 503), reply.text
            time.sleep(0.1)
        raise AssertionError(f"submit {number} was not taken")

    numbers = [*range(SUBMITS), *range(0, SUBMITS, SUBMITS // TWICE)]
    numbers.sort(key=lambda number: (number // 50, random.random()))
    with concurrent.futures.ThreadPoolExecutor(CLIENTS) as pool:
        answers = list(pool.map(submit, numbers))
    assert killed.is_set()
    by_number: dict[int, set[str]] = {}
    for number, task_id in answers:
        by_number.setdefault(number, set()).add(task_id)
    assert {number for number, ids in by_number.items() if len(ids) != 1} == set(), "one key, one task"
    told = {task_id for ids in by_number.values() for task_id in ids}
    assert len(told) == SUBMITS, "no two keys share one"
    for server in (every[0], every[2]):
        listed: list[str] = []
        after = ""
        while True:
            page = httpx.get(f"{server.url}/v1/tasks?limit=500{after}", headers=headers, timeout=60).json()
            listed += [task["id"] for task in page["data"]]
            if not page["has_more"]:
                break
            after = f"&after={page['next']}"
        assert len(listed) == SUBMITS, "none lost, none doubled"
        assert set(listed) == told
