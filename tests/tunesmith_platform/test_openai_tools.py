"""Tools, formats and several answers in OpenAI's form, with its own client against a stand-in of a served model."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import openai
import pytest
from chat_bench import ChatBench
from pydantic import BaseModel
from stand_in_replica import end, piece

from tunesmith.chat.wire import Ask, Refused

ASKED: Any = [{"role": "user", "content": "How is the weather in Paris?"}]
WEATHER: Any = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather of a place.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
        "strict": True,
    },
}
TIME: Any = {"type": "function", "function": {"name": "time"}}


@pytest.fixture
def client(bench: ChatBench) -> openai.OpenAI:
    return bench.client()


async def calling(_ask: Ask) -> AsyncIterator[Any]:
    """Two calls, in the pieces that a model makes them in."""
    yield piece("I look.")
    yield piece("", calls=[{"index": 0, "name": "weather"}])
    for part in ('{"city"', ': "Pa', 'ris"}'):
        yield piece("", calls=[{"index": 0, "arguments": part}])
    yield piece("", calls=[{"index": 1, "name": "time", "arguments": ""}, {"index": 1, "arguments": "{}"}])
    yield end(finish_reason="tool_calls")


def test_calls_are_told_whole(bench: ChatBench, client: openai.OpenAI) -> None:
    bench.replica.script = calling
    made = client.chat.completions.create(model="smol", messages=ASKED, tools=[WEATHER, TIME])
    (choice,) = made.choices
    assert (choice.finish_reason, choice.message.content) == ("tool_calls", "I look.")
    found: Any = choice.message.tool_calls
    assert [(one.type, one.function.name, one.function.arguments) for one in found] == [
        ("function", "weather", '{"city": "Paris"}'),
        ("function", "time", "{}"),
    ]
    assert all(len(one.id) == 9 and one.id.isalnum() for one in found)
    assert found[0].id != found[1].id
    tools = bench.replica.asked[-1].tools
    assert tools is not None
    assert (tools.must, tools.only, tools.parallel) == (False, None, True)
    assert "strict" not in tools.offered[0]["function"], "it is no word of the model's"
    assert tools.strict == {tools.offered[0]["function"]["name"]}
    assert tools.offered[1] == TIME


def test_calls_are_streamed_as_the_real_ones_are(bench: ChatBench, client: openai.OpenAI) -> None:
    bench.replica.script = calling
    chunks = list(
        client.chat.completions.create(model="smol", messages=ASKED, tools=[WEATHER, TIME], stream=True)
    )
    deltas = [call for chunk in chunks for call in chunk.choices[0].delta.tool_calls or ()]
    heads = [call for call in deltas if call.id is not None]
    assert [(call.index, call.type, call.function and call.function.name) for call in heads] == [
        (0, "function", "weather"),
        (1, "function", "time"),
    ]
    assert all(call.function is not None and call.function.name is None for call in deltas if call.id is None)
    texts = [
        "".join((call.function and call.function.arguments) or "" for call in deltas if call.index == n)
        for n in (0, 1)
    ]
    assert texts == ['{"city": "Paris"}', "{}"]
    assert chunks[-1].choices[0].finish_reason == "tool_calls"
    # The client's own helper puts the same together.
    with client.chat.completions.stream(model="smol", messages=ASKED, tools=[WEATHER, TIME]) as stream:
        final: Any = stream.get_final_completion().choices[0].message.tool_calls
    assert [one.function.arguments for one in final] == texts


def test_an_answer_without_words_has_no_content(bench: ChatBench, client: openai.OpenAI) -> None:
    async def silent(_ask: Ask) -> AsyncIterator[Any]:
        yield piece("", calls=[{"index": 0, "name": "time", "arguments": "{}"}])
        yield end(finish_reason="tool_calls")

    bench.replica.script = silent
    made = client.chat.completions.create(model="smol", messages=ASKED, tools=[TIME])
    assert made.choices[0].message.content is None


@pytest.mark.parametrize(
    ("choice", "parallel", "expected"),
    [
        ("auto", None, (False, None, True)),
        ("auto", False, (False, None, False)),
        ("required", None, (True, None, True)),
        ({"type": "function", "function": {"name": "time"}}, None, (True, "time", True)),
        ("none", None, None),
    ],
)
def test_who_is_called_is_the_callers_choice(
    bench: ChatBench, client: openai.OpenAI, choice: Any, parallel: bool | None, expected: Any
) -> None:
    more = {} if parallel is None else {"parallel_tool_calls": parallel}
    client.chat.completions.create(
        model="smol", messages=ASKED, tools=[WEATHER, TIME], tool_choice=choice, **more
    )
    tools = bench.replica.asked[-1].tools
    assert expected == (tools and (tools.must, tools.only, tools.parallel))


def test_calls_and_what_they_answered_go_back_to_the_model(bench: ChatBench, client: openai.OpenAI) -> None:
    bench.replica.script = calling
    first = (
        client.chat.completions.create(model="smol", messages=ASKED, tools=[WEATHER, TIME]).choices[0].message
    )
    calls: Any = first.tool_calls
    messages: Any = [
        *ASKED,
        first.model_dump(exclude_none=True),
        {"role": "tool", "tool_call_id": calls[0].id, "content": "Rain."},
        {"role": "tool", "tool_call_id": calls[1].id, "content": [{"type": "text", "text": "Noon."}]},
    ]
    client.chat.completions.create(model="smol", messages=messages, tools=[WEATHER, TIME])
    _, answer, rain, noon = bench.replica.asked[-1].messages or ()
    assert [(one.id, one.name, one.arguments) for one in answer.tool_calls] == [
        (calls[0].id, "weather", {"city": "Paris"}),
        (calls[1].id, "time", {}),
    ]
    assert (rain.role, rain.content, rain.name, rain.tool_call_id) == (
        "tool",
        "Rain.",
        "weather",
        calls[0].id,
    )
    assert (noon.content, noon.name) == ("Noon.", "time")


class Town(BaseModel):
    """What is asked for."""

    name: str
    people: int


def test_formats_reach_the_model(bench: ChatBench, client: openai.OpenAI) -> None:
    async def json_said(_ask: Ask) -> AsyncIterator[Any]:
        for part in ('{"name": "Par', 'is", "people": 2}'):
            yield piece(part)
        yield end()

    bench.replica.script = json_said
    found = client.chat.completions.parse(model="smol", messages=ASKED, response_format=Town)
    assert found.choices[0].message.parsed == Town(name="Paris", people=2)
    asked = bench.replica.asked[-1].format
    assert asked is not None
    assert asked.field == "response_format.json_schema.schema"
    assert isinstance(asked.json_schema, dict)
    assert asked.json_schema["required"] == ["name", "people"]
    client.chat.completions.create(model="smol", messages=ASKED, response_format={"type": "json_object"})
    asked = bench.replica.asked[-1].format
    assert asked is not None
    assert asked.json_schema is None
    client.chat.completions.create(model="smol", messages=ASKED, response_format={"type": "text"})
    assert bench.replica.asked[-1].format is None


@pytest.mark.parametrize(
    ("more", "param"),
    [
        ({"tools": [{"type": "function"}]}, "tools"),
        ({"tools": [{"type": "web_search"}]}, "tools"),
        ({"tools": [{"type": "function", "function": {"name": "a b"}}]}, "tools"),
        ({"tools": [TIME, TIME]}, "tools[1].function.name"),
        ({"tools": [TIME] * 129}, "tools"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tools": [TIME], "tool_choice": "time"}, "tool_choice"),
        (
            {"tools": [TIME], "tool_choice": {"type": "function", "function": {"name": "x"}}},
            "tool_choice.function.name",
        ),
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema"),
        ({"response_format": {"type": "json_schema", "json_schema": {"name": "x"}}}, "response_format"),
        ({"functions": [{"name": "x"}]}, "functions"),
        (
            {
                "messages": [
                    {
                        "role": "assistant",
                        "tool_calls": [{"id": "a", "function": {"name": "t", "arguments": "{"}}],
                    }
                ]
            },
            "messages[0].tool_calls[0].function.arguments",
        ),
        (
            {
                "messages": [
                    {
                        "role": "assistant",
                        "tool_calls": [{"id": "a", "function": {"name": "t", "arguments": "[]"}}],
                    }
                ]
            },
            "messages[0].tool_calls[0].function.arguments",
        ),
    ],
    ids=str,
)
def test_what_is_wrong_with_tools_is_named(
    bench: ChatBench, client: openai.OpenAI, more: dict[str, Any], param: str
) -> None:
    with pytest.raises(openai.BadRequestError) as found:
        client.chat.completions.create(**{"model": "smol", "messages": ASKED} | more)
    assert (found.value.param or "").startswith(param), found.value.body
    assert bench.replica.asked == []


def test_what_the_model_refuses_names_the_same_field(bench: ChatBench, client: openai.OpenAI) -> None:
    async def no(_ask: Ask) -> AsyncIterator[Any]:
        yield Refused(code="invalid_input", message="The template knows no tools.", field="tools")

    bench.replica.script = no
    with pytest.raises(openai.BadRequestError) as found:
        client.chat.completions.create(model="smol", messages=ASKED, tools=[TIME])
    assert found.value.param == "tools"


# --- several answers


async def each(ask: Ask) -> AsyncIterator[Any]:
    """Another answer for each seed, the later ones first."""
    seed = ask.sampling.seed or 0
    await asyncio.sleep(0.02 * (3 - seed % 4))
    yield piece(f"seed {seed}")
    yield piece(" said")
    yield end(prompt=7, completion=2)


def test_several_answers_to_one_question(bench: ChatBench, client: openai.OpenAI) -> None:
    bench.replica.script = each
    made = client.chat.completions.create(model="smol", messages=ASKED, n=3, seed=4)
    assert [(one.index, one.message.content) for one in made.choices] == [
        (0, "seed 4 said"),
        (1, "seed 5 said"),
        (2, "seed 6 said"),
    ]
    assert made.usage is not None
    assert (made.usage.prompt_tokens, made.usage.completion_tokens) == (7, 6), "the prompt counts once"
    chunks = list(
        client.chat.completions.create(
            model="smol", messages=ASKED, n=3, seed=4, stream=True, stream_options={"include_usage": True}
        )
    )
    texts: dict[int, str] = {}
    for chunk in chunks[:-1]:
        (choice,) = chunk.choices
        texts[choice.index] = texts.get(choice.index, "") + (choice.delta.content or "")
    assert texts == {n: f"seed {4 + n} said" for n in range(3)}
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens == 6
    assert [chunk.usage for chunk in chunks[:-1]] == [None] * (len(chunks) - 1)


def test_several_texts_are_continued(bench: ChatBench, client: openai.OpenAI) -> None:
    async def echoed(ask: Ask) -> AsyncIterator[Any]:
        yield piece(f"{ask.prompt}{ask.sampling.seed}")
        yield end(prompt=3, completion=1)

    bench.replica.script = echoed
    made = client.completions.create(model="smol", prompt=["a", "b"], n=2, seed=0)
    assert [(one.index, one.text) for one in made.choices] == [(0, "a0"), (1, "a1"), (2, "b0"), (3, "b1")]
    assert made.usage is not None
    assert (made.usage.prompt_tokens, made.usage.completion_tokens) == (6, 4)
    with pytest.raises(openai.BadRequestError) as found:
        client.completions.create(model="smol", prompt=["a"] * 9, n=2)
    assert found.value.param == "prompt"


def test_where_one_of_several_is_cut_off_all_end(bench: ChatBench, client: openai.OpenAI) -> None:
    async def cut(ask: Ask) -> AsyncIterator[Any]:
        yield piece("x")
        if ask.sampling.seed == 1:
            return
        await asyncio.sleep(30)

    bench.replica.script = cut
    for stream in (False, True):
        with pytest.raises(openai.APIError):
            list(client.chat.completions.create(model="smol", messages=ASKED, n=3, seed=0, stream=stream))
        bench.idle()


def test_tokens_are_weighted(bench: ChatBench, client: openai.OpenAI) -> None:
    client.chat.completions.create(model="smol", messages=ASKED, logit_bias={"5": -100, "17": 2})
    assert bench.replica.asked[-1].sampling.logit_bias == {5: -100, 17: 2}


def test_a_thought_that_the_prompt_opens_is_told_apart(bench: ChatBench, client: openai.OpenAI) -> None:
    async def inside(_ask: Ask) -> AsyncIterator[Any]:
        yield piece("It is", thinks=True)
        for part in (" late.</th", "ink>\n\nGood", " night"):
            yield piece(part)
        yield end()

    bench.replica.script = inside
    whole: Any = client.chat.completions.create(model="smol", messages=ASKED)
    assert (whole.choices[0].message.reasoning_content, whole.choices[0].message.content) == (
        "It is late.",
        "Good night",
    )
    chunks: Any = list(client.chat.completions.create(model="smol", messages=ASKED, stream=True))
    told = [getattr(chunk.choices[0].delta, "reasoning_content", None) or "" for chunk in chunks]
    assert "".join(told) == "It is late."
