"""Two servers on one PostgreSQL are replaced by two others while clients call: no call is lost.

What Kubernetes does in a rolling update is done here by a small balancer: a new server gets calls once it says that
it is ready; an old one gets none any more, and then a SIGTERM.
"""

import contextlib
import itertools
import json
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from api_process import Server
from conftest_platform import LOCAL, Plane
from given import SPEC
from real_postgres import own_database
from waiting import wait_until

from tunesmith.home import Home
from tunesmith_platform.tasks import repository

pytestmark = [pytest.mark.slow, pytest.mark.long]
CLIENTS = 4
_HANDED_ON = ("content-type", "authorization", "idempotency-key")


class Balancer:
    """Sends each call to one of the servers that are listed, in turn. A server that does not answer is a lost call."""

    def __init__(self) -> None:
        self.servers: list[Server] = []
        self.lost: list[str] = []
        self._going: Counter[str] = Counter()
        self._counted = threading.Lock()
        self._turns = itertools.count()
        balancer = self

        class Handler(BaseHTTPRequestHandler):
            def _pass_on(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                with balancer._counted:
                    listed = balancer.servers
                    server = listed[next(balancer._turns) % len(listed)]
                    balancer._going[server.url] += 1
                status, answer = balancer.call(server, self.command, self.path, body, dict(self.headers))
                with balancer._counted:
                    balancer._going[server.url] -= 1
                self.send_response(status)
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            do_GET = do_POST = do_PATCH = _pass_on  # noqa: N815  (as the server calls them)

            def log_message(self, *_: object) -> None: ...

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._http.server_port}"
        threading.Thread(target=self._http.serve_forever, args=(0.05,), daemon=True).start()

    def call(
        self, server: Server, method: str, path: str, body: bytes, headers: dict[str, str]
    ) -> tuple[int, bytes]:
        """A call of a connection of its own; 502 where there is no answer."""
        kept = {name: value for name, value in headers.items() if name.lower() in _HANDED_ON}
        try:
            with httpx.Client(timeout=30) as client:
                reply = client.request(method, f"{server.url}{path}", content=body, headers=kept)
        except httpx.HTTPError as error:
            self.lost.append(f"{method} {path}: {type(error).__name__}")
            return 502, b"{}"
        return reply.status_code, reply.content

    def replace(self, old: Server, new: Server) -> None:
        """Send calls to another server, and wait until none goes to the old one, as `preStop` of the chart does."""
        with self._counted:
            self.servers = [one for one in self.servers if one is not old] + [new]
        wait_until(lambda: self._going[old.url] == 0, 30, "the last call that was sent to it")

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()


class Load:
    """Clients that submit, change and list tasks until they are told to end."""

    def __init__(self, url: str, key: str) -> None:
        self.answers: Counter[tuple[str, int]] = Counter()
        self.made: list[str] = []
        self._over = threading.Event()
        self._counted = threading.Lock()
        self._url, self._headers = url, {"Authorization": f"Bearer {key}"}
        self._threads = [threading.Thread(target=self._run, args=(number,)) for number in range(CLIENTS)]
        for thread in self._threads:
            thread.start()

    def _run(self, number: int) -> None:
        with httpx.Client(base_url=self._url, headers=self._headers, timeout=40) as client:
            for turn in itertools.count():
                made = self._call(
                    client, "POST", "/v1/tasks", json={"spec": SPEC, "name": f"n-{number}-{turn}"}
                )
                if made is not None:
                    with self._counted:
                        self.made.append(made["id"])
                    self._call(client, "PATCH", f"/v1/tasks/{made['id']}", json={"notes": str(turn)})
                self._call(client, "GET", "/v1/tasks?limit=5")
                if self._over.wait(0.1):
                    return

    def _call(self, client: httpx.Client, method: str, path: str, **sent: Any) -> Any:
        reply = client.request(method, path, **sent)
        with self._counted:
            self.answers[method, reply.status_code] += 1
        return reply.json() if reply.is_success else None

    @property
    def calls(self) -> int:
        return self.answers.total()

    def end(self) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(60)


@pytest.fixture
def plane(home: Home, postgres_server: str, postgres_with_schema: str) -> Iterator[Plane]:
    with own_database(postgres_server, postgres_with_schema) as url:
        plane = Plane(home, database_url=url)
        yield plane
        plane.services.database.close()


@contextlib.contextmanager
def under_way(server: Server, key: str) -> Iterator[dict[str, Any]]:
    """A submit of which a server has the half when the block begins; its rest comes when the block ends.

    The answer stands in what is given, after the block.
    """
    body = json.dumps({"spec": SPEC, "name": "slow"}).encode()
    begun, rest, found = threading.Event(), threading.Event(), {}

    def pieces() -> Iterator[bytes]:
        yield body[: len(body) // 2]
        begun.set()
        rest.wait(30)
        yield body[len(body) // 2 :]

    def send() -> None:
        headers = {"Authorization": f"Bearer {key}", "Content-Length": str(len(body))}
        headers["Content-Type"] = "application/json"
        try:
            found["reply"] = httpx.post(
                f"{server.url}/v1/tasks", content=pieces(), headers=headers, timeout=30
            )
        except httpx.HTTPError as error:
            found["reply"] = error

    thread = threading.Thread(target=send)
    thread.start()
    assert begun.wait(20)
    time.sleep(1)  # not a condition: nobody sees from outside whether the server has read its head
    try:
        yield found
    finally:
        rest.set()
        thread.join(40)


def test_no_call_is_lost_while_two_servers_are_replaced(plane: Plane, home: Home, tmp_path: Path) -> None:
    numbers, every = itertools.count(), []

    def started() -> Server:
        number = next(numbers)
        server = Server(
            home, plane.settings.database_url, tmp_path / f"{number}.log", TUNESMITH_RUN_LOOPS="false"
        )
        every.append(server)
        return server

    balancer = Balancer()
    try:
        balancer.servers = [started(), started()]
        wait_until(lambda: all(one.answers("/readyz") for one in balancer.servers), 120, "two servers")
        load = Load(balancer.url, plane.api_key)
        try:
            for old in tuple(balancer.servers):
                before = load.calls
                new = started()
                wait_until(lambda one=new: one.answers("/readyz"), 120, "the new server", every=0.2)
                balancer.replace(old, new)
                with under_way(old, plane.api_key) as slow:
                    old.process.send_signal(signal.SIGTERM)
                    time.sleep(0.5)  # not a condition: so long the call's rest is on its way
                assert getattr(slow["reply"], "status_code", slow["reply"]) == 201, "it was under way"
                load.made.append(slow["reply"].json()["id"])
                wait_until(lambda one=old: one.process.poll() is not None, 20, "the old server's end")
                assert old.process.returncode in (0, -signal.SIGTERM)
                wait_until(lambda seen=before: load.calls > seen + 20, 60, "calls meanwhile")
        finally:
            load.end()
        assert {urlsplit(one.url).port for one in balancer.servers}.isdisjoint(
            urlsplit(one.url).port for one in every[:2]
        )
    finally:
        balancer.close()
        for server in every:
            server.process.kill()
            server.process.wait(20)
    assert balancer.lost == []
    assert {pair: count for pair, count in load.answers.items() if pair[1] >= 300} == {}
    assert load.calls > 40
    with plane.services.database.read() as session:
        for task_id in load.made:
            repository.require(session, LOCAL, task_id)
