"""Which engine answers, why, and that what one cannot hold the other answers beside it."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import asked
import pytest
import torch
from asked import PROMPTS, Answer, Live, ask, served

from tunesmith.errors import InvalidModel
from tunesmith_jobs.models.llama_cpp import Unsupported
from tunesmith_serve import choosing, gguf_files
from tunesmith_serve.choosing import Chosen, choose, engine_for


@pytest.fixture(scope="module")
def phi(one_thread: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return asked.make_model(tmp_path_factory.mktemp("phi") / "base", "phi")


@pytest.fixture
def live(chatty: Path, tmp_path: Path) -> Iterator[Live]:
    found = Live(lambda: engine_for(asked.settings(chatty, tmp_path)))
    yield found
    found.close()


def test_choices(chatty: Path, phi: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def chosen(base: Path, **more: object) -> Chosen:
        return choose(asked.settings(base, tmp_path, **more))

    assert chosen(chatty) == ("llama_cpp", "It is the faster one on a processor.")
    assert chosen(chatty, engine="transformers") == ("transformers", "It is asked for.")
    assert chosen(chatty, engine="llama_cpp") == ("llama_cpp", "It is asked for.")
    assert chosen(chatty, use_gpu=True).why.startswith("A GPU is reserved")
    engine, why = chosen(phi)
    assert engine == "transformers"
    assert "`phi`" in why
    with pytest.raises(InvalidModel, match="`phi`"):
        chosen(phi, engine="llama_cpp")

    def absent() -> None:
        raise Unsupported("The package `xllamacpp` is not installed.")

    monkeypatch.setattr(choosing, "opened", absent)
    assert chosen(chatty) == ("transformers", "The package `xllamacpp` is not installed.")


def test_an_adapter_that_llama_cpp_cannot_hold_is_answered_beside_it(live: Live, chatty: Path) -> None:
    assert live.engine.name == "auto"
    assert live.engine.loaded == {}
    models = [served(chatty, name) for name in (None, "one", "dora")]
    live.load(*models)
    assert [live.engine.serving(model.weights) for model in models] == [
        "llama_cpp",
        "llama_cpp",
        "transformers",
    ]
    assert live.engine.name == "llama_cpp"

    async def all_at_once() -> list[Answer]:
        return await asyncio.gather(*(ask(live.engine, model, PROMPTS[0]) for model in models))

    found = [answer.ids for answer in live.run(all_at_once())]
    assert found == [
        asked.written(asked.library_model(chatty, name), PROMPTS[0]) for name in (None, "one", "dora")
    ]
    live.ask(models[1], PROMPTS[0])
    assert list(live.engine.loaded)[-1] == models[1].weights
    live.run(live.engine.unload(models[2].weights))
    assert models[2].weights not in live.engine.loaded
    live.load(models[2])
    assert live.ask(models[2], PROMPTS[0]).ids == found[2]


def test_a_base_that_only_its_writing_shows_not_to_be_one_for_llama_cpp(chatty: Path, tmp_path: Path) -> None:
    """A weight that F16 does not hold stands in no header."""
    base = asked.make_model(tmp_path / "models" / "base")
    model = asked.library_model(base)
    with torch.no_grad():
        model.model.layers[0].mlp.up_proj.weight[0, 0] = 1e6
    model.save_pretrained(base)
    for asked_for in ("auto", "llama_cpp"):
        live = Live(lambda: engine_for(asked.settings(base, tmp_path, engine=asked_for)))  # noqa: B023
        try:
            if asked_for == "auto":
                live.load(served(base))
                assert live.engine.serving(served(base).weights) == live.engine.name == "transformers"
                assert "F16" in live.engine.why
                assert live.ask(served(base), PROMPTS[0]).ids == asked.written(model, PROMPTS[0])
            else:
                with pytest.raises(InvalidModel, match="F16"):
                    live.load(served(base))
        finally:
            live.close()


@pytest.mark.parametrize("asked_for", ["auto", "llama_cpp"])
def test_where_no_file_can_be_made_transformers_answers(
    asked_for: str, chatty: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    live = Live(lambda: engine_for(asked.settings(chatty, tmp_path, engine=asked_for)))
    try:
        live.load(served(chatty))
        monkeypatch.setattr(gguf_files, "write_lora_gguf", full)
        if asked_for == "llama_cpp":
            with pytest.raises(InvalidModel, match="No space left"):
                live.load(served(chatty, "one"))
        else:
            live.load(served(chatty, "one"))
            assert live.engine.serving(served(chatty, "one").weights) == "transformers"
        assert live.engine.name == live.engine.serving(served(chatty).weights) == "llama_cpp"
    finally:
        live.close()


def test_an_adapter_over_a_quantised_base_is_not_put_over_an_f16_one(
    live: Live, chatty: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = served(chatty, "one")
    model = model.model_copy(update={"training": model.training | {"load_in_4bit": True}})
    found: list[str] = []

    async def by(name: str, *_: object) -> int:
        found.append(name)
        return 1

    monkeypatch.setattr(live.engine, "_load_by", by)
    monkeypatch.setattr(live.engine, "_use", lambda weights: None)
    live.load(model, served(chatty, "one"))
    assert found == ["transformers", "llama_cpp"]


def test_where_llama_cpp_is_asked_for_nothing_else_answers(chatty: Path, tmp_path: Path) -> None:
    live = Live(lambda: engine_for(asked.settings(chatty, tmp_path, engine="llama_cpp")))
    try:
        live.load(served(chatty))
        with pytest.raises(InvalidModel, match="use_dora"):
            live.load(served(chatty, "dora"))
        assert live.ask(served(chatty), PROMPTS[0]).ids
    finally:
        live.close()


def test_whatever_is_wrong_with_an_adapter_is_said_of_the_model(live: Live, chatty: Path) -> None:
    (chatty.parent / "empty").mkdir(exist_ok=True)
    with pytest.raises(InvalidModel):
        live.load(served(chatty, "empty"))
    live.load(served(chatty))
