"""What one key may take of chats, and how they are reached below a path of a proxy's."""

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from chat_bench import chatting
from conftest_platform import Plane
from served import served
from stand_in_replica import end, piece
from waiting import wait_until

from tunesmith.chat.wire import Ask
from tunesmith.client import Client
from tunesmith.errors import TooManyRequests
from tunesmith.home import Home
from tunesmith_platform.chats.spending import Spending

ASKED: Any = [{"role": "user", "content": "Hello."}]


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_minutes_tokens_are_spent_and_come_back() -> None:
    clock = Clock()
    spending = Spending(100, clock=clock)
    spending.require("a")
    for tokens in (60, 30):
        spending.add("a", tokens)
        clock.now += 20
    spending.require("a")
    spending.add("a", 30)
    with pytest.raises(TooManyRequests) as found:
        spending.require("a")
    wait = found.value.details["retry_after"]
    assert 20 <= wait <= 22, "as the first 60 are a minute old then"
    spending.require("b")
    clock.now += wait
    spending.require("a")
    clock.now += 100
    spending.require("b")
    assert spending._spent == {}, "nothing is kept of who does not ask any more"


def test_without_a_bound_nothing_is_counted() -> None:
    spending = Spending(0)
    spending.add("a", 10**9)
    spending.require("a")
    assert spending._spent == {}


def test_who_has_spent_a_minutes_tokens_is_told_when_to_come_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = Home(tmp_path / "home")
    home.create()

    async def six(_ask: Ask) -> AsyncIterator[Any]:
        for _ in range(6):
            yield piece("x")
        yield end(prompt=4, completion=6)

    with chatting(home, monkeypatch, max_chat_tokens_per_minute=20) as bench:
        bench.serve()
        bench.replica.script = six
        client = bench.client()
        for stream in (False, True):
            list(client.chat.completions.create(model="smol", messages=ASKED, stream=stream))
        for stream in (False, True):
            with pytest.raises(openai.RateLimitError) as found:
                client.chat.completions.create(model="smol", messages=ASKED, stream=stream)
            assert found.value.code == "rate_limit_exceeded"
            assert 50 <= int(found.value.response.headers["retry-after"]) <= 61
        assert len(bench.replica.asked) == 2, "no model is asked for whoever has none left"


def test_two_servers_count_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = Home(tmp_path / "home")
    home.create()
    bounds = {"max_chat_streams": 1, "max_chat_queue": 0, "max_chat_tokens_per_minute": 25}
    with chatting(home, monkeypatch, **bounds) as bench:
        bench.serve()
        is_over = asyncio.Event()

        async def held(_ask: Ask) -> AsyncIterator[Any]:
            yield piece("x")
            while not is_over.is_set():
                await asyncio.sleep(0.02)
            yield end(prompt=30, completion=12)

        bench.replica.script = held
        second = Plane(home, beside=bench.plane, serve_port=bench.replica.port, **bounds)
        with served(second.app, bench.plane.api_key, monkeypatch) as url:
            first = bench.client()
            other = openai.OpenAI(base_url=f"{url}/openai/v1", api_key=bench.plane.api_key, max_retries=0)
            stream = first.chat.completions.create(model="smol", messages=ASKED, stream=True)
            next(iter(stream))
            sharing = bench.plane.services.asking.sharing
            wait_until(lambda: sharing._said != {}, 10, "the first server's word")
            with pytest.raises(openai.RateLimitError, match="1 answers of this key are under way"):
                other.chat.completions.create(model="smol", messages=ASKED)
            is_over.set()
            assert list(stream)[-1].choices[0].finish_reason == "stop"
            wait_until(
                lambda: sharing._said and not any(one.running for one in sharing._said.values()), 10, "it"
            )
            wait_until(
                lambda: second.services.asking.sharing._looked_at < time.monotonic() - 0.3, 10, "a look"
            )
            for client in (first, other):
                with pytest.raises(
                    openai.RateLimitError, match="tokens were taken in the last minute, of 25"
                ):
                    client.chat.completions.create(model="smol", messages=ASKED)
        second.services.database.close()


@pytest.mark.parametrize("is_kept", [True, False], ids=["the proxy keeps the path", "the proxy takes it off"])
def test_all_is_reached_below_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_kept: bool) -> None:
    home = Home(tmp_path / "home")
    home.create()
    with chatting(home, monkeypatch, base_path="/lab/tunesmith") as bench:
        bench.serve()
        root = bench.url + ("/lab/tunesmith" if is_kept else "")
        client = openai.OpenAI(base_url=f"{root}/openai/v1", api_key=bench.plane.api_key, max_retries=0)
        assert client.chat.completions.create(model="smol", messages=ASKED).choices[0].message.content
        chunks = list(client.chat.completions.create(model="smol", messages=ASKED, stream=True))
        assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == "Hello world"
        assert client.models.retrieve("smol").id == "smol"
        with pytest.raises(openai.NotFoundError) as found:
            client.chat.completions.create(model="smoll", messages=ASKED)
        assert (found.value.code, found.value.param) == ("model_not_found", "model"), "errors keep their form"
        with pytest.raises(openai.AuthenticationError):
            client.with_options(api_key="sk-wrong").models.list()
        ours = Client(root, bench.plane.api_key)
        assert ours.chat("smol", "Hello!").text == "Hello world"
        assert httpx.get(f"{root}/healthz", trust_env=False).status_code == 200
