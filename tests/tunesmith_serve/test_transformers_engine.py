"""transformers' engine: any architecture, adapters of every form, and a base that none of them changes."""

import asyncio
import threading
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import asked
import engine_cases
import pytest
import small_models
import torch
from asked import PROMPTS, Live, served
from waiting import wait_until

from tunesmith_serve.transformers_engine import Transformers
from tunesmith_serve.turns import Turns


def sums(live: Live) -> list[float]:
    [base] = live.engine._bases.values()
    return [float(weight.double().sum()) for weight in base.parameters()]


def test_adapters_of_every_form_leave_the_base_as_it_is(one_thread: None, tmp_path: Path) -> None:
    base = engine_cases.base_with_bias(tmp_path / "base")
    for seed, (name, config) in enumerate(engine_cases.FORMS.items()):
        asked.make_adapter(base, tmp_path / name, seed, **config)
    live = Live(lambda: Transformers(asked.settings(base, tmp_path)))
    try:
        live.load(served(base))
        plain, before = live.ask(served(base), PROMPTS[0]).ids, sums(live)
        assert plain == asked.written(asked.library_model(base), PROMPTS[0])
        for name in engine_cases.FORMS:
            live.load(served(base, name))
        for name in engine_cases.FORMS:
            wanted = asked.written(asked.library_model(base, name), PROMPTS[0])
            assert live.ask(served(base, name), PROMPTS[0]).ids == wanted, name
        assert sums(live) == before
        assert live.ask(served(base), PROMPTS[0]).ids == plain
    finally:
        live.close()


@pytest.mark.parametrize("kind", ["gpt2", "mixtral", "mamba2", "lfm2"])
def test_any_architecture_answers(kind: str, one_thread: None, tmp_path: Path) -> None:
    base = small_models.model_of(kind, tmp_path / "base")
    live = Live(lambda: Transformers(asked.settings(base, tmp_path)))
    try:
        live.load(served(base))
        model = asked.library_model(base)

        async def all_at_once() -> list[list[int]]:
            found = await asyncio.gather(
                *(asked.ask(live.engine, served(base), prompt) for prompt in PROMPTS)
            )
            return [answer.ids for answer in found]

        assert live.run(all_at_once()) == [asked.written(model, prompt) for prompt in PROMPTS]
    finally:
        live.close()


DYNAMIC = {
    "rope_parameters": {"rope_type": "dynamic", "rope_theta": 10000.0, "factor": 4.0},
    "max_position_embeddings": 32,
}


@pytest.mark.parametrize(("more", "takes_turns"), [({}, True), (DYNAMIC, False)], ids=["plain", "dynamic"])
def test_questions_take_turns_but_where_a_module_keeps_what_it_saw(
    more: dict[str, Any], takes_turns: bool, one_thread: None, tmp_path: Path
) -> None:
    """The last one is not kept waiting until the others are done, and no answer is another one for their lengths."""
    base = small_models.model_of("llama", tmp_path / "base", **more)
    live = Live(lambda: Transformers(asked.settings(base, tmp_path)))
    prompts = [(PROMPTS[0] * 9)[:length] for length in (200, 40, 90)]
    order: list[int] = []

    async def ask(number: int) -> list[int]:
        found = []
        how = asked.how(max_new_tokens=8)
        async for drawn in live.engine.generate(served(base).weights, prompts[number], how, frozenset()):
            order.append(number)
            found.append(drawn.id)
        return found

    async def all_at_once() -> list[list[int]]:
        return await asyncio.gather(*(ask(number) for number in range(3)))

    try:
        live.load(served(base))
        live.engine._context_length = 500  # the library reads on beyond what such a model was made for
        wanted = [asked.written(asked.library_model(base), prompt, 8) for prompt in prompts]
        changes: list[int] = []
        for _ in range(5):
            order.clear()
            assert live.run(all_at_once()) == wanted
            changes.append(sum(one != other for one, other in pairwise(order)))
        # Where this thread gets no time it finds many words of an answer waiting, and takes them at once.
        assert max(changes) > 12 if takes_turns else set(changes) == {2}, changes
    finally:
        live.close()


def test_answers_of_one_adapter_are_computed_together(chatty: Path, tmp_path: Path) -> None:
    """Each is its own, whatever its length, whoever joins and leaves; alone it is the same to the last bit."""
    live = Live(lambda: Transformers(asked.settings(chatty, tmp_path, max_running=4)))
    model = served(chatty, "one")
    prompts = [(PROMPTS[place] * 4)[:length] for place, length in enumerate((9, 70, 31, 120))]
    how = {"max_new_tokens": 24, "logprobs": 1}
    try:
        live.load(served(chatty), model)
        used = live.engine._loaded[model.weights].used
        passes: list[int] = []
        used.model.register_forward_pre_hook(
            lambda module, args, given: passes.append(len(given["input_ids"])), with_kwargs=True
        )
        alone = [live.ask(model, prompt, **how) for prompt in prompts]
        assert not any(answer.shared for answer in alone)
        assert alone == [live.ask(model, prompt, **how) for prompt in prompts]
        assert set(passes) == {1}

        async def leave(after: int) -> None:
            answer = live.engine.generate(
                model.weights, prompts[1], asked.how(max_new_tokens=500), frozenset()
            )
            for _ in range(after):
                await anext(answer)
            await answer.aclose()

        async def all_at_once() -> list[asked.Answer]:
            left = [asyncio.create_task(leave(after)) for after in (1, 5)]
            base = asyncio.create_task(asked.ask(live.engine, served(chatty), prompts[0]))
            found = await asyncio.gather(
                *(asked.ask(live.engine, model, prompt, **how) for prompt in prompts)
            )
            await asyncio.gather(*left, base)
            return list(found)

        passes.clear()
        together = live.run(all_at_once())
        assert [answer.ids for answer in together] == [answer.ids for answer in alone]
        assert all(answer.shared for answer in together)
        assert max(passes) == 4, "no more than may be under way"
        assert sum(passes) / len(passes) > 1.5
        for one, other in zip(together, alone, strict=True):
            assert [token.logprob for token in one.tokens] == pytest.approx(
                [token.logprob for token in other.tokens], abs=1e-3
            )
        assert live.ask(model, prompts[2], **how) == alone[2]
        # The thread that computes lets go of it after its last word was told.
        wait_until(lambda: not live.engine._batches._groups, 10, "the end of what is kept of an answer")
    finally:
        live.close()


@pytest.mark.parametrize("kind", ["mamba2", "lfm2", "gpt2", "mixtral"])
def test_whose_layers_keep_more_are_asked_one_by_one(kind: str, one_thread: None, tmp_path: Path) -> None:
    base = small_models.model_of(kind, tmp_path / "base")
    live = Live(lambda: Transformers(asked.settings(base, tmp_path)))
    try:
        live.load(served(base))
        assert live.engine._loaded[served(base).weights].is_plain == (kind in ("gpt2", "mixtral"))
    finally:
        live.close()


def test_turns_go_round() -> None:
    turns, order = Turns(), []

    def work(name: str) -> None:
        turns.take()
        for _ in range(20):
            order.append(name)
            turns.pass_on()
        turns.give_back()

    turns.take()
    threads = [threading.Thread(target=work, args=(name,)) for name in "abc"]
    for thread in threads:
        thread.start()
    while len(turns._waiting) < 3:
        time.sleep(0.001)
    turns.give_back()
    for thread in threads:
        thread.join()
    assert len(order) == 60
    assert all(len(set(order[place : place + 3])) == 3 for place in range(0, 60, 3))


def test_a_model_is_held_in_the_precision_of_its_training(chatty: Path, tmp_path: Path) -> None:
    live = Live(lambda: Transformers(asked.settings(chatty, tmp_path)))
    try:
        live.load(served(chatty))
        [base] = live.engine._bases.values()
        assert {weight.dtype for weight in base.parameters()} == {torch.float32}
        assert live.engine.loaded[served(chatty).weights] == sum(
            weight.nbytes for weight in base.parameters()
        )
        live.load(served(chatty, "one"))
        tuned = live.engine._loaded[served(chatty, "one").weights].used.model
        shared = {weight.data_ptr() for weight in base.parameters() if weight.dim() > 1}
        assert shared <= {weight.data_ptr() for weight in tuned.parameters()}, "the base is in memory once"
    finally:
        live.close()
