"""One answer: how it ends, what is counted, what is refused, and that nothing is drawn for nobody."""

import asyncio
import time
from contextlib import aclosing
from typing import Any

import pytest
from fake_engine import FakeEngine, served
from tiny_model import make_tokenizer

from tunesmith.chat.settings import Sampling
from tunesmith.chat.wire import End, Piece
from tunesmith_serve.answering import Prompt, Refusal, answer, fitted
from tunesmith_serve.engine import Drawn

TOKENIZER = make_tokenizer()
IDS = TOKENIZER.encode("The capital of France is Paris.", add_special_tokens=False).ids
END = TOKENIZER.token_to_id("<|im_end|>")


async def lines(engine: FakeEngine, sampling: Sampling) -> list[Any]:
    await engine.load(served(), lambda _: None)
    prompt = Prompt([1, 2, 3], frozenset({END}), TOKENIZER)
    async with aclosing(answer(engine, "base", prompt, sampling, time.monotonic())) as found:
        return [line async for line in found]


def said(found: list[Any]) -> str:
    return "".join(line.text for line in found if isinstance(line, Piece))


def test_an_end_mark_ends_an_answer_and_is_counted_but_not_said() -> None:
    found = asyncio.run(lines(FakeEngine([*IDS, END, *IDS]), Sampling(max_new_tokens=64)))
    end = found[-1]
    assert said(found) == "The capital of France is Paris."
    assert isinstance(end, End)
    assert (end.finish_reason, end.prompt_tokens, end.completion_tokens) == ("stop", 3, len(IDS) + 1)
    assert end.engine == "fake"
    assert end.deterministic


def test_an_answer_that_is_cut_off_says_so() -> None:
    found = asyncio.run(lines(FakeEngine([*IDS, END]), Sampling(max_new_tokens=2)))
    assert (found[-1].finish_reason, found[-1].completion_tokens) == ("length", 2)
    assert said(found) == TOKENIZER.decode(IDS[:2])


def test_a_stop_text_ends_the_drawing() -> None:
    engine = FakeEngine([*IDS, *IDS, END])
    found = asyncio.run(lines(engine, Sampling(max_new_tokens=64, stop=["France"])))
    assert said(found) == "The capital of "
    assert found[-1].finish_reason == "stop"
    assert found[-1].completion_tokens < len(IDS)
    assert engine.open == 0


def test_what_was_reused_and_shared_is_told() -> None:
    script = [Drawn(IDS[0], reused=7), Drawn(IDS[1], shared=True), END]
    end = asyncio.run(lines(FakeEngine(script), Sampling()))[-1]
    assert (end.reused_tokens, end.deterministic) == (7, False)


def test_closing_an_answer_ends_its_drawing() -> None:
    async def run() -> None:
        engine = FakeEngine([*IDS, END])
        await engine.load(served(), lambda _: None)
        prompt = Prompt([1], frozenset({END}), TOKENIZER)
        found = answer(engine, "base", prompt, Sampling(), time.monotonic())
        await anext(found)
        assert engine.open == 1
        await found.aclose()
        assert engine.open == 0

    asyncio.run(run())


def test_a_question_without_room_for_its_answer_is_refused_with_both_numbers() -> None:
    with pytest.raises(Refusal) as caught:
        fitted(500, Sampling(max_new_tokens=20), 512)
    refused = caught.value.refused
    assert refused.code == "context_length_exceeded"
    assert "500" in refused.message
    assert "512" in refused.message
    assert refused.hint is not None
    assert "12" in refused.hint
    fitted(492, Sampling(max_new_tokens=20), 512)
    fitted(10**6, Sampling(), 0)  # not known yet


def test_an_answer_without_a_number_may_fill_the_context() -> None:
    """As OpenAI's clients expect that send none."""
    endless = Sampling(max_new_tokens=None)
    assert fitted(500, endless, 512).max_new_tokens == 12
    assert fitted(500, endless, 10**6).max_new_tokens == 8192
    assert fitted(500, Sampling(max_new_tokens=5), 512).max_new_tokens == 5
    with pytest.raises(Refusal) as caught:
        fitted(512, endless, 512)
    assert caught.value.refused.field == "messages"


def test_a_question_that_fills_the_context_alone_names_the_turns() -> None:
    with pytest.raises(Refusal) as caught:
        fitted(600, Sampling(max_new_tokens=20), 512)
    assert caught.value.refused.field == "messages"
