"""However an answer is cut on its way, what arrives is the same."""

import asyncio
import itertools
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from stand_in_replica import end, piece

from tunesmith.chat.wire import LINE, End, Line, Piece
from tunesmith_platform.chats.replica import _lines
from tunesmith_platform.openai.answers import Answer, ChatAnswer, TextAnswer
from tunesmith_platform.openai.thinking import Thinking

TEXTS = st.text(alphabet="<>/think \n中é😀a", max_size=40)
CUTS = st.lists(st.integers(0, 200), max_size=8)


def cut(whole: Any, places: list[int]) -> list[Any]:
    """Pieces that are `whole` when put together."""
    ends = sorted({place % (len(whole) + 1) for place in places} | {0, len(whole)})
    return [whole[begin:end] for begin, end in itertools.pairwise(ends)]


def told(pieces: list[str]) -> tuple[str, str]:
    thinking = Thinking()
    found = [*(thinking.take(one) for one in pieces), thinking.end()]
    return "".join(one.thought for one in found), "".join(one.answer for one in found)


@given(TEXTS, TEXTS, CUTS, st.booleans())
def test_thoughts_are_the_same_wherever_they_are_cut(
    thought: str, answer: str, places: list[int], is_thinking: bool
) -> None:
    text = f"<think>{thought}</think>{answer}" if is_thinking else answer
    assert told(cut(text, places)) == told([text])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Paris.", ("", "Paris.")),
        ("", ("", "")),
        ("<thin", ("", "<thin")),
        ("\n", ("", "\n")),
        ("<think>\nSo", ("So", "")),
        ("<think>\nSo.\n</think>\n\nYes", ("So.\n", "Yes")),
        ("<think></think>Yes", ("", "Yes")),
        ("I <think>so</think>", ("", "I <think>so</think>")),
        ("<think>a</thi", ("a</thi", "")),
    ],
)
def test_thoughts_are_told_at_the_beginning_alone(text: str, expected: tuple[str, str]) -> None:
    assert told([text]) == expected
    assert told(list(text)) == expected


class Arriving:
    """A response whose body arrives in pieces."""

    def __init__(self, pieces: list[bytes]) -> None:
        self._pieces = pieces

    async def aiter_bytes(self) -> AsyncIterator[bytes]:
        for one in self._pieces:
            yield one


@given(st.lists(st.text(max_size=10), max_size=5), CUTS)
def test_lines_are_the_same_wherever_they_are_cut(texts: list[str], places: list[int]) -> None:
    sent = [piece(text) for text in texts] + [end()]
    body = b"".join(json.dumps(line).encode() + b"\n" for line in sent)

    async def read() -> list[Line]:
        return [line async for line in _lines(Arriving(cut(body, places)))]  # type: ignore[arg-type]

    assert asyncio.run(read()) == [LINE.validate_python(line) for line in sent]


def events(stream: bytes) -> list[dict[str, Any]]:
    found = stream.decode().split("\n\n")
    assert found.pop() == ""
    return [json.loads(event.removeprefix("data: ")) for event in found]


@pytest.mark.parametrize("form", [ChatAnswer, TextAnswer])
@given(st.lists(TEXTS, max_size=6), st.booleans())
def test_a_stream_says_what_the_whole_answer_says(
    form: type[Answer], texts: list[str], includes_usage: bool
) -> None:
    pieces = [Piece(text=text, tokens=1) for text in texts]
    last = End.model_validate(end())
    streamed = form("n", "m", "w", includes_usage=includes_usage)
    chunks = events(streamed.begin() + b"".join(streamed.piece(one) for one in pieces) + streamed.end(last))
    whole = form("n", "m", "w").whole([(pieces, last)])
    usage = chunks.pop() if includes_usage else None
    assert usage is None or (usage["choices"], usage["usage"]) == ([], whole["usage"])
    assert all(chunk.get("usage") is None for chunk in chunks)
    choices = [chunk["choices"][0] for chunk in chunks]
    assert [choice["finish_reason"] for choice in choices] == [None] * (len(choices) - 1) + ["stop"]
    if form is TextAnswer:
        assert "".join(choice["text"] for choice in choices) == whole["choices"][0]["text"]
        return
    message = whole["choices"][0]["message"]
    for part in ("content", "reasoning_content"):
        assert "".join(choice["delta"].get(part, "") for choice in choices) == message.get(part, "")
    assert [choice["delta"].get("role") for choice in choices].count("assistant") == 1
