"""Conversations that are kept, over HTTP against a stand-in of a served model."""

import asyncio
import datetime as dt
import json
import logging
import sqlite3
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from typing import Any

import httpx
import pytest
from chat_bench import ChatBench, chatting, checkpoint
from conftest_platform import LOCAL
from sqlalchemy import text
from stand_in_replica import end, hello, piece
from waiting import wait_until

from tunesmith.chat.wire import Ask, Refused
from tunesmith.home import Home
from tunesmith_platform.conversations import shown, talking
from tunesmith_platform.monitoring.loop import Monitor

SECRET = "xyzzy-plugh"


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ChatBench]:
    """One for all: each test says what the model says."""
    home = Home(tmp_path_factory.mktemp("chat") / "home")
    home.create()
    with pytest.MonkeyPatch.context() as monkeypatch, chatting(home, monkeypatch) as made:
        made.serve()
        task = made.plane.running(name="sft")
        for step in (20, 40):
            checkpoint(made.plane, task, step)
        yield made


@pytest.fixture(autouse=True)
def script(bench: ChatBench) -> Iterator[None]:
    bench.replica.script = hello
    bench.replica.asked.clear()
    yield
    bench.idle()


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


# --- a conversation


def test_a_conversation_is_kept_with_all_that_made_its_answers(bench: ChatBench, api: httpx.Client) -> None:
    conversation = begun(api)
    turn = asked(api, conversation, content="What  is\nthis?", settings={"temperature": 0.2, "seed": 7})
    (answer,) = turn["answers"]
    assert (answer["text"], answer["model"], answer["state"], answer["finish_reason"]) == (
        "Hello world", "smol", "whole", "stop",
    )  # fmt: skip
    assert (answer["prompt_tokens"], answer["completion_tokens"]) == (7, 3)
    assert (turn["settings"]["seed"], turn["settings"]["temperature"]) == (7, 0.2)
    asked(api, conversation, content="And that?")
    assert [contents(one) for one in bench.replica.asked] == [
        ["What  is\nthis?"],
        ["What  is\nthis?", "Hello world", "And that?"],
    ]
    assert [one.sampling.seed for one in bench.replica.asked] == [7, 7], (
        "settings stay until they are changed"
    )
    found = api.get(f"/conversations/{conversation}").json()
    assert (found["title"], found["head"], found["turns"]) == ("What is this?", 2, 2)
    assert said(api, conversation) == [("What  is\nthis?", "Hello world"), ("And that?", "Hello world")]


def test_what_is_thought_is_kept_apart_and_not_said_again(bench: ChatBench, api: httpx.Client) -> None:
    async def thinks(_ask: Ask) -> AsyncIterator[Any]:
        for word in ("<thi", "nk>\nHm", "m</think>\n\n", "Yes", "\x00."):
            yield piece(word)
        yield end()

    bench.replica.script = thinks
    conversation = begun(api, settings={"system_prompt": "Be kind.", "enable_thinking": True})
    (answer,) = asked(api, conversation, content="One")["answers"]
    assert (answer["reasoning_content"], answer["text"]) == ("Hmm", "Yes\ufffd.")
    asked(api, conversation, content="Two")
    assert contents(bench.replica.asked[-1]) == ["Be kind.", "One", "Yes\ufffd.", "Two"]
    assert bench.replica.asked[-1].template_variables == {"enable_thinking": True}


def test_a_plain_call_keeps_nothing(bench: ChatBench, api: httpx.Client) -> None:
    before = len(api.get("/conversations").json()["data"])
    bench.client().chat.completions.create(model="smol", messages=[{"role": "user", "content": SECRET}])
    assert len(api.get("/conversations").json()["data"]) == before


def test_a_stream_has_openais_form_and_says_where_it_is_kept(bench: ChatBench, api: httpx.Client) -> None:
    conversation = begun(api)
    body = {"content": "One", "stream": True}
    reply = api.post(f"/conversations/{conversation}/messages", json=body)
    assert reply.headers["content-type"].startswith("text/event-stream")
    assert (reply.headers["x-tunesmith-model"], reply.headers["x-tunesmith-turn"]) == ("smol", "1")
    chunks = events(reply.text)
    assert reply.text.endswith("data: [DONE]\n\n")
    words = [choice["delta"].get("content") or "" for chunk in chunks for choice in chunk["choices"]]
    assert "".join(words) == "Hello world"
    assert chunks[-1]["usage"]["total_tokens"] == 10
    (told,) = [chunk["tunesmith"] for chunk in chunks if "tunesmith" in chunk]
    assert told == {"conversation": conversation, "turn": 1, "dropped_turns": 0}
    assert said(api, conversation) == [("One", "Hello world")]


def events(text: str) -> list[Any]:
    lines = [line.removeprefix("data: ") for line in text.splitlines() if line.startswith("data: {")]
    return [json.loads(line) for line in lines]


def test_a_question_asked_anew_is_a_branch_and_the_old_one_stays(bench: ChatBench, api: httpx.Client) -> None:
    conversation = begun(api)
    for question in ("One", "Two", "Three"):
        asked(api, conversation, content=question)
    bench.replica.asked.clear()
    assert asked(api, conversation, settings={"seed": 9})["number"] == 4  # the last one again
    assert contents(bench.replica.asked[-1]) == ["One", "Hello world", "Two", "Hello world", "Three"]
    assert asked(api, conversation, content="Zwei", instead_of=2)["parent"] == 1
    assert contents(bench.replica.asked[-1]) == ["One", "Hello world", "Zwei"]
    assert [turn for turn, _ in said(api, conversation)] == ["One", "Zwei"]
    assert [turn for turn, _ in said(api, conversation, every=True)] == [
        "One",
        "Two",
        "Three",
        "Three",
        "Zwei",
    ]
    back = api.patch(f"/conversations/{conversation}", json={"head": 4})
    assert [turn["content"] for turn in back.json()["said"]] == ["One", "Two", "Three"]
    asked(api, conversation, 404, content="x", instead_of=9)
    assert api.patch(f"/conversations/{conversation}", json={"head": 9}).status_code == 404
    asked(api, begun(api), 422)  # nothing to ask again


def test_what_cannot_be_asked_is_refused_and_leaves_the_conversation_as_it_was(
    bench: ChatBench, api: httpx.Client
) -> None:
    conversation = begun(api)
    asked(api, conversation, content="One")
    was = api.get(f"/conversations/{conversation}").json()
    for status, body in (
        (404, {"content": "x", "model": "nothing"}),
        (422, {"content": "x", "settings": {"temperature": 9}}),
        (422, {"content": "x", "settings": {"temprature": 1}}),
        (422, {"content": ""}),
        (422, {"content": "x", "model": "smol", "models": ["smol", "sft:20"]}),
        (422, {"content": "x", "models": ["smol"]}),
        (422, {"content": "x", "models": ["smol", "smol"]}),
        (422, {"content": "x", "models": ["sft:40", "sft"]}),
        (422, {"content": "x", "models": ["smol", "sft:20", "sft:40", "sft:latest"]}),
        (404, {"content": "x", "models": ["smol", "nothing"]}),
    ):
        asked(api, conversation, status, **body)
    bench.replica.asked.clear()
    bench.replica.script = full
    refused = asked(api, conversation, 422, content="x" * 50)["error"]
    assert (refused["details"]["prompt_tokens"], refused["details"]["context_tokens"]) == (900, 512)
    assert refused["details"]["code"] == "context_length_exceeded"
    assert api.get(f"/conversations/{conversation}").json() == was
    assert said(api, conversation, every=True) == [("One", "Hello world")]
    asked(api, begun(api, model=None), 422, content="x")
    asked(api, "conversation-0123", 404, content="x")


async def full(ask: Ask) -> AsyncIterator[Any]:
    """A model that reads 512 tokens; one that may leave turns out leaves two."""
    if ask.drop_oldest:
        yield piece("short")
        yield end(dropped_turns=2)
    else:
        yield Refused(
            code="context_length_exceeded",
            message="900 tokens are more.",
            prompt_tokens=900,
            context_tokens=512,
        )


def test_the_oldest_turns_are_left_out_where_that_is_asked_for(bench: ChatBench, api: httpx.Client) -> None:
    bench.replica.script = full
    conversation = begun(api)
    asked(api, conversation, 422, content="One")
    (answer,) = asked(api, conversation, content="One", settings={"drop_oldest": True})["answers"]
    assert (answer["text"], answer["dropped_turns"]) == ("short", 2)
    assert asked(api, conversation, content="Two")["answers"][0]["dropped_turns"] == 2, "it stays so"


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


async def endless(_ask: Ask) -> AsyncIterator[Any]:
    while True:
        yield piece("word ")
        await asyncio.sleep(0.01)


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


# --- several


def test_models_answer_side_by_side_in_one_turn(bench: ChatBench, api: httpx.Client) -> None:
    async def named(ask: Ask) -> AsyncIterator[Any]:
        yield piece(f"I am {ask.model.name}.")
        yield end()

    bench.replica.script = named
    conversation = begun(api, settings={"seed": None})
    turn = asked(api, conversation, content="Who?", models=["smol", "sft:20", "sft:latest"])
    assert [(one["place"], one["model"], one["text"]) for one in turn["answers"]] == [
        (0, "smol", "I am smol."), (1, "sft:20", "I am sft:20."), (2, "sft:40", "I am sft:40."),
    ]  # fmt: skip
    drawn = [one.sampling for one in bench.replica.asked]
    assert len(drawn) == 3
    assert all(one == drawn[0] for one in drawn)
    assert drawn[0].seed == turn["settings"]["seed"] is not None
    rated = api.put(f"/conversations/{conversation}/turns/1/answers/1/rating", json={"rating": "better"})
    assert rated.json()["chosen"] == 1
    asked(api, conversation, content="Sure?")
    assert contents(bench.replica.asked[-1]) == ["Who?", "I am sft:20.", "Sure?"]
    assert bench.replica.asked[-1].sampling.seed is None, "the comparison's seed is its own"
    body = {"models": ["sft:20", "sft:40"], "stream": True}
    reply = api.post(f"/conversations/{conversation}/messages", json=body)
    by_side: dict[tuple[int, str], str] = {}
    for chunk in events(reply.text):
        for choice in chunk["choices"]:
            side = choice["index"], chunk["model"]
            by_side[side] = by_side.get(side, "") + (choice["delta"].get("content") or "")
    assert by_side == {(0, "sft:20"): "I am sft:20.", (1, "sft:40"): "I am sft:40."}
    assert events(reply.text)[-1]["usage"]["completion_tokens"] == 6
    assert said(api, conversation)[-1] == ("Sure?", "I am sft:20.", "I am sft:40.")


def test_one_that_fails_leaves_the_others(bench: ChatBench, api: httpx.Client) -> None:
    async def one_fails(ask: Ask) -> AsyncIterator[Any]:
        if ask.model.name == "smol":
            yield Refused(code="no_memory", message="2 GB are free.")
        else:
            await asyncio.sleep(0.05)
            yield piece("Hi")
            yield end()

    bench.replica.script = one_fails
    conversation = begun(api)
    body = {"content": "One", "models": ["smol", "sft:20"], "stream": True}
    reply = api.post(f"/conversations/{conversation}/messages", json=body)
    told = [
        (chunk["choices"][0]["index"], chunk["tunesmith"]["error"]["message"])
        for chunk in events(reply.text)
        if "error" in chunk.get("tunesmith", {})
    ]
    assert told == [(0, "2 GB are free.")]
    assert reply.text.endswith("data: [DONE]\n\n")
    (turn,) = api.get(f"/conversations/{conversation}").json()["said"]
    assert [(one["state"], one["text"], one["why"]) for one in turn["answers"]] == [
        ("cut", "", "2 GB are free."), ("whole", "Hi", ""),
    ]  # fmt: skip
    bench.replica.script = hello
    asked(api, conversation, content="Two")
    assert contents(bench.replica.asked[-1]) == ["One", "Hi", "Two"], "it goes on from what was said"


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
    file = plane.home.root / "ann-key"
    file.write_text("ts-ann")
    plane.services.keys.enroll(file, "ann", "user")
    own = begun(api, title="mine")
    asked(api, own, content="One")
    api.put(f"/conversations/{own}/turns/1/answers/0/rating", json={"rating": "better"})
    with client(bench, file.read_text().strip()) as ann:
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
