"""What the platform counts on from a served model: held of the stand-in, and of a replica's own HTTP side.

The replica has a fake engine; with real ones over Ray Serve it is tried in `tests/tunesmith_serve` and `tests/e2e`.
"""

import asyncio
import contextlib
import sys
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import uvicorn
from stand_in_replica import StandIn, end, piece, standing_in
from waiting import free_port, wait_until

from tunesmith.chat.wire import Ask, End, Line, Pin, ServedModel, Unload
from tunesmith.errors import NotFound, TunesmithError
from tunesmith_platform.chats.replica import NotReached, Replica
from tunesmith_platform.chats.service import Place

ROUTE, TOKEN, BASE = "/chat-task-0123456789abcdefgh-1", "token-of-the-attempt", "/models/base"


class Answering(NamedTuple):
    """A replica, however it is made."""

    url: str
    running: Callable[[], int]

    def place(self, token: str = TOKEN, url: str | None = None) -> Place:
        return Place("task-0123456789abcdefgh", url or self.url, token, "")


def model(**more: Any) -> ServedModel:
    given: dict[str, Any] = {
        "name": "base", "weights": "w" * 64, "model_uri": BASE, "base_path": BASE, "is_adapter": False,
        "training": {}, "encoder_path": BASE,
    }  # fmt: skip
    return ServedModel(**given | more)


def question(**more: Any) -> Ask:
    return Ask(**{"id": "q", "model": model(), "prompt": "Paris"} | more)


@contextlib.contextmanager
def stand_in() -> Iterator[Answering]:
    async def slowly(_ask: Ask) -> AsyncIterator[Any]:
        for word in ("Paris", " is", " the", " capital."):
            yield piece(word)
            await asyncio.sleep(0.02)
        yield end()

    with standing_in() as made:
        made.token, made.script = TOKEN, slowly
        yield Answering(f"http://127.0.0.1:{made.port}{ROUTE}", lambda: made.running)


@contextlib.contextmanager
def own_side() -> Iterator[Answering]:
    """The application that Ray Serve runs, over an engine that takes its time."""
    sys.path.insert(0, str(Path(__file__).parents[1] / "tunesmith_serve"))
    from fake_engine import FakeEngine, FakePrompts
    from tiny_model import make_tokenizer

    from tunesmith_serve.answering import Prompt
    from tunesmith_serve.asking import Questions
    from tunesmith_serve.http import ChatApp
    from tunesmith_serve.limits import Limits
    from tunesmith_serve.shelf import Shelf

    tokenizer = make_tokenizer()
    ends = tokenizer.token_to_id("<|im_end|>")
    ids = tokenizer.encode("Paris is the capital.", add_special_tokens=False).ids

    class Slow(FakeEngine):
        async def generate(self, *args: Any) -> Any:  # type: ignore[override]
            generating = super().generate(*args)
            async with contextlib.aclosing(generating):
                async for drawn in generating:
                    await asyncio.sleep(0.02)
                    yield drawn

    engine = Slow([*ids, ends])
    prompts = FakePrompts(Prompt([1, 2, 3], frozenset({ends}), tokenizer))
    questions = Questions(engine, prompts, Shelf(engine, 2, lambda _: None), Limits(2, 4), BASE)
    port = free_port()
    config = uvicorn.Config(
        ChatApp(TOKEN, questions), "127.0.0.1", port, interface="asgi3", log_config=None, lifespan="off"
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    wait_until(lambda: server.started, 20, "the replica's own side")
    try:
        yield Answering(f"http://127.0.0.1:{port}{ROUTE}", lambda: engine.open)
    finally:
        server.should_exit = server.force_exit = True
        thread.join(timeout=5)


@pytest.fixture(scope="module", params=[stand_in, own_side], ids=["stand-in", "own"])
def replica(request: pytest.FixtureRequest) -> Iterator[Answering]:
    with request.param() as made:
        yield made


def run(test: Callable[[Replica], Coroutine[Any, Any, None]]) -> None:
    async def inside() -> None:
        asking = Replica(silence_seconds=20)
        try:
            await test(asking)
        finally:
            await asking.close()

    asyncio.run(inside())


def test_an_answer_is_pieces_and_an_end(replica: Answering) -> None:
    async def test(asking: Replica) -> None:
        lines: list[Line] = [line async for line in asking.ask(replica.place(), question())]
        assert "".join(getattr(line, "text", "") for line in lines) == "Paris is the capital."
        assert isinstance(lines[-1], End)
        assert lines[-1].finish_reason in ("stop", "length")
        assert lines[-1].completion_tokens > 0

    run(test)


def test_another_attempts_token_is_nobodys(replica: Answering) -> None:
    """Its place is looked up anew: nothing was computed."""

    async def test(asking: Replica) -> None:
        with pytest.raises(NotReached):
            await anext(asking.ask(replica.place(token="another"), question()))
        with pytest.raises(NotReached):
            await asking.verb(replica.place(token="another"), "unload", Unload(weights="w"))
        assert replica.running() == 0

    run(test)


def test_where_nobody_is_nothing_was_asked() -> None:
    async def test(asking: Replica) -> None:
        nobody = Answering(f"http://127.0.0.1:{free_port()}{ROUTE}", lambda: 0)
        with pytest.raises(NotReached):
            await anext(asking.ask(nobody.place(), question()))
        assert await asking.status(nobody.place()) is None

    run(test)


def test_closing_an_answer_ends_the_computing(replica: Answering) -> None:
    async def test(asking: Replica) -> None:
        lines = asking.ask(replica.place(), question())
        await anext(lines)
        assert replica.running() == 1
        await lines.aclose()
        for _ in range(50):
            if replica.running() == 0:
                break
            await asyncio.sleep(0.02)
        assert replica.running() == 0

    run(test)


def test_it_says_how_it_is_and_takes_verbs(replica: Answering) -> None:
    async def test(asking: Replica) -> None:
        async for _ in asking.ask(replica.place(), question()):
            pass
        found = await asking.status(replica.place())
        assert found is not None
        assert found.engine
        # What is said of weights that are not loaded is nothing, or that they are not.
        for path, body in (("pin", Pin(weights="none")), ("unload", Unload(weights="none"))):
            with contextlib.suppress(NotFound):
                assert await asking.verb(replica.place(), path, body)

    run(test)


def test_what_is_too_large_is_refused(replica: Answering) -> None:
    async def test(asking: Replica) -> None:
        with pytest.raises(TunesmithError) as found:
            await anext(asking.ask(replica.place(), question(prompt="x" * (5 * 2**20))))
        assert found.value.code == "invalid_input"

    run(test)


def test_the_stand_in_hears_what_was_asked() -> None:
    with standing_in() as made:
        assert isinstance(made, StandIn)

        async def test(asking: Replica) -> None:
            place = Place("t", f"http://127.0.0.1:{made.port}{ROUTE}", TOKEN, "")
            async for _ in asking.ask(place, question(template_variables={"enable_thinking": True})):
                pass

        run(test)
        assert made.asked == [question(template_variables={"enable_thinking": True})]
