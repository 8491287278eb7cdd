"""Whatever ends an answer of a kept conversation, what was said is kept; a retry writes nothing twice."""

import asyncio
import datetime as dt
import json
import sqlite3
import threading
from collections.abc import AsyncIterator
from contextlib import closing
from typing import Any

import httpx
import pytest
from chat_bench import ChatBench
from stand_in_replica import end, hello, piece
from talks import asked, begun, contents, endless, events, said
from waiting import wait_until

from tunesmith.chat.wire import Ask
from tunesmith_platform.conversations import shown, talking

# --- ends


def test_what_was_said_until_the_client_left_is_kept(
    bench: ChatBench, api: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    conversation = begun(api)
    bench.replica.script = endless
    path = f"/conversations/{conversation}/messages"
    with api.stream("POST", path, json={"content": "One", "stream": True}) as reply:
        for line in reply.iter_lines():
            if "word" in line:
                break
    (turn,) = api.get(f"/conversations/{conversation}").json()["said"] or [None]
    wait_until(lambda: state(api, conversation) == "cut", 5, "its end")
    turn = api.get(f"/conversations/{conversation}").json()["said"][0]
    (answer,) = turn["answers"]
    assert answer["text"].startswith("word ")
    assert "client left" in answer["why"]
    bench.replica.script = hello
    asked(api, conversation, content="Two")
    assert contents(bench.replica.asked[-1]) == ["One", answer["text"], "Two"]
    row = json.loads(api.get(f"/conversations/{conversation}/export", params={"form": "jsonl"}).text)
    assert [one.get("weight") for one in row["messages"]] == [None, 0, None, None], (
        "a cut answer is not learned"
    )


def state(api: httpx.Client, conversation: str) -> str:
    found = api.get(f"/conversations/{conversation}", params={"every": True}).json()["said"]
    return str(found[-1]["answers"][0]["state"]) if found else ""


def test_one_can_ask_at_once_after_ending_an_answer(bench: ChatBench, api: httpx.Client) -> None:
    conversation = begun(api)
    for _ in range(3):
        bench.replica.script = endless
        body = {"content": "One", "stream": True}
        with api.stream("POST", f"/conversations/{conversation}/messages", json=body) as reply:
            next(line for line in reply.iter_lines() if "word" in line)
        bench.replica.script = hello
        asked(api, conversation, content="Two")
    assert [len(turn) for turn in said(api, conversation)] == [2] * 6


def test_a_client_that_leaves_before_the_first_word_leaves_nothing(
    bench: ChatBench, api: httpx.Client
) -> None:
    waits = threading.Event()

    async def silent(_ask: Ask) -> AsyncIterator[Any]:
        waits.set()
        await asyncio.sleep(30)
        yield end()

    bench.replica.script = silent
    conversation = begun(api)
    with pytest.raises(httpx.ReadTimeout):
        api.post(f"/conversations/{conversation}/messages", json={"content": "One"}, timeout=0.3)
    assert waits.wait(5)
    wait_until(lambda: said(api, conversation, every=True) == [], 5, "its end")
    found = api.get(f"/conversations/{conversation}").json()
    assert (found["head"], found["title"]) == (None, "")


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_what_a_killed_replica_said_is_kept(bench: ChatBench, api: httpx.Client, stream: bool) -> None:
    async def killed(_ask: Ask) -> AsyncIterator[Any]:
        yield piece("Half an ")
        yield piece("answer")
        await asyncio.sleep(0.05)
        raise ConnectionResetError

    bench.replica.script = killed
    conversation = begun(api)
    body = {"content": "One", "stream": stream}
    reply = api.post(f"/conversations/{conversation}/messages", json=body)
    if stream:
        assert events(reply.text)[-1]["error"]["code"] == "cut_off"
    else:
        assert reply.status_code == 503
    (turn,) = api.get(f"/conversations/{conversation}").json()["said"]
    (answer,) = turn["answers"]
    assert (answer["text"], answer["state"], answer["finish_reason"]) == ("Half an answer", "cut", None)
    assert "cut off" in answer["why"]


def test_what_a_killed_server_wrote_down_is_kept_and_shown_as_cut(
    bench: ChatBench, api: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says nothing of its end: who looks sees that it has been silent for too long."""
    monkeypatch.setattr(talking, "_NOTE_SECONDS", 0.05)
    conversation = begun(api)
    bench.replica.script = endless
    body = {"content": "One", "stream": True}
    with api.stream("POST", f"/conversations/{conversation}/messages", json=body):
        wait_until(lambda: "word" in str(said(api, conversation)), 5, "what is written down meanwhile")
        assert state(api, conversation) == "answering"
        busy = asked(api, conversation, 409, content="Two")["error"]
        assert busy["code"] == "conflict"
        rating = api.put(f"/conversations/{conversation}/turns/1/answers/0/rating", json={"rating": "better"})
        assert rating.status_code == 409
        monkeypatch.setattr(shown, "SILENT", dt.timedelta(seconds=-1))
        found = api.get(f"/conversations/{conversation}").json()["said"][0]["answers"][0]
        assert (found["state"], found["why"]) == ("cut", shown.GONE)
        bench.replica.script = hello
        asked(api, conversation, content="Two")


def test_an_answer_is_not_called_whole_before_it_is_kept(
    bench: ChatBench, api: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And what could not be written is written when the database is there again."""
    monkeypatch.setattr(talking, "_SETTLE_SECONDS", 0.3)
    database = bench.plane.services.database
    monkeypatch.setattr(database, "patience", 0.02)
    conversation = begun(api)
    file = bench.plane.settings.database_url.removeprefix("sqlite:///")
    with closing(sqlite3.connect(file, isolation_level=None, check_same_thread=False)) as other:

        async def locks(_ask: Ask) -> AsyncIterator[Any]:
            yield piece("Hello")
            other.execute("BEGIN EXCLUSIVE")
            yield end()

        bench.replica.script = locks
        refused = asked(api, conversation, 503, content="One")["error"]
        other.execute("ROLLBACK")
    assert refused["code"] == "database_busy"
    wait_until(lambda: state(api, conversation) == "whole", 10, "what was said")
    assert said(api, conversation) == [("One", "Hello")]


# --- once


def test_a_retry_writes_nothing_twice(bench: ChatBench, api: httpx.Client) -> None:
    conversation = begun(api)
    first = asked(api, conversation, content="One", key="k")
    assert asked(api, conversation, content="One", key="k") == first
    assert len(bench.replica.asked) == 1
    replayed = api.post(
        f"/conversations/{conversation}/messages",
        json={"content": "One"},
        headers={"Idempotency-Key": "k"},
    )
    assert replayed.headers["Idempotent-Replayed"] == "true"
    other = asked(api, conversation, 409, content="Two", key="k")["error"]
    assert other["code"] == "idempotency_conflict"
    assert said(api, conversation, every=True) == [("One", "Hello world")]
    body = {"title": "Mine"}
    made = [api.post("/conversations", json=body, headers={"Idempotency-Key": "n"}) for _ in range(2)]
    assert [reply.status_code for reply in made] == [201, 200]
    assert made[0].json()["id"] == made[1].json()["id"]
    assert api.delete(f"/conversations/{made[0].json()['id']}").status_code == 204
    assert api.post("/conversations", json=body, headers={"Idempotency-Key": "n"}).status_code == 404


def test_a_retry_asks_anew_what_was_cut(bench: ChatBench, api: httpx.Client) -> None:
    conversation = begun(api)
    bench.replica.script = endless
    path = f"/conversations/{conversation}/messages"
    headers = {"Idempotency-Key": "k"}
    with api.stream("POST", path, json={"content": "One", "stream": True}, headers=headers) as reply:
        next(line for line in reply.iter_lines() if "word" in line)
    bench.replica.script = hello
    reply = api.post(path, json={"content": "One", "stream": True}, headers=headers)
    assert "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in events(reply.text)[:-1]) == (
        "Hello world"
    )
    assert said(api, conversation, every=True) == [("One", "Hello world")]
    assert state(api, conversation) == "whole"
