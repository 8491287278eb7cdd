"""Conversations that are kept, over HTTP against a stand-in of a served model."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from chat_bench import ChatBench, checkpoint
from stand_in_replica import end, hello, piece
from talks import SECRET, asked, begun, contents, events, said

from tunesmith.chat.wire import Ask, Refused


@pytest.fixture(scope="module")
def served_bench(served_bench: ChatBench) -> ChatBench:
    task = served_bench.plane.running(name="sft")
    for step in (20, 40):
        checkpoint(served_bench.plane, task, step)
    return served_bench


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
