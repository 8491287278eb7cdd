"""Background loops: what a round or an item raises ends none, and whoever is unwell is named and started again."""

import logging
import threading
import time

import pytest
from conftest_platform import Plane
from fastapi.testclient import TestClient
from poisons import POISONS, in_a_thread
from waiting import wait_until

from tunesmith.home import Home
from tunesmith_platform.app import create_app
from tunesmith_platform.caller import current_caller
from tunesmith_platform.hub import Hub
from tunesmith_platform.loops import Loop, Loops, Troubles, contained
from tunesmith_platform.monitoring.loop import Monitor
from tunesmith_platform.settings import Settings
from tunesmith_platform.testing.fakes import FakeJobs


class Failing(Loop):
    """Fails in its first round, and ends after its third."""

    gather_seconds = idle_seconds = 0.0

    def __init__(self, hub: Hub) -> None:
        super().__init__(hub)
        self.said: list[str] = []

    def begin(self) -> None:
        self.said.append("begin")

    def pause(self) -> None:
        self.said.append("pause")
        super().pause()

    def tick(self) -> None:
        self.said.append("tick")
        if self.said.count("tick") == 1:
            raise RuntimeError("a bug of ours")
        if self.said.count("tick") == 3:
            self.close()


def test_a_loop_has_others_to_serve_than_the_check_of_one_file() -> None:
    """What it has checked goes on beside it: neither it nor the check is given up however long that takes."""
    seen: list[float] = []

    class Asking(Failing):
        def tick(self) -> None:
            seen.append(current_caller().patience_seconds)
            self.close()

    Asking(Hub()).run()
    assert 0 < seen[0] < Loop.stall_seconds / 10


def test_a_round_that_fails_is_followed_by_the_next() -> None:
    loop = Failing(Hub())
    loop.run()
    assert loop.said == ["begin", *["tick", "pause"] * 3]


def test_a_busy_reconciler_leaves_most_of_the_time_to_others(plane: Plane) -> None:
    """However many events come: six times as long as a round took, and half a second at the most."""
    for took, least in ((0.02, 0.12), (3.0, 0.5)):
        plane.reconciler.last_seconds = took
        plane.services.hub.notify("task-1")
        began = time.monotonic()
        plane.reconciler.pause()
        assert least <= time.monotonic() - began < 10, "at most half a second, and what the machine adds"


class Poisoned(Loop):
    """A round over three items, of which the first raises."""

    gather_seconds = idle_seconds = 0.0

    def __init__(self, poison: BaseException, hub: Hub | None = None) -> None:
        super().__init__(hub or Hub())
        self.poison: BaseException | None = poison
        self.served: list[str] = []
        self.told: list[tuple[str, str | None]] = []

    def tick(self) -> None:
        def work(item: str) -> None:
            if item == "a" and self.poison is not None:
                raise self.poison
            self.served.append(item)

        def told(item: str, error: BaseException | None) -> None:
            self.told.append((item, error and type(error).__name__))
            raise ValueError("nor can it be told")

        self.each("abc", work, told=told)


@pytest.mark.parametrize("poison", [*POISONS, KeyboardInterrupt()], ids=repr)
def test_the_items_after_one_that_fails_are_served_in_the_same_round(poison: BaseException) -> None:
    loop = Poisoned(poison)
    in_a_thread(loop.tick)
    assert loop.served == ["b", "c"]
    loop.poison = None
    in_a_thread(loop.tick)
    assert loop.served == ["b", "c", "a", "b", "c"]
    assert loop.told == [("a", type(poison).__name__), ("a", None)]


@pytest.mark.parametrize("poison", POISONS, ids=repr)
@pytest.mark.parametrize("where", ["begin", "tick", "pause"])
def test_a_loop_goes_on_whatever_is_raised_until_it_is_closed(where: str, poison: BaseException) -> None:
    loop = Poisoned(poison)
    loop.poison = None
    raised = threading.Event()
    method = getattr(loop, where)

    def once(*_: object) -> None:
        if not raised.is_set():
            raised.set()
            raise poison
        method()

    setattr(loop, where, once)
    thread = threading.Thread(target=loop.run, daemon=True)
    thread.start()
    wait_until(lambda: raised.is_set() and loop.rounds > 2, what="three rounds")
    loop.close()
    thread.join(10)
    assert not thread.is_alive()
    assert loop.served[:3] == ["a", "b", "c"]


def test_what_keeps_failing_is_logged_in_full_once_and_then_ever_more_rarely(
    caplog: pytest.LogCaptureFixture,
) -> None:
    troubles = Troubles("a loop")

    def fail() -> None:
        raise RuntimeError("as ever")

    with caplog.at_level(logging.INFO):
        for _ in range(1000):
            troubles.attempt("an item", fail)
        assert [record.exc_info is not None for record in caplog.records] == [True, *[False] * 9]
        caplog.clear()
        assert troubles.attempt("an item", lambda: None)
        assert troubles.attempt("an item", lambda: None)
        assert [record.getMessage() for record in caplog.records] == ["a loop: an item works again"]


def test_ctrl_c_goes_through() -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Troubles("a loop").attempt("an item", interrupted)


@pytest.mark.parametrize("poison", POISONS, ids=repr)
def test_an_event_loop_sees_nothing_but_exceptions(poison: BaseException) -> None:
    def fail() -> None:
        raise poison

    with pytest.raises(Exception):  # noqa: B017, PT011  (that it is one is what is tested)
        contained(fail)


# --- loops that are not well


class Standing(Loop):
    """Does one round that ends when the test lets it."""

    stall_seconds = -1.0
    gather_seconds = idle_seconds = 0.01

    def __init__(self) -> None:
        super().__init__(Hub())
        self.may_go = threading.Event()

    def tick(self) -> None:
        self.may_go.wait(20)


def test_a_loop_that_stands_still_is_named_and_replaced_once_it_was_seen_twice() -> None:
    made: list[Standing] = []

    def make() -> Standing:
        made.append(Standing())
        return made[-1]

    loops = Loops()
    loops.start({"Standing": make})
    try:
        wait_until(lambda: "stands still" in loops.unwell().get("Standing", ""), what="the stall")
        loops.look()
        assert len(made) == 1, "a machine that was suspended makes every loop look so, once"
        loops.look()
        assert len(made) == 2
        assert made[0].is_closed
        made[1].stall_seconds = 60.0
        assert "no round yet" in loops.unwell()["Standing"]
        made[1].may_go.set()
        wait_until(lambda: not loops.unwell(), what="a round of the new one")
    finally:
        for loop in made:
            loop.may_go.set()
        loops.close()


def test_healthz_names_a_loop_that_has_ended_until_it_is_running_again(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Loops, "look_seconds", 0.05)
    app = create_app(Settings(home=home.root), FakeJobs())
    run = Monitor.run
    monkeypatch.setattr(Monitor, "run", lambda _self: None)
    with TestClient(app) as client:
        wait_until(lambda: client.get("/healthz").status_code == 503, what="an unwell API")
        error = client.get("/healthz").json()["error"]
        assert error["code"] == "not_well"
        assert list(error["details"]["loops"]) == ["Monitor"]
        assert "`Monitor`" in error["message"]
        monkeypatch.setattr(Monitor, "run", run)
        wait_until(lambda: client.get("/healthz").status_code == 200, what="an API that is well again")
