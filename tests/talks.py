"""Calls of tests about kept conversations, over HTTP as any client makes them. No test itself."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest
from chat_bench import ChatBench
from stand_in_replica import piece

from tunesmith.chat.wire import Ask

SECRET = "xyzzy-plugh"
"""What is said nowhere else."""


@pytest.fixture
def api(bench: ChatBench) -> Iterator[httpx.Client]:
    with client(bench, bench.plane.api_key) as made:
        yield made


def client(bench: ChatBench, key: str) -> httpx.Client:
    headers = {"Authorization": f"Bearer {key}"}
    return httpx.Client(base_url=f"{bench.url}/v1", headers=headers, timeout=20, trust_env=False)


def begun(api: httpx.Client, **body: Any) -> str:
    reply = api.post("/conversations", json={"model": "smol"} | body)
    assert reply.status_code == 201, reply.text
    return str(reply.json()["id"])


def asked(
    api: httpx.Client, conversation: str, status: int = 200, key: str | None = None, **body: Any
) -> Any:
    headers = {} if key is None else {"Idempotency-Key": key}
    reply = api.post(f"/conversations/{conversation}/messages", json=body, headers=headers)
    assert reply.status_code == status, reply.text
    return reply.json()


def said(api: httpx.Client, conversation: str, **query: Any) -> list[Any]:
    found = api.get(f"/conversations/{conversation}", params=query).json()["said"]
    return [(turn["content"], *(answer["text"] for answer in turn["answers"])) for turn in found]


def contents(ask: Ask) -> list[str]:
    return [one.content for one in ask.messages or ()]


def events(text: str) -> list[Any]:
    lines = [line.removeprefix("data: ") for line in text.splitlines() if line.startswith("data: {")]
    return [json.loads(line) for line in lines]


async def endless(_ask: Ask) -> AsyncIterator[Any]:
    while True:
        yield piece("word ")
        await asyncio.sleep(0.01)
