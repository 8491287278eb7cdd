"""What every engine promises, of each of them: the model's own answers, and nothing left behind."""

import asyncio
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asked
import pytest
import torch
from asked import PROMPTS, Answer, Live, ask, served
from tokenizers import Tokenizer

from tunesmith.errors import InvalidInput, InvalidModel
from tunesmith_serve import transformers_engine
from tunesmith_serve.constraint import Grammar
from tunesmith_serve.engine import Engine, EngineSettings, NoRoom
from tunesmith_serve.grammar import Rules
from tunesmith_serve.llama_cpp import LlamaCpp
from tunesmith_serve.llama_cpp import engine as llama_cpp_engine
from tunesmith_serve.transformers_engine import Transformers

ENGINES = {"llama_cpp": LlamaCpp, "transformers": Transformers}
ADAPTERS = ("one", "two")


def settings(base: Path, place: Path) -> EngineSettings:
    return asked.settings(base, place, context_length=160)


@pytest.fixture(scope="module", params=ENGINES)
def live(
    request: pytest.FixtureRequest, chatty: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Live]:
    """An engine with a base and two adapters."""
    place = tmp_path_factory.mktemp("engine")
    found = Live(lambda: ENGINES[request.param](settings(chatty, place)))
    found.load(served(chatty), *(served(chatty, name) for name in ADAPTERS))
    yield found
    found.close()


@pytest.fixture(scope="module")
def own(chatty: Path) -> dict[str | None, list[list[int]]]:
    """What transformers and peft themselves write to each prompt, of the base and of each adapter."""
    found: dict[str | None, list[list[int]]] = {}
    for name in (None, *ADAPTERS):
        model = asked.library_model(chatty, name)
        found[name] = [asked.written(model, prompt) for prompt in PROMPTS]
    return found


def busy(live: Live) -> int:
    return live.engine.questions


def test_answers_are_the_models_own(live: Live, chatty: Path, own: dict[str | None, list[list[int]]]) -> None:
    assert own[None] != own["one"] != own["two"] != own[None], "such models would be taken for each other"
    for place, prompt in enumerate(PROMPTS):
        for name in (None, *ADAPTERS):
            assert live.ask(served(chatty, name), prompt).ids == own[name][place]


def test_several_at_once_are_each_their_own(
    live: Live, chatty: Path, own: dict[str | None, list[list[int]]]
) -> None:
    async def all_at_once() -> list[Answer]:
        return await asyncio.gather(
            *(ask(live.engine, served(chatty, name), prompt) for prompt in PROMPTS for name in own)
        )

    found = live.run(all_at_once())
    assert [answer.ids for answer in found] == [
        own[name][place] for place in range(len(PROMPTS)) for name in own
    ]
    assert busy(live) == 0


def test_an_answer_ends_with_the_first_of_its_ends_or_when_it_is_long_enough(
    live: Live, chatty: Path, own: dict[str | None, list[list[int]]]
) -> None:
    whole = own[None][0]
    end = whole[5]
    first = whole.index(end)
    assert live.ask(served(chatty), PROMPTS[0], ends=frozenset({end, 3})).ids == whole[: first + 1]
    assert live.ask(served(chatty), PROMPTS[0], max_new_tokens=1).ids == whole[:1]


def test_no_token_but_its_ends_ends_an_answer(live: Live, chatty: Path) -> None:
    """Every token of the vocabulary is drawn in some place, the template's end of turn among them, and none ends it."""
    found = live.ask(served(chatty), PROMPTS[0], temperature=2, min_p=0, seed=1, max_new_tokens=80)
    assert len(found.ids) == 80


def test_a_full_context_ends_an_answer(live: Live, chatty: Path) -> None:
    assert live.engine.context_length == 160
    prompt = (PROMPTS[0] * 10)[:150]
    assert 9 <= len(live.ask(served(chatty), prompt, max_new_tokens=100).ids) <= 10


@pytest.mark.parametrize(
    ("prompt", "words"),
    [
        ([], "is empty"),
        ([5] * 160, "is 160 tokens, of 160"),
        ([5, 10**6], "none of the"),
        ([5, -1], "none of the"),
    ],
    ids=["empty", "too long", "beyond the words", "negative"],
)
def test_a_prompt_that_is_none_is_refused_and_breaks_nothing(
    live: Live, chatty: Path, prompt: list[int], words: str
) -> None:
    loaded = live.engine.loaded
    with pytest.raises(InvalidInput, match=words):
        live.ask(served(chatty), prompt)
    assert live.engine.loaded == loaded
    assert busy(live) == 0
    assert live.ask(served(chatty), [5] * 159, max_new_tokens=9).ids


def test_a_seed_gives_the_same_answer_warm_or_cold(live: Live, chatty: Path) -> None:
    model = served(chatty, "one")
    given = {"temperature": 1.5, "top_p": 0.95, "logprobs": 2, "max_new_tokens": 8}
    first = live.ask(model, PROMPTS[1], seed=7, **given)
    for turn in range(6):
        live.ask(served(chatty, ADAPTERS[turn % 2]), PROMPTS[turn])
        again = live.ask(model, PROMPTS[1], seed=7, **given)
        assert again == first, "to the last bit of each logarithm"
    assert not first.shared
    assert first.tokens[0].reused == 0
    assert live.ask(model, PROMPTS[1], seed=8, **given).ids != first.ids
    assert live.ask(model, PROMPTS[1], **given).ids != live.ask(model, PROMPTS[1], **given).ids


@pytest.mark.parametrize(
    "given", [{"repetition_penalty": 1.8}, {"presence_penalty": 2}, {"frequency_penalty": 2}], ids=str
)
def test_penalties_have_an_effect(live: Live, chatty: Path, given: dict[str, float]) -> None:
    plain = live.ask(served(chatty), PROMPTS[2], max_new_tokens=40)
    assert live.ask(served(chatty), PROMPTS[2], max_new_tokens=40, **given).ids != plain.ids


def test_logprobs_are_the_models(live: Live, chatty: Path) -> None:
    found = live.ask(served(chatty, "two"), PROMPTS[3], logprobs=3, max_new_tokens=5, temperature=0.9, seed=1)
    with torch.no_grad():
        ids = torch.tensor([PROMPTS[3] + found.ids])
        wanted = asked.library_model(chatty, "two")(ids).logits[0, len(PROMPTS[3]) - 1 : -1].log_softmax(-1)
    for drawn, row in zip(found.tokens, wanted, strict=True):
        assert drawn.logprob == pytest.approx(float(row[drawn.id]), abs=0.02)
        assert [value for _, value in drawn.top] == pytest.approx(row.topk(3).values.tolist(), abs=0.02)
        assert drawn.top[0][0] == int(row.argmax())


def test_who_leaves_makes_place_at_once(live: Live, chatty: Path) -> None:
    async def leave(count: int) -> None:
        answer = live.engine.generate(
            served(chatty).weights, PROMPTS[0], asked.how(max_new_tokens=5000), frozenset()
        )
        for _ in range(count):
            await anext(answer)
        await answer.aclose()

    async def leave_unread() -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(leave(4000), 0.001)

    async def leave_all() -> None:
        await asyncio.gather(*(leave(2) for _ in range(5)), *(leave_unread() for _ in range(5)))
        began = time.monotonic()
        while busy(live):
            assert time.monotonic() - began < 1
            await asyncio.sleep(0.005)

    live.run(leave_all())
    assert live.ask(served(chatty), PROMPTS[0], max_new_tokens=2).ids


def test_a_load_breaks_no_answer(live: Live, chatty: Path, own: dict[str | None, list[list[int]]]) -> None:
    async def load_meanwhile() -> list[int]:
        await live.engine.unload(served(chatty, "two").weights)
        one = served(chatty, "one").weights
        answer = live.engine.generate(one, PROMPTS[0], asked.how(max_new_tokens=60), frozenset())
        ids = [(await anext(answer)).id]
        await live.engine.load(served(chatty, "two"), lambda words: None)
        return ids + [drawn.id async for drawn in answer]

    plain = live.ask(served(chatty, "one"), PROMPTS[0], max_new_tokens=60, seed=1)
    assert live.run(load_meanwhile()) == plain.ids
    assert live.ask(served(chatty, "two"), PROMPTS[0]).ids == own["two"][0]


def test_what_is_let_go_is_not_loaded_and_comes_back(
    live: Live, chatty: Path, own: dict[str | None, list[list[int]]]
) -> None:
    model = served(chatty, "one")

    async def unload_meanwhile() -> Answer:
        answer = asyncio.create_task(ask(live.engine, model, PROMPTS[0]))
        await asyncio.sleep(0)
        going = asyncio.create_task(live.engine.unload(model.weights))
        await asyncio.sleep(0)
        assert model.weights not in live.engine.loaded
        await live.engine.load(model, lambda words: None)
        await going
        return await answer

    assert live.run(unload_meanwhile()).ids == own["one"][0]
    assert live.ask(model, PROMPTS[0]).ids == own["one"][0]
    live.run(live.engine.unload(model.weights))
    with pytest.raises(KeyError):
        live.ask(model, PROMPTS[0])
    live.run(live.engine.unload(served(chatty).weights))
    live.load(model)
    assert list(live.engine.loaded)[-1] == model.weights
    live.ask(served(chatty, "two"), PROMPTS[0])
    live.ask(served(chatty), PROMPTS[0])
    assert list(live.engine.loaded) == [model.weights, served(chatty, "two").weights, served(chatty).weights]
    assert all(size > 0 for size in live.engine.loaded.values())


def test_another_base_is_refused(live: Live, chatty: Path) -> None:
    other = served(chatty, "one").model_copy(update={"base_path": "/elsewhere", "weights": "another"})
    with pytest.raises(InvalidModel, match="elsewhere"):
        live.load(other)
    with pytest.raises(KeyError):
        live.ask(other, PROMPTS[0])


@pytest.mark.parametrize("kind", ENGINES)
def test_without_memory_nothing_is_loaded(
    kind: str, chatty: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (llama_cpp_engine, transformers_engine):
        monkeypatch.setattr(module, "spare_memory", lambda: 1000)
    live = Live(lambda: ENGINES[kind](settings(chatty, tmp_path)))
    try:
        with pytest.raises(NoRoom, match=r"needs \d+ bytes of memory, and 1000 are free"):
            live.load(served(chatty))
        assert live.engine.loaded == {}
    finally:
        live.close()


def test_both_draw_the_same(chatty: Path, tmp_path: Path) -> None:
    """The draws are a matter of seed and logits, not of the engine; llama.cpp's logits are rounded a little more."""

    def answers(engine: type[Engine]) -> list[int]:
        live = Live(lambda: engine(settings(chatty, tmp_path)))  # type: ignore[call-arg]
        try:
            live.load(served(chatty))
            given = {"temperature": 1.5, "max_new_tokens": 1}
            return [live.ask(served(chatty), PROMPTS[0], seed=seed, **given).ids[0] for seed in range(30)]
        finally:
            live.close()

    one, other = answers(LlamaCpp), answers(Transformers)
    assert len(set(one)) > 5
    assert sum(a == b for a, b in zip(one, other, strict=True)) >= 28


# --- answers that are held to a format


@pytest.fixture(scope="module")
def grammar(chatty: Path) -> Grammar:
    file = chatty / "tokenizer.json"
    rules = Rules(file.read_text())
    schema = {
        "type": "object",
        "properties": {"a": {"enum": ["x", "y"]}, "b": {"type": "boolean"}},
        "required": ["a", "b"],
        "additionalProperties": False,
    }
    return Grammar(rules.made(rules.json(schema, "f"), "none"), str(file))


@pytest.mark.parametrize(
    "how", [{}, {"temperature": 1.5, "seed": 3}, {"temperature": 1.5, "seed": 4, "logprobs": 2}]
)
def test_an_answer_is_held_to_its_format(
    live: Live, chatty: Path, grammar: Grammar, how: dict[str, Any]
) -> None:
    """Alone, again, and beside others that are free; the logarithms are those of the model, not of the format."""
    tokenizer = Tokenizer.from_file(grammar.tokenizer)
    end = tokenizer.token_to_id("<|im_end|>")
    given = {"max_new_tokens": 80, **how}

    async def held(beside: int = 0) -> list[Answer]:
        others = [
            ask(live.engine, served(chatty, "one"), PROMPTS[n], max_new_tokens=30) for n in range(beside)
        ]
        one = ask(live.engine, served(chatty), PROMPTS[0], frozenset([end]), grammar, **given)
        return list(await asyncio.gather(one, *others))

    first = live.run(held())[0]
    found = json.loads(tokenizer.decode(first.ids, skip_special_tokens=True))
    assert set(found) == {"a", "b"}
    assert found["a"] in ("x", "y")
    assert first.ids[-1] == end
    assert live.run(held())[0].ids == first.ids
    beside, *others = live.run(held(2))
    assert set(json.loads(tokenizer.decode(beside.ids, skip_special_tokens=True))) == {"a", "b"}
    assert [len(one.ids) for one in others] == [30, 30]
    if "logprobs" in how:
        assert all(token.logprob is not None and len(token.top) == 2 for token in first.tokens)
    cut = live.run(ask(live.engine, served(chatty), PROMPTS[0], frozenset([end]), grammar, max_new_tokens=3))
    assert len(cut.ids) == 3, "it is cut where it is to be, in its format or not"


def test_what_has_no_end_is_held_to_nothing(live: Live, chatty: Path, grammar: Grammar) -> None:
    with pytest.raises(InvalidInput, match="no token that ends"):
        live.run(ask(live.engine, served(chatty), PROMPTS[0], frozenset(), grammar))
    assert live.ask(served(chatty), PROMPTS[0]).ids
    assert busy(live) == 0
