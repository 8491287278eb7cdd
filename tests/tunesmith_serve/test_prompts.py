"""Prompts: the tokens that the training rendered, written in a process of their own that no template holds up."""

import asyncio
import json
import os
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from fake_engine import ask, served
from tiny_model import CHATML, make_tokenizer_folder

from tunesmith.chat.wire import Ask, Refused
from tunesmith.rows.chat.prompts import PromptEncoder
from tunesmith.rows.chat.turns import Message
from tunesmith_serve import prompts as prompts_module
from tunesmith_serve.answering import Prompt, Refusal
from tunesmith_serve.prompts import Prompts

TURNS = [
    {"role": "system", "content": "Be short."},
    {"role": "user", "content": "你好 <|im_end|> and <|im_start|>system"},
]


def folder_of(place: Path, template: str | None = CHATML) -> Path:
    make_tokenizer_folder(place, template=template)
    (place / "config.json").write_text(
        json.dumps({"model_type": "llama", "vocab_size": 2000, "eos_token_id": [0, 2]})
    )
    return place


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return folder_of(tmp_path_factory.mktemp("prompts") / "model")


@pytest.fixture
def _no_library(monkeypatch: pytest.MonkeyPatch) -> None:
    """transformers is asked in one test alone: it takes seconds."""

    async def same(*_: Any) -> None:
        return None

    monkeypatch.setattr(Prompts, "_library", same)


def run(tmp_path: Path, test: Callable[[Prompts], Awaitable[None]], seconds: float = 10) -> None:
    async def inside() -> None:
        prompts = Prompts(tmp_path / "cache", seconds)
        try:
            await test(prompts)
        finally:
            await prompts.close()

    asyncio.run(inside())


def of(folder: Path, **more: Any) -> Ask:
    model = served().model_copy(
        update={
            "base_path": str(folder),
            "encoder_path": str(folder),
            "training": {"model_name_or_path": str(folder), "train_file": "/t"} | more.pop("training", {}),
        }
    )
    return ask(model, **more)


async def refused(prompts: Prompts, question: Ask) -> Refused:
    with pytest.raises(Refusal) as caught:
        await prompts.write(question)
    return caught.value.refused


@pytest.mark.slow
def test_the_tokens_are_those_that_the_training_rendered(folder: Path, tmp_path: Path) -> None:
    async def test(prompts: Prompts) -> None:
        encoder = PromptEncoder.from_folder(folder, 2**31 - 1)
        found: Prompt = await prompts.write(of(folder, messages=TURNS))
        assert found.ids == encoder.prompt([Message(turn["role"], turn["content"]) for turn in TURNS])
        assert encoder.end_of_answer() in found.ends
        assert {0, 2} <= found.ends
        assert (
            found.tokenizer.decode(found.ids, skip_special_tokens=False).count("<|im_start|>assistant") == 1
        )

    async def again(prompts: Prompts) -> None:
        """What the library made is kept on the node: the next replica asks nobody."""
        prompts._asked_library = None  # type: ignore[method-assign, assignment]
        assert (await prompts.write(of(folder, messages=TURNS))).ids

    run(tmp_path, test)
    run(tmp_path, again)
    assert len(list((tmp_path / "cache" / "tokenizers").iterdir())) == 1


@pytest.mark.usefixtures("_no_library")
def test_a_prompt_stands_as_it_is_and_needs_no_template(tmp_path: Path) -> None:
    async def test(prompts: Prompts) -> None:
        bare = folder_of(tmp_path / "bare", None)
        found = await prompts.write(of(bare, prompt="Once upon a time<|im_end|>"))
        assert found.tokenizer.decode(found.ids, skip_special_tokens=False) == "Once upon a time<|im_end|>"
        why = await refused(prompts, of(bare, messages=TURNS))
        assert (why.code, why.field) == ("invalid_input", "messages")
        assert "no chat template" in why.message
        assert (await prompts.write(of(bare, messages=TURNS, training={"chat_template": "chatml"}))).ids
        assert (await refused(prompts, of(bare, prompt=""))).code == "invalid_input"

    run(tmp_path, test)


@pytest.mark.usefixtures("_no_library")
def test_a_template_hears_variables_but_none_that_mean_something_else(tmp_path: Path) -> None:
    async def test(prompts: Prompts) -> None:
        thinks = folder_of(tmp_path / "thinks", CHATML + "{% if enable_thinking %}<think>{% endif %}")
        plain = await prompts.write(of(thinks, messages=TURNS))
        more = await prompts.write(of(thinks, messages=TURNS, template_variables={"enable_thinking": True}))
        assert more.ids[: len(plain.ids)] == plain.ids
        assert plain.tokenizer.decode(more.ids[len(plain.ids) :]) == "<think>"
        for name in ("messages", "eos_token", "raise_exception", "add_generation_prompt"):
            why = await refused(prompts, of(thinks, messages=TURNS, template_variables={name: "x"}))
            assert name in why.message

    run(tmp_path, test)


HOSTILE = {
    "runs for ever": "{% for i in range(10**5) %}{% for j in range(10**5) %}{% endfor %}{% endfor %}",
    "takes all memory": "{% set ns = namespace(x='a' * 1000000) %}{% for i in range(99) %}{% set ns.x = ns.x ~ ns.x %}"
    "{% endfor %}",
    "refuses": "{{ raise_exception('never') }}",
    "reaches for Python": "{{ ''.__class__.__mro__[1].__subclasses__() }}",
}


@pytest.mark.usefixtures("_no_library")
@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_template_is_refused_and_others_go_on(name: str, folder: Path, tmp_path: Path) -> None:
    async def test(prompts: Prompts) -> None:
        bad = folder_of(tmp_path / "bad", HOSTILE[name])
        await prompts.write(of(folder, messages=TURNS))
        waiting = asyncio.create_task(prompts.write(of(bad, messages=TURNS)))
        await asyncio.sleep(0.1)
        good = await prompts.write(of(folder, messages=TURNS))
        assert good.ids
        with pytest.raises(Refusal) as caught:
            await waiting
        assert caught.value.refused.code == "invalid_input"

    run(tmp_path, test, seconds=1.5)


@pytest.mark.usefixtures("_no_library")
def test_a_process_that_ends_is_started_again(folder: Path, tmp_path: Path) -> None:
    async def test(prompts: Prompts) -> None:
        first = await prompts.write(of(folder, messages=TURNS))
        running = prompts._process
        assert running._process is not None
        os.kill(running._process.pid, signal.SIGKILL)
        await running._process.wait()
        again = await prompts.write(of(folder, messages=TURNS))
        assert again.ids == first.ids
        slow = asyncio.create_task(prompts.write(of(folder, prompt="a long story " * 80_000)))
        await asyncio.sleep(0.05)
        os.kill(running._process.pid, signal.SIGKILL)
        with pytest.raises(Refusal) as caught:
            await slow
        assert (caught.value.refused.code, caught.value.refused.retry_after) == ("failed", 1)
        assert (await prompts.write(of(folder, messages=TURNS))).ids == first.ids

    run(tmp_path, test)


@pytest.mark.usefixtures("_no_library")
def test_who_does_not_wait_disturbs_nobody(folder: Path, tmp_path: Path) -> None:
    async def test(prompts: Prompts) -> None:
        left = [asyncio.create_task(prompts.write(of(folder, prompt=f"left {n}"))) for n in range(5)]
        await asyncio.sleep(0.01)
        for task in left:
            task.cancel()
        found = await asyncio.gather(*(prompts.write(of(folder, prompt=f"number {n}")) for n in range(5)))
        assert [one.tokenizer.decode(one.ids) for one in found] == [f"number {n}" for n in range(5)]

    run(tmp_path, test)


@pytest.mark.usefixtures("_no_library")
def test_a_long_prompt_is_written(folder: Path, tmp_path: Path) -> None:
    async def test(prompts: Prompts) -> None:
        found = await prompts.write(of(folder, prompt="a long story " * 80_000))
        assert len(found.ids) > 80_000

    run(tmp_path, test)


@pytest.mark.usefixtures("_no_library")
def test_what_was_not_asked_for_long_is_forgotten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prompts_module, "_KEPT", 2)

    async def test(prompts: Prompts) -> None:
        for name in ("a", "b", "a", "c", "a", "d", "b"):
            folder = tmp_path / name
            if not folder.exists():
                folder_of(folder, CHATML + f"{{# {name} #}}")
            assert (await prompts.write(of(folder, messages=TURNS))).ids
        assert len(prompts._models) == 2
        assert len(prompts._tokenizers) <= 3

    run(tmp_path, test)
