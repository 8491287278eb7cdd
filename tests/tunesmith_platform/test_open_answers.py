"""Answers that go on end within seconds once what let their reader in counts no more; all others go on."""

import asyncio
import datetime as dt
import os
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from chat_bench import ChatBench
from conftest_platform import Plane
from fastapi.testclient import TestClient
from package_bench import FILE, Bench
from served import served
from sqlalchemy import update
from stand_in_replica import piece
from waiting import wait_until

from tunesmith.access import Role
from tunesmith.chat.wire import Ask
from tunesmith_platform.access import open_answers
from tunesmith_platform.auth import digest_of
from tunesmith_platform.clock import now
from tunesmith_platform.db.tables import ApiKeyRow

LARGE = 32 * 2**20
"""More than the buffers of a connection hold."""


@pytest.fixture(autouse=True)
def _looks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(open_answers, "LOOK_SECONDS", 0.2)


class Reading:
    """Somebody who reads an answer in a thread, until it ends."""

    def __init__(self, url: str, *, is_slow: bool = False, **given: Any) -> None:
        self.bytes, self.whole, self.status = 0, 0, 0
        self.is_over = threading.Event()
        self._slow = is_slow
        self._asked = ("POST" if "json" in given else "GET", url, given)
        threading.Thread(target=self._read, daemon=True).start()
        wait_until(lambda: self.bytes > 0, what="the answer's beginning")
        assert self.status == 200

    def _read(self) -> None:
        method, url, given = self._asked
        try:
            with httpx.stream(method, url, timeout=30, trust_env=False, **given) as reply:
                self.status = reply.status_code
                self.whole = int(reply.headers.get("content-length", 0))
                for some in reply.iter_raw():
                    self.bytes += len(some)
                    if self._slow:
                        time.sleep(0.02)
        except httpx.HTTPError:
            pass
        finally:
            self.is_over.set()

    def ends(self) -> bool:
        return self.is_over.wait(10)

    def goes_on(self) -> bool:
        return not self.is_over.wait(1)


@pytest.fixture
def url(plane: Plane, client: TestClient, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    with served(plane.app, plane.api_key, monkeypatch) as found:
        yield found


def shown(key: str) -> dict[str, Any]:
    return {"headers": {"Authorization": f"Bearer {key}"}}


def revoke(plane: Plane, key: str) -> None:
    """As another server does it: this one hears nothing."""
    _change(plane, key, revoked_at=now())


def _change(plane: Plane, key: str, **values: Any) -> None:
    with plane.services.database.write() as session:
        session.execute(update(ApiKeyRow).where(ApiKeyRow.sha256 == digest_of(key)).values(**values))


ENDS: dict[str, Callable[[Plane, str], None]] = {
    "revoked": revoke,
    "over": lambda plane, key: _change(plane, key, expires_at=now() - dt.timedelta(seconds=1)),
    "in another project": lambda plane, key: _change(plane, key, projects=["other"]),
    "with another role": lambda plane, key: _change(plane, key, role="viewer"),
}


@pytest.mark.parametrize("what", ["workspace", "task"])
def test_a_live_stream_ends_with_its_key(plane: Plane, url: str, what: str) -> None:
    task = plane.running()
    path = "/v1/stream" if what == "workspace" else f"/v1/tasks/{task.id}/stream"
    keys = {
        how: plane.key(f"ann-{number}", Role.MEMBER, projects=["default"]) for number, how in enumerate(ENDS)
    }
    other = plane.key("bob", Role.MEMBER, projects=["default"])
    ending = {how: Reading(url + path, **shown(key)) for how, key in keys.items()}
    staying = Reading(url + path, **shown(other))
    assert staying.goes_on()
    assert [how for how, one in ending.items() if one.is_over.is_set()] == []
    for how, key in keys.items():
        ENDS[how](plane, key)
    assert [how for how, one in ending.items() if not one.ends()] == []
    assert staying.goes_on()


def test_a_stream_of_a_browser_ends_with_its_session(plane: Plane, url: str) -> None:
    browser = httpx.Client(base_url=url, headers={"X-Tunesmith-Studio": "1"}, trust_env=False)
    streams = []
    for _ in range(2):
        reply = browser.post("/v1/sessions", **shown(plane.api_key))
        assert reply.status_code == 201
        cookies = {name: str(value) for name, value in reply.cookies.items()}
        streams.append(Reading(f"{url}/v1/stream", cookies=cookies))
    assert browser.delete("/v1/sessions/current").status_code == 204
    assert streams[1].ends()
    assert streams[0].goes_on(), "the other browser is signed in"


def test_a_download_ends_with_its_key_and_so_does_one_by_a_link(
    plane: Plane, client: TestClient, url: str, tiny_model: Any
) -> None:
    bench = Bench(plane, client, tiny_model)
    task = bench.packaged(bench.trained({8: 1.0}), content=os.urandom(LARGE))
    path = f"/v1/tasks/{task.id}/package"
    key, other = (plane.key(name, Role.MEMBER, projects=["default"]) for name in ("ann", "bob"))
    made = httpx.post(f"{url}{path}/links", json={"file": FILE}, trust_env=False, **shown(key))
    link = f"{url}{urlsplit(made.json()['url']).path}"
    reading = [
        Reading(f"{url}{path}/files/{FILE}", is_slow=True, **shown(key)),
        Reading(link, is_slow=True),
        Reading(f"{url}{path}/files/{FILE}", **shown(other)),
    ]
    revoke(plane, key)
    for one in reading[:2]:
        assert one.ends()
        assert one.bytes < one.whole == LARGE
    assert reading[2].is_over.wait(60)
    assert reading[2].bytes == LARGE


def test_a_chats_stream_ends_with_its_key_and_so_does_the_computing(bench: ChatBench) -> None:
    async def endless(_ask: Ask) -> AsyncIterator[Any]:
        while True:
            yield piece("x")
            await asyncio.sleep(0.05)

    bench.replica.script = endless
    key = bench.plane.key("ann", Role.MEMBER, projects=["default"])
    asked = {"model": "smol", "messages": [{"role": "user", "content": "?"}], "stream": True}
    reading = Reading(f"{bench.url}/openai/v1/chat/completions", json=asked, **shown(key))
    assert reading.goes_on()
    revoke(bench.plane, key)
    assert reading.ends()
    wait_until(lambda: bench.replica.running == 0, 10, "the end of the computing")


def test_a_database_that_is_away_ends_nothing(
    plane: Plane, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = plane.key("ann", Role.VIEWER)
    reading = Reading(f"{url}/v1/stream", **shown(key))
    with monkeypatch.context() as patch:
        patch.setattr(plane.services.keys, "ended", lambda _: 1 / 0)
        assert reading.goes_on()
    revoke(plane, key)
    assert reading.ends()
