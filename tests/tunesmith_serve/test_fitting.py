"""Which turns are left out of a conversation that is more than its model reads."""

import asyncio
from typing import Any

import pytest
from fake_engine import ask
from tiny_model import make_tokenizer

from tunesmith.chat.wire import Ask
from tunesmith_serve.answering import Prompt, Refusal
from tunesmith_serve.fitting import Fitted, fit

TOKENIZER = make_tokenizer()


class Words:
    """Writes prompts of a token a word."""

    def __init__(self) -> None:
        self.written = 0

    async def write(self, question: Ask) -> Prompt:
        self.written += 1
        words = " ".join(turn.content for turn in question.messages or ()).split()
        return Prompt([1] * len(words), frozenset({2}), TOKENIZER)


def conversation(turns: int, *, system: str = "be kind", words: int = 5, **more: Any) -> Ask:
    """So many turns of twice so many words, and a last question of as many."""
    said = [{"role": "system", "content": system}] if system else []
    for turn in range(turns):
        said += [
            {"role": "user", "content": f"q{turn} " * words},
            {"role": "assistant", "content": f"a{turn} " * words},
        ]
    said.append({"role": "user", "content": "last " * words})
    return ask(messages=said, sampling={"max_new_tokens": 10}, **{"drop_oldest": True} | more)


def fitted(question: Ask, context: int) -> tuple[Fitted, int]:
    async def run() -> tuple[Fitted, int]:
        words = Words()
        return await fit(question, await words.write(question), context, words.write), words.written

    return asyncio.run(run())


@pytest.mark.parametrize("context", [*range(17, 60), 100, 1017, 10_000])
def test_as_few_turns_go_as_must(context: int) -> None:
    """Each turn has ten words; the system prompt two, the last question five, the answer is to have ten."""
    found, written = fitted(conversation(100), context)
    left = min(100, (context - 17) // 10)
    assert found.dropped == 100 - left
    said = [turn.content.split()[0] for turn in found.ask.messages or ()]
    assert said == ["be", *(f"{who}{n}" for n in range(100 - left, 100) for who in "qa"), "last"]
    assert len(found.prompt.ids) == 7 + 10 * left
    assert found.ask.sampling.max_new_tokens == 10
    assert written <= 9, "halves are asked about"


def test_what_fits_stays_whole() -> None:
    question = conversation(3)
    found, written = fitted(question, 47)
    assert (found.ask.messages, found.dropped, written) == (question.messages, 0, 1)
    assert fitted(question, 0)[0].ask == question, "nothing is known of the context yet"


def test_without_being_asked_to_nothing_is_left_out() -> None:
    with pytest.raises(Refusal) as caught:
        fitted(conversation(3, drop_oldest=False), 40)
    refused = caught.value.refused
    assert (refused.code, refused.prompt_tokens, refused.context_tokens) == (
        "context_length_exceeded",
        37,
        40,
    )


def test_a_last_question_that_is_too_long_is_refused_with_its_own_numbers() -> None:
    for turns in (0, 3):
        with pytest.raises(Refusal) as caught:
            fitted(conversation(turns), 16)
        refused = caught.value.refused
        assert (refused.prompt_tokens, refused.context_tokens) == (7, 16)
        assert "last question" in (refused.hint or "")


def test_an_answer_of_any_length_is_left_some_room() -> None:
    """As OpenAI's clients ask; else the answer would be cut after a word, with turns that could have gone."""
    question = conversation(10).model_copy(
        update={"sampling": ask(sampling={"max_new_tokens": None}).sampling}
    )
    found, _ = fitted(question, 100)
    assert (found.dropped, found.ask.sampling.max_new_tokens) == (4, 33)


def test_what_belongs_to_a_turn_goes_with_it() -> None:
    said = [
        {"role": "assistant", "content": "hello " * 5},
        {"role": "user", "content": "first " * 5},
        {"role": "assistant", "content": "one " * 5},
        {"role": "system", "content": "note"},
        {"role": "assistant", "content": "more " * 5},
        {"role": "user", "content": "last"},
    ]
    question = ask(messages=said, sampling={"max_new_tokens": 5}, drop_oldest=True)
    assert [turn.content.split()[0] for turn in fitted(question, 24)[0].ask.messages or ()] == [
        "first", "one", "note", "more", "last",
    ]  # fmt: skip
    assert [turn.content for turn in fitted(question, 10)[0].ask.messages or ()] == ["note", "last"]
