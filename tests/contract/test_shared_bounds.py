"""What one key takes of chats is counted over all servers: who waits where, whose turn is next, what a kill leaves."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

import pytest
from conftest_platform import Plane

from tunesmith.errors import TooManyRequests
from tunesmith_platform.bounds import sharing
from tunesmith_platform.bounds.sharing import Sharing, Use
from tunesmith_platform.chats.spending import Spending
from tunesmith_platform.chats.turns import Turns
from tunesmith_platform.db.engine import Database

Replicas = tuple[Plane, Plane]
KEY = "ada"


class Server:
    """One server's counts."""

    def __init__(self, database: Database, streams: int, queue: int, tokens: int = 0) -> None:
        self.sharing = Sharing(database, self._own, self._wake)
        self.turns = Turns(streams, queue, self.sharing.elsewhere, self.sharing.moved)
        self.spending = Spending(tokens, self.sharing.elsewhere)
        self.begun: list[str] = []

    def _wake(self) -> None:
        self.turns.wake()

    def _own(self) -> dict[str, Use]:
        found = self.turns.now()
        for key, spent in self.spending.now().items():
            found[key] = found.get(key, Use())._replace(spent=spent)
        return found

    async def ask(self, name: str, order: list[str], until: asyncio.Event) -> None:
        """A question that is answered until an event."""
        await self.sharing.look()
        async with self.turns.turn(KEY):
            order.append(name)
            await until.wait()


@contextlib.asynccontextmanager
async def servers(
    replicas: Replicas, streams: int, queue: int = 9, tokens: int = 0
) -> AsyncIterator[list[Server]]:
    found = [Server(plane.services.database, streams, queue, tokens) for plane in replicas]
    try:
        yield found
    finally:
        for one in found:
            await one.sharing.close()


async def until(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not is_so():
            await asyncio.sleep(0.02)


def run(test: Callable[[], object]) -> None:
    asyncio.run(test())  # type: ignore[arg-type]


def test_answers_are_counted_over_both_and_who_came_first_comes_next(replicas: Replicas) -> None:
    async def test() -> None:
        async with servers(replicas, streams=2, queue=3) as (one, other):
            order: list[str] = []
            ends = {name: asyncio.Event() for name in "abcdefg"}
            asked = []

            async def ask(server: Server, name: str, *, begins: bool) -> None:
                asked.append(asyncio.create_task(server.ask(name, order, ends[name])))
                await until(lambda: (name in order) if begins else server.turns.waiting > 0)
                await until(lambda: server.sharing._said == server.turns.now())

            await ask(one, "a", begins=True)
            await ask(one, "b", begins=True)
            await ask(other, "c", begins=False)
            await asyncio.sleep(2 * sharing._LOOK_SECONDS)  # ages are known to within a look
            await ask(one, "d", begins=False)
            await until(lambda: other.sharing.elsewhere(KEY).waiting == 1)
            assert other.sharing.elsewhere(KEY).running == 2
            # The place of one that is over goes to the other server, whose question came first.
            ends["a"].set()
            await until(lambda: "c" in order)
            assert order == ["a", "b", "c"]
            ends["b"].set()
            await until(lambda: "d" in order)
            # Three wait at the most, wherever they wait.
            for name in "efg":
                asked.append(
                    asyncio.create_task((other if name == "f" else one).ask(name, order, ends[name]))
                )
                await asyncio.sleep(3 * sharing._LOOK_SECONDS)
            for server in (one, other):
                with pytest.raises(TooManyRequests, match="2 answers of this key are under way, and 3 wait"):
                    await server.ask("h", order, ends["a"])
            for end in ends.values():
                end.set()
            await asyncio.gather(*asked)
            assert order == ["a", "b", "c", "d", "e", "f", "g"]

    run(test)


def test_a_minutes_tokens_are_spent_in_both(replicas: Replicas) -> None:
    async def test() -> None:
        async with servers(replicas, streams=2, tokens=100) as (one, other):
            over = asyncio.Event()
            over.set()
            await other.ask("a", [], over)  # it has looked a moment ago
            one.spending.add(KEY, 70)
            other.spending.add(KEY, 40)
            one.sharing.moved()
            await until(lambda: bool(other.sharing.elsewhere(KEY).spent))
            with pytest.raises(TooManyRequests, match="110 tokens were taken") as found:
                other.spending.require(KEY)
            assert 50 <= found.value.details["retry_after"] <= 62
            other.spending.require("bob")

    run(test)


def test_a_server_that_was_killed_holds_nobody_up_for_long(
    replicas: Replicas, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sharing, "_GONE_SECONDS", 1.0)
    monkeypatch.setattr(sharing, "_SAID_SECONDS", 0.3)

    async def test() -> None:
        async with servers(replicas, streams=1) as (one, other):
            order: list[str] = []
            never, over = asyncio.Event(), asyncio.Event()
            first = asyncio.create_task(one.ask("a", order, never))
            await until(lambda: one.sharing._said != {})
            second = asyncio.create_task(other.ask("b", order, over))
            await asyncio.sleep(2.0)
            assert order == ["a"], "one that lives and says so is counted, however long its answer takes"
            assert one.sharing._task is not None
            one.sharing._task.cancel()  # killed: it says nothing any more
            await until(lambda: "b" in order)
            over.set()
            await second
            first.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await first

    run(test)


def test_without_the_database_each_goes_on_by_itself(
    replicas: Replicas, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> None:
        raise ConnectionRefusedError("the database is away")

    async def test() -> None:
        async with servers(replicas, streams=2) as (one, _):
            monkeypatch.setattr(one.sharing, "_exchange", fail)
            order: list[str] = []
            over = asyncio.Event()
            over.set()
            for name in "abc":
                await one.ask(name, order, over)
            assert order == ["a", "b", "c"]

    run(test)
    assert sum("counts for itself" in line.message for line in caplog.records) == 1


def test_what_is_over_leaves_no_row_and_asks_nobody(replicas: Replicas) -> None:
    async def test() -> None:
        async with servers(replicas, streams=2) as (one, other):
            over = asyncio.Event()
            over.set()
            await one.ask("a", [], over)
            await until(lambda: one.sharing._task is not None and one.sharing._task.done())
            with replicas[0].services.database.read() as session:
                from tunesmith_platform.bounds import repository
                from tunesmith_platform.clock import now

                assert repository.newest(session, now() - sharing._FORGOTTEN) == []
            assert other.sharing._task is None

    run(test)
