"""A replica's HTTP side with an engine that does as it is told: who may ask, what waits, what leaves."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from asgi import TOKEN, Call, eventually
from fake_engine import BASE, FakeEngine, FakePrompts, adapter, ask, served
from tiny_model import make_tokenizer

from tunesmith.chat.wire import MAX_ASK_BYTES, End, Failed, Loading, Piece, Pin, Refused, Unload
from tunesmith.errors import InvalidModel
from tunesmith_serve import asking
from tunesmith_serve.answering import Prompt
from tunesmith_serve.asking import Questions
from tunesmith_serve.engine import EngineLost
from tunesmith_serve.http import ChatApp
from tunesmith_serve.limits import Limits
from tunesmith_serve.shelf import Change, Shelf

TOKENIZER = make_tokenizer()
END = TOKENIZER.token_to_id("<|im_end|>")
IDS = TOKENIZER.encode("Paris is the capital.", add_special_tokens=False).ids


class World:
    """A replica's application over a fake engine."""

    def __init__(self, *, running: int = 2, waiting: int = 4, adapters: int = 2, **engine: Any) -> None:
        self.engine = FakeEngine([*IDS, END], **engine)
        self.changes: list[Change] = []
        shelf = Shelf(self.engine, adapters, self.changes.append)
        prompt = Prompt([1, 2, 3], frozenset({END}), TOKENIZER)
        self.questions = Questions(self.engine, FakePrompts(prompt), shelf, Limits(running, waiting), BASE)
        self.app = ChatApp(TOKEN, self.questions)

    def call(self, question: Any = None, route: str = "ask", **more: Any) -> Call:
        return Call(self.app, f"/chat-1/{route}", question or ask(), **more)


def run(test: Callable[[World], Awaitable[None]], **world: Any) -> None:
    async def inside() -> None:
        await test(World(**world))

    asyncio.run(inside())


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "LOADING_SECONDS", 0.02)


def said(call: Call) -> str:
    return "".join(line.text for line in call.all if isinstance(line, Piece))


def test_an_answer_is_lines_and_an_end() -> None:
    async def test(world: World) -> None:
        call = await world.call().ended()
        assert (call.status, call.headers["content-type"]) == (200, "application/x-ndjson")
        assert said(call) == "Paris is the capital."
        assert isinstance(call.all[-1], End)
        assert call.is_whole

    run(test)


@pytest.mark.parametrize("token", [None, "", "wrong", TOKEN[:-1], "tokén"])
@pytest.mark.parametrize("route", ["ask", "status", "pin", "unload", "elsewhere"])
def test_without_the_token_nothing_is_read_and_nothing_loaded(token: str | None, route: str) -> None:
    async def test(world: World) -> None:
        call = await world.call(route=route, token=token).ended()
        assert call.status == 401
        assert Refused.model_validate(call.json).code == "unauthorized"
        assert call.taken == 0
        assert world.engine.loads == []

    run(test)


@pytest.mark.parametrize("length", [None, 0])
def test_a_question_that_is_too_large_is_refused_before_it_is_read(length: int | None) -> None:
    async def test(world: World) -> None:
        call = await world.call(b"x" * (MAX_ASK_BYTES + 1), length=length).ended()
        assert call.status == 413
        assert call.taken <= (0 if length is None else 70)

    run(test)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b"no json", None),
        (b"[]", ""),
        (b'{"id": "q"}', "model"),
        (ask(sampling={"temperature": 1}).model_dump_json().replace("1.0", "NaN", 1).encode(), "sampling"),
        (ask(messages=None, prompt=None), "messages"),
        (ask(messages=[{"role": "user", "content": "a"}], prompt="b"), "messages"),
        (b"[" * 100_000, None),
    ],
)
def test_what_is_no_question_is_refused_and_its_place_named(body: Any, field: str | None) -> None:
    async def test(world: World) -> None:
        call = await world.call(body).ended()
        refused = Refused.model_validate(call.json)
        assert (call.status, refused.code) == (400, "invalid_input")
        assert field is None or (refused.field or "").startswith(field)
        assert world.engine.loads == []

    run(test)


def test_another_bases_model_is_not_found() -> None:
    async def test(world: World) -> None:
        other = served().model_copy(update={"base_path": "/models/other"})
        call = await world.call(ask(other)).ended()
        assert (call.status, call.json["code"]) == (404, "model_not_found")

    run(test)


def test_too_many_are_told_when_to_come_again() -> None:
    async def test(world: World) -> None:
        world.engine.step.clear()
        calls = [world.call() for _ in range(3)]
        await eventually(lambda: world.questions.limits.running == 1)
        late = await world.call().ended()
        assert (late.status, late.json["code"]) == (503, "busy")
        assert int(late.headers["retry-after"]) >= 1
        world.engine.step.set()
        for call in calls:
            assert said(await call.ended()) == "Paris is the capital."
        assert said(await world.call().ended()) == "Paris is the capital."

    run(test, running=1, waiting=2)


def test_questions_are_answered_in_the_order_in_which_they_came_and_told_that_they_wait() -> None:
    async def test(world: World) -> None:
        world.engine.step.clear()
        await world.questions.bring(served())
        calls = []
        for name in ("a", "b", "c"):
            await world.questions.bring(adapter(name))
            calls.append(world.call(ask(adapter(name))))
        waits = await calls[2].lines(1)
        assert isinstance(waits[0], Loading)
        assert "came before" in waits[0].message
        world.engine.step.set()
        for call in calls:
            await call.ended()
        assert world.engine.asked == ["a", "b", "c"]
        assert world.engine.most == 1

    run(test, running=1, adapters=3)


@pytest.mark.parametrize("when", ["loading", "waiting", "before the first token", "in the middle"])
def test_a_client_that_left_frees_its_place(when: str) -> None:
    async def test(world: World) -> None:
        other = None
        if when == "loading":
            world.engine.gate.clear()
        elif when == "waiting":
            world.engine.step.clear()
            other = world.call()
            await eventually(lambda: world.engine.open == 1)
        elif when == "before the first token":
            world.engine.step.clear()
        call = world.call()
        if when == "in the middle":
            await call.lines(1)
            world.engine.step.clear()
        else:
            await eventually(lambda: world.questions.limits.taken == (2 if other else 1))
            await asyncio.sleep(0.05)
        call.leave()
        await call.ended()
        assert world.questions.limits.taken == (1 if other else 0)
        assert world.engine.open == (1 if other else 0)
        assert all(one.answering == (1 if other else 0) for one in world.questions.status.loaded)
        world.engine.step.set()
        world.engine.gate.set()
        if other is not None:
            await other.ended()
        assert said(await world.call().ended()) == "Paris is the capital."

    run(test, running=1)


def test_a_server_that_cancels_a_request_frees_its_place_too() -> None:
    async def test(world: World) -> None:
        world.engine.step.clear()
        call = world.call()
        await eventually(lambda: world.engine.open == 1)
        call.task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call.task
        await eventually(lambda: world.engine.open == 0)
        assert world.questions.limits.taken == world.questions.limits.running == 0

    run(test)


def test_the_same_weights_are_loaded_once_for_all_who_ask_whatever_they_are_called() -> None:
    async def test(world: World) -> None:
        world.engine.gate.clear()
        renamed = adapter("a").model_copy(update={"name": "another name"})
        calls = [world.call(ask(adapter("a"))), world.call(ask(renamed))]
        for call in calls:
            first = (await call.lines(1))[0]
            assert isinstance(first, Loading)
        assert call.status == 200
        world.engine.gate.set()
        for call in calls:
            assert said(await call.ended()) == "Paris is the capital."
        assert world.engine.loads == ["a"]
        assert [change.state for change in world.changes] == ["loading", "loaded"]

    run(test)


def test_a_load_that_has_not_begun_is_given_up_with_its_last_question() -> None:
    async def test(world: World) -> None:
        world.engine.gate.clear()
        first = world.call(ask(adapter("a")))
        await first.lines(1)
        second = world.call(ask(adapter("b")))
        assert "another model" in (await second.lines(1))[0].message
        first.leave()
        second.leave()
        third = world.call(ask(adapter("c")))
        await third.lines(1)
        assert world.questions.status.loading == ["name of a"]
        world.engine.gate.set()
        for call in (first, second, third):
            await call.ended()
        assert world.engine.loads == ["a", "c"], "`a` had begun, and `b` had not"
        assert [one.answering for one in world.questions.status.loaded] == [0, 0]
        await world.call(ask(adapter("b"))).ended()
        assert world.engine.unloads == ["a"]

    run(test)


def test_the_adapter_that_was_used_longest_ago_makes_place() -> None:
    async def test(world: World) -> None:
        for name in ("a", "b", "a", "c"):
            await world.call(ask(adapter(name))).ended()
        assert world.engine.unloads == ["b"]
        assert [one.weights for one in world.questions.status.loaded] == ["a", "c"]
        await world.call(ask(served())).ended()  # the base is none of them
        assert world.engine.unloads == ["b"]

    run(test)


def test_a_pinned_adapter_stays_and_an_unloaded_one_goes() -> None:
    async def test(world: World) -> None:
        for name in ("a", "b"):
            await world.call(ask(adapter(name))).ended()
        status = (await world.call(Pin(weights="a"), "pin").ended()).json
        assert [one["is_pinned"] for one in status["loaded"]] == [True, False]
        await world.call(ask(adapter("c"))).ended()
        assert world.engine.unloads == ["b"]
        await world.call(Pin(weights="c"), "pin").ended()
        refused = await world.call(ask(adapter("d"))).ended()
        assert (refused.status, refused.json["code"]) == (503, "no_memory")
        assert "retry-after" in refused.headers
        await world.call(Unload(weights="a"), "unload").ended()
        assert said(await world.call(ask(adapter("d"))).ended()) == "Paris is the capital."
        assert [one.weights for one in world.questions.status.loaded] == ["c", "d"]

    run(test)


def test_an_adapter_that_answers_is_not_taken_away_and_comes_before_those_who_ask_later() -> None:
    async def test(world: World) -> None:
        world.engine.step.clear()
        first = world.call(ask(adapter("a")))
        await eventually(lambda: world.engine.open == 1)
        busy = await world.call(Unload(weights="a"), "unload").ended()
        assert (busy.status, busy.json["code"]) == (503, "busy")
        other = world.call(ask(adapter("b")))
        await other.lines(1)
        again = world.call(ask(adapter("a")))  # `b` came before it
        await again.lines(1)
        assert world.engine.unloads == []
        world.engine.step.set()
        for call in (first, other, again):
            assert said(await call.ended()) == "Paris is the capital."
        assert world.engine.asked == ["a", "b", "a"]

    run(test, adapters=1)


def test_where_memory_ends_others_go_and_then_it_is_said() -> None:
    async def test(world: World) -> None:
        await world.call(ask(served())).ended()
        await world.call(ask(adapter("a"))).ended()
        assert said(await world.call(ask(adapter("b"))).ended()) == "Paris is the capital."
        assert world.engine.unloads == ["a"]
        world.engine.step.clear()
        busy = world.call(ask(adapter("b")))
        await eventually(lambda: world.engine.open == 1)
        refused = await world.call(ask(adapter("c"))).ended()
        assert (refused.status, refused.json["code"]) == (503, "no_memory")
        assert "1000 bytes" in refused.json["message"]
        world.engine.step.set()
        await busy.ended()

    run(test, adapters=8, room=2)


def test_a_question_that_is_too_long_is_refused_also_after_a_load() -> None:
    async def test(world: World) -> None:
        world.engine.gate.clear()
        call = world.call()
        assert isinstance((await call.lines(1))[0], Loading)
        world.engine.context_length = 4
        world.engine.gate.set()
        await call.ended()
        assert isinstance(call.all[-1], Refused)
        assert call.all[-1].code == "context_length_exceeded"
        again = await world.call().ended()
        assert (again.status, again.json["code"]) == (400, "context_length_exceeded")

    run(test, context=0)


def test_an_engine_that_is_lost_ends_the_answer_with_a_word() -> None:
    async def test(world: World) -> None:
        call = world.call()
        await call.lines(1)
        world.engine.error = EngineLost("killed")
        await call.ended()
        assert isinstance(call.all[-1], Failed)
        early = await world.call().ended()
        assert (early.status, early.json["code"]) == (500, "failed")
        world.engine.error = RuntimeError("a fault of ours")
        odd = await world.call().ended()
        assert (odd.status, odd.json["code"]) == (500, "failed")
        assert "a fault" not in odd.json["message"]
        world.engine.error = None
        assert said(await world.call().ended()) == "Paris is the capital."
        assert world.questions.limits.taken == 0

    run(test)


def test_a_model_that_cannot_be_loaded_says_why() -> None:
    async def test(world: World) -> None:
        async def load(*_: Any) -> int:
            raise InvalidModel("The file is cut off.", hint="Copy it again.")

        world.engine.load = load  # type: ignore[method-assign]
        call = await world.call(ask(adapter("a"))).ended()
        assert (call.status, call.json["code"], call.json["hint"]) == (400, "invalid_input", "Copy it again.")
        assert world.changes[-1].state == "failed"

    run(test)


def test_at_the_end_answers_end_with_a_word_and_no_more_are_taken() -> None:
    async def test(world: World) -> None:
        world.engine.step.clear()
        early = world.call()
        await eventually(lambda: world.engine.open == 1)
        world.engine.step.set()
        begun = world.call()
        await begun.lines(1)
        world.engine.step.clear()
        world.questions.end("It is being stopped.")
        await early.ended()
        await begun.ended()
        assert isinstance(begun.all[-1], Failed | End)
        late = await world.call(ask(adapter("a"))).ended()
        assert (late.status, late.json["code"]) == (503, "busy")
        assert late.json["message"] == "It is being stopped."
        assert world.engine.loads == ["base"]
        assert world.engine.open == world.questions.limits.taken == 0

    run(test)


def test_the_status_says_what_is_done() -> None:
    async def test(world: World) -> None:
        await world.call(ask(adapter("a"))).ended()
        call = await world.call(route="status", method="GET").ended()
        assert call.json["engine"] == "fake"
        assert call.json["answered"] == 1
        assert call.json["tokens_per_second"] > 0
        assert call.json["first_token_seconds"] >= 0
        assert [one["name"] for one in call.json["loaded"]] == ["name of a"]

    run(test)
