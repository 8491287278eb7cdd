"""Kept conversations are found, named and deleted, are their user's alone, and stand nowhere else."""

import datetime as dt
import json
import logging
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from chat_bench import ChatBench
from conftest_platform import LOCAL
from sqlalchemy import text
from stand_in_replica import end, piece
from talks import SECRET, asked, begun, client, contents, endless, said

from tunesmith.chat.wire import Ask
from tunesmith_platform.monitoring.loop import Monitor

# --- lists, names, ends of conversations


def test_conversations_are_listed_found_renamed_and_deleted(bench: ChatBench, api: httpx.Client) -> None:
    made = [
        begun(api, title=f"Rivers of {name} {SECRET}") for name in ("Spain", "SPAIN 100%", "Österreich", "x")
    ]
    pages, after = [], None
    while True:
        page = api.get(
            "/conversations", params={"limit": 2, "search": SECRET} | ({"after": after} if after else {})
        )
        pages += [one["id"] for one in page.json()["data"]]
        after = page.json()["next"]
        if not page.json()["has_more"]:
            break
    assert pages == made[::-1]

    def search(words: str) -> list[str]:
        return [one["id"] for one in api.get("/conversations", params={"search": words}).json()["data"]]

    assert search(f"spain {SECRET}") == [made[1], made[0]]
    assert search("100% spain") == [made[1]]
    assert search("öSTERREICH") == [made[2]]
    renamed = api.patch(f"/conversations/{made[0]}", json={"title": "Lakes"})
    assert renamed.json()["title"] == "Lakes"
    assert api.get("/conversations").json()["data"][0]["id"] == made[0], "written to last"
    assert api.patch(f"/conversations/{made[0]}", json={}).status_code == 422
    assert api.delete(f"/conversations/{made[0]}").status_code == 204
    assert api.get(f"/conversations/{made[0]}").status_code == 404
    assert api.delete(f"/conversations/{made[0]}").status_code == 404
    assert api.get("/conversations", params={"after": "nonsense"}).status_code == 422


def test_what_was_said_elsewhere_is_kept(bench: ChatBench, api: httpx.Client) -> None:
    messages = [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": "One"},
        {"role": "assistant", "content": "1"},
        {"role": "user", "content": "Two"},
        {"role": "assistant", "content": "2"},
    ]
    conversation = begun(api, messages=messages)
    asked(api, conversation, content="Three")
    assert contents(bench.replica.asked[-1]) == ["Be kind.", "One", "1", "Two", "2", "Three"]
    whole = api.get(f"/conversations/{conversation}/export").json()
    assert whole["messages"][:5] == messages
    line = api.get(f"/conversations/{conversation}/export", params={"form": "jsonl"}).text
    assert json.loads(line) == {"messages": whole["messages"]}
    lines = api.get("/conversations:export").text.splitlines()
    assert {"messages": whole["messages"]} in [json.loads(one) for one in lines]
    kept = [json.loads(one)["id"] for one in api.get("/conversations:export?form=json").text.splitlines()]
    assert conversation in kept
    for wrong in (messages[:2], messages[2:], [messages[1], messages[3]], [*messages, messages[0]]):
        assert api.post("/conversations", json={"messages": wrong}).status_code == 422


def test_old_conversations_go_and_which_ones_is_said_before(bench: ChatBench, api: httpx.Client) -> None:
    plane = bench.plane
    old, new = begun(api), begun(api)
    asked(api, old, content="One")
    expires = dt.datetime.fromisoformat(api.get(f"/conversations/{new}").json()["expires_at"])
    assert abs(expires - dt.datetime.now(dt.UTC) - dt.timedelta(days=90)) < dt.timedelta(minutes=5)
    with plane.services.database.write() as session:
        moment = (dt.datetime.now(dt.UTC) - dt.timedelta(days=85)).replace(tzinfo=None)
        session.execute(
            text("UPDATE conversations SET updated_at = :moment WHERE id = :id"),
            {"moment": moment, "id": old},
        )

    def expiring(days: int) -> list[str]:
        found = api.get("/conversations", params={"expiring_days": days}).json()["data"]
        return [one["id"] for one in found]

    assert (expiring(4), expiring(6)) == ([], [old])
    sweeps = {"conversations": plane.services.conversations.sweep}
    monitor = Monitor(plane.services.database, plane.services.hub, plane.settings, sweeps=sweeps)
    monitor.tick()
    assert api.get(f"/conversations/{old}").status_code == 200
    plane.settings.conversation_retention_days = 84
    try:
        assert expiring(0) == [old]
        assert plane.services.conversations.sweep() == 1
        plane.settings.conversation_retention_days = 0
        assert (expiring(0), plane.services.conversations.sweep()) == ([], 0)
        assert api.get(f"/conversations/{new}").json()["expires_at"] is None
    finally:
        plane.settings.conversation_retention_days = 90
        monitor.end()
    assert api.get(f"/conversations/{old}").status_code == 404
    with plane.services.database.read() as session:
        for table in ("conversation_turns", "conversation_answers"):
            query = text(f"SELECT count(*) FROM {table} WHERE conversation_id = :id")
            assert session.scalar(query, {"id": old}) == 0


def test_a_deleted_conversation_ends_nothing_but_itself(bench: ChatBench, api: httpx.Client) -> None:
    conversation = begun(api)
    bench.replica.script = endless
    body = {"content": "One", "stream": True}
    with api.stream("POST", f"/conversations/{conversation}/messages", json=body) as reply:
        lines = reply.iter_lines()
        next(line for line in lines if "word" in line)
        assert api.delete(f"/conversations/{conversation}").status_code == 204
        assert next(line for line in lines if "word" in line)
    assert api.get(f"/conversations/{conversation}").status_code == 404


# --- whose


def test_a_conversation_is_its_users_alone(bench: ChatBench, api: httpx.Client) -> None:
    """Whoever administers the platform sees none of another's."""
    plane = bench.plane
    own = begun(api, title="mine")
    asked(api, own, content="One")
    api.put(f"/conversations/{own}/turns/1/answers/0/rating", json={"rating": "better"})
    with client(bench, plane.key("ann")) as ann:
        hers = begun(ann, title="hers", model=None)
        for one, theirs, others in ((ann, hers, own), (api, own, hers)):
            listed = [found["id"] for found in one.get("/conversations?limit=1000").json()["data"]]
            assert theirs in listed
            assert others not in listed
            path = f"/conversations/{others}"
            replies = [
                one.get(path),
                one.get(f"{path}/export"),
                one.patch(path, json={"title": "x"}),
                one.delete(path),
                one.post(f"{path}/messages", json={"content": "x", "model": "smol"}),
                one.put(f"{path}/turns/1/answers/0/rating", json={"rating": "worse"}),
            ]
            assert [reply.status_code for reply in replies] == [404] * len(replies)
            assert others not in one.get("/conversations:export?form=json").text
        assert ann.get("/conversations:ratings").json()["data"] == []
        assert ann.get("/conversations:rows").text == ""
    assert said(api, own) == [("One", "Hello world")]


def test_what_is_said_stands_nowhere_else(
    bench: ChatBench, api: httpx.Client, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.DEBUG)
    secret = "frobnicate-the-quux"

    async def says(_ask: Ask) -> AsyncIterator[Any]:
        yield piece(f"{secret} too")
        yield end()

    bench.replica.script = says
    conversation = begun(api, settings={"system_prompt": f"System {secret}"})
    asked(api, conversation, content=f"Question {secret}", key="k")
    api.put(f"/conversations/{conversation}/turns/1/answers/0/rating", json={"corrected": f"No {secret}"})

    def broken(*_: Any, **__: Any) -> None:
        raise ValueError(f"a fault with {secret}")

    monkeypatch.setattr("tunesmith_platform.conversations.talking.Ask", broken)
    reply = api.post(f"/conversations/{conversation}/messages", json={"content": f"More {secret}"})
    assert (reply.status_code, secret in reply.text) == (500, False)
    assert secret not in caplog.text
    assert "ValueError" in caplog.text, "where it failed is logged"
    with bench.plane.services.database.read() as session:
        tables = session.scalars(text("SELECT name FROM sqlite_master WHERE type = 'table'")).all()
        holding = {
            table
            for table in tables
            if any(secret in str(row) for row in session.execute(text(f'SELECT * FROM "{table}"')))
        }
    assert holding == {"conversations", "conversation_turns", "conversation_answers"}
    assert not any(secret in str(run) for run in bench.plane.tracking.runs.values())


def test_too_much_is_refused(bench: ChatBench, api: httpx.Client) -> None:
    conversation = begun(api)
    assert asked(api, conversation, 413, content="x" * 1_100_000)["error"]["code"] == "too_large"
    long = [{"role": role, "content": "x" * 490_000} for role in ("user", "assistant")]
    conversation = begun(api, messages=long)
    assert "characters" in asked(api, conversation, 422, content="x" * 100_000)["error"]["message"]
    many = [{"role": role, "content": "x"} for role in ("user", "assistant")] * 400
    conversation = begun(api, messages=many)
    assert "400 turns" in asked(api, conversation, 422, content="x")["error"]["message"]
    more = [{"role": role, "content": "x"} for role in ("user", "assistant")] * 401
    assert api.post("/conversations", json={"messages": more}).status_code == 422
    assert LOCAL.owner == "local"
