"""What cannot be answered, in OpenAI's form: whose fault it is, and where; never an end that is none."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import openai
import pytest
from chat_bench import ChatBench, raw
from stand_in_replica import cut_off, end, hello, piece

from tunesmith.chat.wire import Ask, Refused

ASKED: Any = [{"role": "user", "content": "Say hello."}]


@pytest.fixture
def client(bench: ChatBench) -> openai.OpenAI:
    return bench.client()


# --- what is wrong


@pytest.mark.parametrize(
    ("more", "param"),
    [
        ({"temperature": 3}, "temperature"),
        ({"temperature": True}, "temperature"),
        ({"top_p": -0.1}, "top_p"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_completion_tokens": 10**6}, "max_completion_tokens"),
        ({"n": 17}, "n"),
        ({"stop": ["a"] * 17}, "stop"),
        ({"stop": ""}, "stop"),
        ({"top_k": 10**9}, "top_k"),
        ({"repetition_penalty": 0}, "repetition_penalty"),
        ({"presence_penalty": -3}, "presence_penalty"),
        ({"logit_bias": {"5": 101}}, "logit_bias"),
        ({"logit_bias": {"x": 1}}, "logit_bias"),
        ({"tools": [{"type": "function"}]}, "tools"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"response_format": {"type": "xml"}}, "response_format"),
        ({"response_format": {"type": "json_schema", "json_schema": {}}}, "response_format"),
        ({"top_logprobs": 2}, None),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "user"}]}, "messages[0].content"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0].tool_call_id"),
        ({"messages": [{"role": "function", "content": "x"}]}, "messages[0].role"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]},
            "messages[0].content",
        ),
        ({"ignore_eos": True}, "ignore_eos"),
    ],
    ids=lambda value: json.dumps(value)[:40] if isinstance(value, dict) else None,
)
def test_what_cannot_be_done_is_named(bench: ChatBench, more: dict[str, Any], param: str | None) -> None:
    for stream in (False, True):
        reply = raw(bench, {"model": "smol", "messages": ASKED, "stream": stream} | more)
        error = reply.json()["error"]
        assert (reply.status_code, error["type"]) == (400, "invalid_request_error"), reply.text
        assert (error["param"] or "").startswith(param or ""), error
        assert error["message"]
        assert reply.headers["x-request-id"]
    assert bench.replica.asked == []


@pytest.mark.parametrize(
    "body",
    [b"{", b'{"model": "smol", "messages": [], "temperature": NaN}', b"[]", b"\xff", b'"x"', b""],
)
def test_what_is_no_request_is_a_400(bench: ChatBench, body: bytes) -> None:
    headers = {"Authorization": f"Bearer {bench.plane.api_key}", "Content-Type": "application/json"}
    url = f"{bench.url}/openai/v1/chat/completions"
    reply = httpx.post(url, content=body, headers=headers, trust_env=False)
    assert (reply.status_code, reply.json()["error"]["type"]) == (400, "invalid_request_error")


def test_errors_are_the_clients_own(bench: ChatBench, client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as missing:
        client.chat.completions.create(model="smoll", messages=ASKED)
    assert (missing.value.code, missing.value.param) == ("model_not_found", "model")
    assert "Did you mean `smol`?" in str(missing.value)
    with pytest.raises(openai.AuthenticationError) as stranger:
        bench.client(api_key="sk-wrong").models.list()
    assert stranger.value.code == "invalid_api_key"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("task-unknown:40")
    with pytest.raises(openai.NotFoundError):
        client.embeddings.create(model="smol", input="x")
    with pytest.raises(openai.APIStatusError) as large:
        client.chat.completions.create(
            model="smol", messages=[{"role": "user", "content": "x" * (2**20 + 10)}]
        )
    assert large.value.status_code == 413
    assert bench.replica.asked == []


def test_it_is_said_how_many_turns_were_left_out(bench: ChatBench, client: openai.OpenAI) -> None:
    async def short(_ask: Ask) -> AsyncIterator[Any]:
        yield piece("x")
        yield end(dropped_turns=3)

    bench.replica.script = short
    wanted: dict[str, Any] = {"model": "smol", "messages": ASKED, "extra_body": {"drop_oldest": True}}
    made = client.chat.completions.create(**wanted)
    assert (made.model_extra or {})["tunesmith"] == {"proof": "pending", "dropped_turns": 3}
    chunks = list(client.chat.completions.create(stream=True, **wanted))
    told = [(chunk.model_extra or {}).get("tunesmith") for chunk in chunks]
    assert [one for one in told if one] == [{"proof": "pending", "dropped_turns": 3}]
    assert [ask.drop_oldest for ask in bench.replica.asked] == [True, True]
    client.chat.completions.create(model="smol", messages=ASKED)
    assert not bench.replica.asked[-1].drop_oldest


@pytest.mark.parametrize(
    ("refused", "kind", "code", "param"),
    [
        (
            Refused(code="context_length_exceeded", message="It has 900 tokens."),
            openai.BadRequestError,
            "context_length_exceeded",
            "messages",
        ),
        (
            Refused(code="invalid_input", message="No template.", field="messages"),
            openai.BadRequestError,
            "invalid_input",
            "messages",
        ),
        (
            Refused(code="context_length_exceeded", message="Too many.", field="max_new_tokens"),
            openai.BadRequestError,
            "context_length_exceeded",
            "max_tokens",
        ),
        (
            Refused(code="model_not_found", message="Gone."),
            openai.NotFoundError,
            "model_not_found",
            "model",
        ),
        (
            Refused(code="no_memory", message="2 GB are free.", retry_after=7),
            openai.InternalServerError,
            "no_memory",
            None,
        ),
        (Refused(code="failed", message="It broke."), openai.InternalServerError, "failed", None),
    ],
    ids=lambda value: value.code if isinstance(value, Refused) else "",
)
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_a_refusal_is_an_error_of_its_kind(
    bench: ChatBench,
    client: openai.OpenAI,
    refused: Refused,
    kind: type[openai.APIStatusError],
    code: str,
    param: str | None,
    stream: bool,
) -> None:
    async def no(_ask: Ask) -> AsyncIterator[Any]:
        yield refused

    bench.replica.script = no
    with pytest.raises(kind) as found:
        list(client.chat.completions.create(model="smol", messages=ASKED, stream=stream))
    assert (found.value.code, found.value.param) == (code, param)
    assert refused.message in str(found.value)
    if refused.retry_after is not None:
        assert found.value.response.headers["retry-after"] == "7"


async def _broken(_ask: Ask) -> AsyncIterator[Any]:
    yield piece("Hel")
    await asyncio.sleep(0.05)
    raise ConnectionResetError


async def _failed(_ask: Ask) -> AsyncIterator[Any]:
    yield piece("Hel")
    yield {"type": "failed", "message": "The engine has ended."}


async def _nonsense(_ask: Ask) -> AsyncIterator[Any]:
    yield piece("Hel")
    yield b"<html>\n"


async def _half(_ask: Ask) -> AsyncIterator[Any]:
    yield piece("Hel")
    yield piece("half of a pair: \ud800")
    yield end()


async def _half_a_call(_ask: Ask) -> AsyncIterator[Any]:
    yield piece("Hel")
    yield piece("", calls=[{"index": 0, "name": "f", "arguments": "\udfff"}])
    yield end()


async def _late(_ask: Ask) -> AsyncIterator[Any]:
    yield {"type": "loading", "seconds": 0}
    yield Refused(code="no_memory", message="2 GB are free.")


@pytest.mark.parametrize("broken", [cut_off, _broken, _failed, _nonsense, _half, _half_a_call, _late])
def test_what_is_not_whole_is_an_error_and_never_an_end(
    bench: ChatBench, client: openai.OpenAI, broken: Any
) -> None:
    bench.replica.script = broken
    with pytest.raises(openai.APIError) as found:
        list(client.chat.completions.create(model="smol", messages=ASKED, stream=True))
    assert found.value.code in {"cut_off", "failed", "no_memory"}
    reply = raw(bench, {"model": "smol", "messages": ASKED, "stream": True})
    if reply.status_code == 200:
        assert "[DONE]" not in reply.text
        assert '"finish_reason":"' not in reply.text
    with pytest.raises(openai.InternalServerError):
        client.chat.completions.create(model="smol", messages=ASKED)
    bench.replica.script = hello  # the next question is answered
    assert client.chat.completions.create(model="smol", messages=ASKED).choices[0].message.content
