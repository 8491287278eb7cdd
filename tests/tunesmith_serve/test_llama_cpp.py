"""llama.cpp's process: it dies with its parent and takes no question with it unsaid; slots, prefixes, many at once."""

import asyncio
import contextlib
import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import asked
import psutil
import pytest
from asked import PROMPTS, Answer, Live, ask, served

from tunesmith.errors import InvalidModel, NotConvertible
from tunesmith.gguf import write_gguf
from tunesmith_jobs.models import llama_cpp as library
from tunesmith_serve.engine import EngineLost
from tunesmith_serve.llama_cpp import LlamaCpp
from tunesmith_serve.llama_cpp.child import Child
from tunesmith_serve.llama_cpp.slots import LEAST_REUSED, Question, Slot, choose_slot
from tunesmith_serve.sampling import Draw


@pytest.fixture(scope="module")
def live(chatty: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    place = tmp_path_factory.mktemp("engine")
    found = Live(lambda: LlamaCpp(asked.settings(chatty, place, max_running=2)))
    found.load(served(chatty))
    yield found
    found.close()


def is_there(pid: int) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    return False


def wait_until_gone(pid: int) -> None:
    end = time.monotonic() + 5
    while is_there(pid):
        assert time.monotonic() < end, "it outlived who started it"
        time.sleep(0.01)


# --- prefixes and batches


def test_a_second_turn_goes_on_from_the_first(live: Live, chatty: Path) -> None:
    first = PROMPTS[0] + PROMPTS[1]
    live.ask(served(chatty), first)
    second = first + PROMPTS[2]
    again = live.ask(served(chatty), second)
    assert again.tokens[0].reused == len(first)
    fresh = live.ask(served(chatty), second, seed=1)
    assert fresh.tokens[0].reused == 0
    assert fresh.ids == again.ids
    whole = live.ask(served(chatty), second)
    assert whole.tokens[0].reused == len(second) - 1, "the last token's logits are wanted"
    assert whole.ids == again.ids


def test_what_an_adapter_read_is_not_gone_on_from_by_another(live: Live, chatty: Path) -> None:
    live.load(served(chatty, "one"))
    for turn in range(4):
        model = served(chatty, "one") if turn % 2 else served(chatty)
        fresh = live.ask(model, PROMPTS[3] + PROMPTS[4], seed=1)
        assert live.ask(model, PROMPTS[3] + PROMPTS[4]).ids == fresh.ids


def test_who_shared_a_batch_is_told(live: Live, chatty: Path) -> None:
    live.load(served(chatty, "one"), served(chatty, "two"))

    async def both(*models: str | None) -> list[Answer]:
        given = {"max_new_tokens": 30, "seed": 1}
        return await asyncio.gather(
            *(ask(live.engine, served(chatty, one), PROMPTS[0], **given) for one in models)
        )

    assert [answer.shared for answer in live.run(both(None, None))] == [True, True]
    alone = [answer.ids for answer in live.run(both("one", "two"))]
    assert [answer.shared for answer in live.run(both("one", "two"))] == [False, False]
    assert alone == [
        live.ask(served(chatty, one), PROMPTS[0], max_new_tokens=30, seed=1).ids for one in ("one", "two")
    ]


def test_more_than_there_are_slots_wait_and_all_are_answered(live: Live, chatty: Path) -> None:
    wanted = {place: live.ask(served(chatty), prompt).ids for place, prompt in enumerate(PROMPTS)}
    order: list[int] = []

    async def one(number: int) -> Answer:
        answer = await ask(live.engine, served(chatty), PROMPTS[number % len(PROMPTS)])
        order.append(number)
        return answer

    async def many() -> list[Answer]:
        return await asyncio.gather(*(one(number) for number in range(32)))

    found = live.run(many())
    assert [answer.ids for answer in found] == [wanted[number % len(PROMPTS)] for number in range(32)]
    assert all(abs(number - place) <= 2 for place, number in enumerate(order)), "in their order"


def test_long_answers_take_turns(live: Live, chatty: Path) -> None:
    """Each begins before the first has ended, none is far behind by then, and each says what it says alone."""
    given = {"max_new_tokens": 150}
    wanted = [live.ask(served(chatty), prompt, **given).ids for prompt in PROMPTS]
    order: list[int] = []
    """Whose token came, one after the other."""

    async def one(place: int) -> Answer:
        tokens = []
        async for drawn in live.engine.generate(
            served(chatty).weights, PROMPTS[place], asked.how(**given), frozenset()
        ):
            order.append(place)
            tokens.append(drawn)
        return Answer([drawn.id for drawn in tokens], tokens)

    async def many() -> list[Answer]:
        return await asyncio.gather(*(one(place) for place in range(len(PROMPTS))))

    found = live.run(many())
    assert [answer.ids for answer in found] == wanted
    assert all(answer.shared for answer in found)
    ends = [len(order) - order[::-1].index(place) for place in range(len(PROMPTS))]
    ended = min(range(len(PROMPTS)), key=ends.__getitem__)
    come = [order[: ends[ended]].count(place) for place in range(len(PROMPTS))]
    assert all(count >= come[ended] / 2 for count in come), "one waits for another to end"


def test_it_computes_with_no_more_threads_than_it_is_given(live: Live) -> None:
    with_one = psutil.Process(live.engine.pid).num_threads()
    assert with_one <= 3, "who computes, who reads, and none that computes besides"


def question(prompt: list[int], adapter: str | None = None, *, fresh: bool = False) -> Question:
    return Question(1, adapter, prompt, Draw(asked.how(), prompt), frozenset(), 9, fresh)


def test_slots() -> None:
    words = list(range(100))
    slots = [Slot(0, words[:50], None, used=1), Slot(1, words[:60], "a", used=2), Slot(2, [7], None, used=3)]
    found = choose_slot(slots, question(words))
    assert found == (slots[0], 50)
    assert choose_slot(slots, question(words, "a")) == (slots[1], 60)
    assert choose_slot(slots, question(words, "b")) == (slots[0], 0)
    assert choose_slot(slots, question(words, "a", fresh=True)) == (slots[0], 0), (
        "that was not used for longest"
    )
    assert choose_slot(slots, question(words[: LEAST_REUSED - 1])) == (slots[0], 0)
    slots[0].question = question(words)
    assert choose_slot(slots, question(words)) == (slots[1], 0)
    slots.append(Slot(3))
    assert choose_slot(slots, question(words)) == (slots[3], 0), "an empty one first"
    for slot in slots:
        slot.question = question(words)
    assert choose_slot(slots, question(words)) is None


GIVEN_UP = """
import sys
from tunesmith_jobs.models.llama_cpp import CHUNK, Fed, Interrupted, Model

model = Model(sys.argv[1], 1, 400, 1)
chunk = [Fed(0, place % 500, place, place == CHUNK - 1) for place in range(CHUNK)]
first = model.compute(None, chunk)[0].copy()
asked = 0

def is_given_up():
    global asked
    asked += 1
    return asked > 3

model.keep(0, 0)
try:
    model.compute(None, chunk, is_given_up)
    print("it went on")
except Interrupted:
    model.keep(0, 0)
    print(asked, bool((model.compute(None, chunk)[0] == first).all()))
"""


def test_a_chunk_of_a_prompt_can_be_given_up(chatty: Path, tmp_path: Path) -> None:
    """What is given up leaves nothing behind; a chunk takes seconds where a model is large."""
    file = tmp_path / "model.gguf"
    write_gguf(chatty, file)
    said = subprocess.run(
        [sys.executable, "-c", GIVEN_UP, str(file)], capture_output=True, text=True, check=True, timeout=60
    )
    assert said.stdout.split() == ["4", "True"]


# --- its end


def test_a_killed_process_ends_its_answers_and_comes_again(chatty: Path, tmp_path: Path) -> None:
    live = Live(lambda: LlamaCpp(asked.settings(chatty, tmp_path)))
    live.load(served(chatty), served(chatty, "one"))
    whole = live.ask(served(chatty), PROMPTS[0]).ids
    first = live.engine.pid

    async def killed() -> None:
        answer = live.engine.generate(
            served(chatty).weights, PROMPTS[0], asked.how(max_new_tokens=400), frozenset()
        )
        await anext(answer)
        os.kill(first, signal.SIGKILL)
        with pytest.raises(EngineLost):
            async for _ in answer:
                pass

    live.run(killed())
    assert live.engine.loaded == {}
    with pytest.raises(EngineLost):
        live.ask(served(chatty), PROMPTS[0])
    live.load(served(chatty))
    assert live.ask(served(chatty), PROMPTS[0]).ids == whole
    with pytest.raises(KeyError):
        live.ask(served(chatty, "one"), PROMPTS[0])
    live.load(served(chatty, "one"))
    second = live.engine.pid
    live.close()
    wait_until_gone(second)


PARENT = """
import asyncio, json, sys
from pathlib import Path
from tunesmith.chat.settings import Sampling
from tunesmith.chat.wire import ServedModel
from tunesmith_serve.engine import EngineSettings
from tunesmith_serve.llama_cpp import LlamaCpp

async def main():
    given, model = json.loads(sys.argv[1]), ServedModel.model_validate_json(sys.argv[2])
    places = {name: Path(given[name]) for name in ("base", "cache", "scratch")}
    engine = LlamaCpp(EngineSettings(**given | places))
    await engine.load(model)
    how = Sampling(temperature=0, max_new_tokens=400)
    await anext(engine.generate(model.weights, [5] * 30, how, frozenset()))
    print(engine.pid, flush=True)
    await asyncio.sleep(60)

asyncio.run(main())
"""


def test_a_killed_parent_leaves_no_process(chatty: Path, tmp_path: Path) -> None:
    given = json.dumps(dataclasses.asdict(asked.settings(chatty, tmp_path)), default=str)
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, given, served(chatty).model_dump_json()],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    assert is_there(pid)
    parent.kill()
    parent.wait()
    parent.stdout.close()
    wait_until_gone(pid)


# --- what it does not take


def test_a_file_that_is_none_is_refused_in_words(tmp_path: Path) -> None:
    file = tmp_path / "model.gguf"
    file.write_bytes(b"GGUF and nothing else")
    with pytest.raises(NotConvertible, match="does not load the model's file"):
        asyncio.run(Child.start(file=str(file), slots=1, context_length=64, threads=1))


def test_another_library_is_not_guessed_at(monkeypatch: pytest.MonkeyPatch) -> None:
    library.opened()
    monkeypatch.setattr(library, "_DEFAULTS", (512, 2048, 513, 1))
    with pytest.raises(library.Unsupported, match="lays its settings out"):
        library.opened()
    monkeypatch.setitem(library._FUNCTIONS, "llama_no_such", (None, ()))
    with pytest.raises(library.Unsupported, match="another one"):
        library.opened()


def test_what_cannot_be_computed_fails_alone(live: Live, chatty: Path) -> None:
    """Longer than the engine lets through: the library refuses it, and the process stays."""
    pid = live.engine.pid

    async def too_long() -> None:
        child = live.engine._child
        async for _ in child.ask(None, [5] * 3000, asked.how(), frozenset()):
            pass

    with pytest.raises(InvalidModel, match="does not compute"):
        live.run(too_long())
    assert live.ask(served(chatty), PROMPTS[0]).ids
    assert (live.engine.pid, live.engine.questions) == (pid, 0)


def test_weights_that_give_no_numbers_are_said(chatty: Path, tmp_path: Path) -> None:
    """No file is written of such weights; an adapter that makes them of good ones is found when it answers."""
    asked.make_adapter(chatty, chatty.parent / "wild", 5, target_modules=["down_proj"])
    from safetensors.torch import load_file, save_file

    file = chatty.parent / "wild" / "adapter_model.safetensors"
    save_file({name: tensor * 1e30 for name, tensor in load_file(file).items()}, file)
    live = Live(lambda: LlamaCpp(asked.settings(chatty, tmp_path)))
    try:
        live.load(served(chatty), served(chatty, "wild"))
        with pytest.raises(InvalidModel, match="no numbers"):
            live.ask(served(chatty, "wild"), PROMPTS[0])
        assert live.engine.questions == 0
        assert live.ask(served(chatty), PROMPTS[0]).ids
    finally:
        live.close()
