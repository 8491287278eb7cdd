"""transformers' engine: any architecture, adapters of every form, and a base that none of them changes."""

from pathlib import Path

import asked
import engine_cases
import pytest
import small_models
import torch
from asked import PROMPTS, Live, served

from tunesmith_serve.transformers_engine import Transformers


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
        for prompt in PROMPTS[:2]:
            assert live.ask(served(base), prompt).ids == asked.written(model, prompt)
    finally:
        live.close()


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
