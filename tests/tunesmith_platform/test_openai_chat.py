"""Chats in OpenAI's form, with OpenAI's own client against the API and a stand-in of a served model."""

import asyncio
import logging
import threading
import time
from collections.abc import AsyncIterator
from typing import Any

import httpx
import openai
import pytest
from chat_bench import ChatBench, raw
from stand_in_replica import cut_off, end, hello, piece
from waiting import wait_until

from tunesmith.chat.wire import Ask

ASKED: Any = [{"role": "user", "content": "Say hello."}]


@pytest.fixture
def client(bench: ChatBench) -> openai.OpenAI:
    return bench.client()


# --- what is right


def test_an_answer_is_whole(bench: ChatBench, client: openai.OpenAI) -> None:
    made = client.chat.completions.create(model="smol", messages=ASKED)
    (choice,) = made.choices
    assert (choice.message.role, choice.message.content, choice.finish_reason) == (
        "assistant",
        "Hello world",
        "stop",
    )
    assert made.usage is not None
    assert (made.usage.prompt_tokens, made.usage.completion_tokens, made.usage.total_tokens) == (7, 3, 10)
    assert (made.object, made.model) == ("chat.completion", "smol")
    (asked,) = bench.replica.asked
    assert asked.model.base_path == bench.base
    assert [(one.role, one.content) for one in asked.messages or ()] == [("user", "Say hello.")]


def test_a_stream_is_what_clients_put_together(client: openai.OpenAI) -> None:
    chunks = list(
        client.chat.completions.create(
            model="smol", messages=ASKED, stream=True, stream_options={"include_usage": True}
        )
    )
    *said, last = chunks
    assert "".join(chunk.choices[0].delta.content or "" for chunk in said) == "Hello world"
    assert [chunk.choices[0].delta.role for chunk in said].count("assistant") == 1
    assert [chunk.choices[0].finish_reason for chunk in said if chunk.choices[0].finish_reason] == ["stop"]
    assert [chunk.usage for chunk in said] == [None] * len(said)
    assert last.choices == []
    assert last.usage is not None
    assert last.usage.total_tokens == 10
    assert {chunk.id for chunk in chunks} == {last.id}


def test_a_stream_has_the_lines_that_every_client_reads(bench: ChatBench) -> None:
    """No `id:` and no `retry:`; what keeps it alive ends no event; nothing after the mark of the end."""

    async def slow(_ask: Ask) -> AsyncIterator[Any]:
        yield {"type": "loading", "seconds": 1, "message": "The adapter\nis loaded."}
        yield piece("x")
        yield end()

    bench.replica.script = slow
    reply = raw(bench, {"model": "smol", "messages": ASKED, "stream": True})
    assert reply.headers["content-type"].startswith("text/event-stream")
    assert reply.headers["x-tunesmith-model"] == "smol"
    assert reply.headers["x-request-id"].startswith("req_")
    lines = reply.text.split("\n")
    assert [line for line in lines if line and not line.startswith(("data: ", ": "))] == []
    comments = [place for place, line in enumerate(lines) if line.startswith(":")]
    assert lines[comments[0]] == ": The adapter is loaded."
    assert all(lines[place + 1] for place in comments)
    assert reply.text.endswith("data: [DONE]\n\n")
    assert '"usage"' not in reply.text


def test_an_answer_tells_its_tokens(bench: ChatBench, client: openai.OpenAI) -> None:
    top = [{"text": "Hi", "id": 5, "logprob": -0.1}, {"text": "Ho", "id": 6, "logprob": -2.5}]

    async def told(_ask: Ask) -> AsyncIterator[Any]:
        yield piece("Hi", logprobs=[top[0] | {"top": top}])
        yield piece("中", logprobs=[{"text": "中", "id": 9, "logprob": -1.0, "top": []}])
        yield end()

    bench.replica.script = told
    made = client.chat.completions.create(model="smol", messages=ASKED, logprobs=True, top_logprobs=2)
    found = made.choices[0].logprobs
    assert found is not None
    assert found.content is not None
    assert [(one.token, one.logprob) for one in found.content] == [("Hi", -0.1), ("中", -1.0)]
    assert found.content[1].bytes == list("中".encode())
    assert [one.token for one in found.content[0].top_logprobs] == ["Hi", "Ho"]
    assert bench.replica.asked[-1].sampling.logprobs == 2
    plain = client.completions.create(model="smol", prompt="x", logprobs=1)
    assert plain.choices[0].logprobs is not None
    assert plain.choices[0].logprobs.text_offset == [0, 2]


def test_a_text_is_continued(bench: ChatBench, client: openai.OpenAI) -> None:
    made = client.completions.create(model="smol", prompt="Once")
    assert (made.choices[0].text, made.choices[0].finish_reason) == ("Hello world", "stop")
    assert (bench.replica.asked[-1].prompt, bench.replica.asked[-1].messages) == ("Once", None)
    assert bench.replica.asked[-1].sampling.max_new_tokens == 16
    streamed = client.completions.create(model="smol", prompt=["Once"], stream=True)
    assert "".join(chunk.choices[0].text for chunk in streamed) == "Hello world"


def test_thoughts_are_told_apart(bench: ChatBench, client: openai.OpenAI) -> None:
    async def thinking(_ask: Ask) -> AsyncIterator[Any]:
        for part in ("<th", "ink>\nIt is", " late.</thi", "nk>\n\nGood", " night"):
            yield piece(part)
        yield end()

    bench.replica.script = thinking
    whole: Any = client.chat.completions.create(
        model="smol",
        messages=ASKED,
        extra_body={"chat_template_kwargs": {"enable_thinking": True}, "top_k": 20, "min_p": 0.1},
    )
    message = whole.choices[0].message
    assert (message.reasoning_content, message.content) == ("It is late.", "Good night")
    (asked,) = bench.replica.asked
    assert asked.template_variables == {"enable_thinking": True}
    assert (asked.sampling.top_k, asked.sampling.min_p) == (20, 0.1)
    deltas: list[Any] = [
        chunk.choices[0].delta
        for chunk in client.chat.completions.create(model="smol", messages=ASKED, stream=True)
    ]
    assert "".join(getattr(one, "reasoning_content", "") or "" for one in deltas) == "It is late."
    assert "".join(one.content or "" for one in deltas) == "Good night"


def test_what_is_not_given_is_openais_own(bench: ChatBench, client: openai.OpenAI) -> None:
    client.chat.completions.create(model="smol", messages=ASKED)
    drawn = bench.replica.asked[-1].sampling
    assert (drawn.temperature, drawn.top_p, drawn.top_k, drawn.repetition_penalty) == (1, 1, 0, 1)
    assert (drawn.presence_penalty, drawn.frequency_penalty, drawn.seed) == (0, 0, None)
    assert drawn.max_new_tokens is None  # to the end of the context
    client.chat.completions.create(
        model="smol", messages=ASKED, max_tokens=5, max_completion_tokens=6, seed=-1, stop="\n", top_p=0
    )
    drawn = bench.replica.asked[-1].sampling
    assert (drawn.max_new_tokens, drawn.seed, drawn.stop, drawn.temperature) == (6, 2**32 - 1, ["\n"], 0)


def test_what_was_answered_can_be_sent_back(bench: ChatBench, client: openai.OpenAI) -> None:
    first = client.chat.completions.create(model="smol", messages=ASKED).choices[0].message
    parts = [{"type": "text", "text": "And "}, {"type": "text", "text": "now?"}]
    messages: Any = [{"role": "developer", "content": "Be brief."}, *ASKED, first.model_dump()]
    client.chat.completions.create(
        model="smol",
        messages=[*messages, {"role": "user", "content": parts}],
        user="me",
        store=False,
        metadata={"a": "b"},
        n=1,
        tool_choice="none",
        response_format={"type": "text"},
    )
    assert [(one.role, one.content) for one in bench.replica.asked[-1].messages or ()] == [
        ("system", "Be brief."),
        ("user", "Say hello."),
        ("assistant", "Hello world"),
        ("user", "And now?"),
    ]


def test_models_are_listed_and_shown(client: openai.OpenAI) -> None:
    assert "smol" in [one.id for one in client.models.list()]
    found: Any = client.models.retrieve("smol")
    assert (found.id, found.object, found.tunesmith["model"]) == ("smol", "model", "smol")


# --- who leaves, and who comes in numbers


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("words", [0, 1], ids=["before the first word", "in the middle"])
def test_whoever_leaves_frees_the_model_at_once(bench: ChatBench, stream: bool, words: int) -> None:
    async def endless(_ask: Ask) -> AsyncIterator[Any]:
        for _ in range(words):
            yield piece("x")
        await asyncio.sleep(60)

    bench.replica.script = endless
    before = bench.replica.left
    body = {"model": "smol", "messages": ASKED, "stream": stream}
    headers = {"Authorization": f"Bearer {bench.plane.api_key}"}
    with httpx.Client(trust_env=False, timeout=0.5) as impatient, pytest.raises(httpx.TimeoutException):
        impatient.post(f"{bench.url}/openai/v1/chat/completions", json=body, headers=headers)
    left_at = time.monotonic()
    wait_until(lambda: bench.replica.left == before + 1, 5, "the replica's call being closed", every=0.01)
    assert bench.replica.left_at - left_at < 1


def test_many_are_answered_and_too_many_are_told_to_come_again(bench: ChatBench) -> None:
    go = threading.Event()

    async def held(ask: Ask) -> AsyncIterator[Any]:
        while not go.is_set():
            await asyncio.sleep(0.01)
        async for line in hello(ask):
            yield line

    bench.replica.script = held
    turns = bench.plane.services.asking.turns
    turns._running, turns._waiting = 3, 2
    client = bench.client()
    found: list[Any] = []

    def ask() -> None:
        try:
            found.append(client.chat.completions.create(model="smol", messages=ASKED))
        except openai.RateLimitError as error:
            found.append(error)

    threads = [threading.Thread(target=ask) for _ in range(7)]
    try:
        for thread in threads:
            thread.start()
        wait_until(lambda: len(found) == 2, 10, "the refusals")
        assert (turns.running, turns.waiting, bench.replica.running) == (3, 2, 3)
        assert [one.response.headers["retry-after"] for one in found] == ["2", "2"]
        assert {one.code for one in found} == {"rate_limit_exceeded"}
        go.set()
        for thread in threads:
            thread.join(timeout=20)
        assert len([one for one in found if not isinstance(one, Exception)]) == 5
    finally:
        go.set()
        turns._running, turns._waiting = 32, 64


def test_what_is_asked_is_in_no_log(
    bench: ChatBench, client: openai.OpenAI, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    secret: Any = [{"role": "user", "content": "my-secret-prompt"}]
    client.chat.completions.create(model="smol", messages=secret)
    raw(bench, {"model": "smol", "messages": secret, "temperature": 9})
    bench.replica.script = cut_off
    raw(bench, {"model": "smol", "messages": secret})
    said = [one.getMessage() for one in caplog.records if not one.name.startswith(("openai", "httpcore"))]
    assert [line for line in said if "my-secret-prompt" in line] == []
    assert b"my-secret-prompt" not in bench.plane.home.database.read_bytes()


def test_what_was_answered_is_counted(bench: ChatBench, client: openai.OpenAI) -> None:
    def number(name: str) -> float:
        headers = {"Authorization": f"Bearer {bench.plane.api_key}"}
        text = httpx.get(f"{bench.url}/metrics", headers=headers, trust_env=False).text
        return float(
            next(line for line in text.splitlines() if line.startswith(f"tunesmith_chat_{name} ")).split()[1]
        )

    before = number("answers"), number("completion_tokens"), number("failures")
    client.chat.completions.create(model="smol", messages=ASKED)
    bench.replica.script = cut_off
    raw(bench, {"model": "smol", "messages": ASKED})
    after = number("answers"), number("completion_tokens"), number("failures")
    assert [now - then for now, then in zip(after, before, strict=True)] == [1, 3, 1]
    assert (number("running"), number("waiting")) == (0, 0)
