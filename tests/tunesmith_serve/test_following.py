"""What a driver and its replica leave for each other, who notices that the other is gone, and what is said of it."""

from typing import Any

import pytest
from waiting import wait_until

from tunesmith.events import Serving, Warned
from tunesmith_serve import board as board_module
from tunesmith_serve.application import Look
from tunesmith_serve.board import Board, DriverNote, Lease, Renewing, ReplicaNote
from tunesmith_serve.following import Follower
from tunesmith_serve.shelf import Change


class Memory(dict[str, bytes]):
    """A store in this process."""

    def put(self, name: str, data: bytes) -> None:
        self[name] = data

    def remove(self, name: str) -> None:
        self.pop(name, None)

    def names(self) -> list[str]:
        return list(self)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_each_hears_what_the_other_left_and_nothing_stays() -> None:
    store = Memory()
    board, other = Board("chat-a-1", store), Board("chat-b-1", store)
    assert board.driver() is None
    board.leave(DriverNote(beat=3, stop="why"))
    note = ReplicaNote(replica="r")
    note.add(Change("loaded", "m", "", 1.5, 10))
    board.leave(note)
    assert board.driver() == DriverNote(beat=3, stop="why")
    assert board.replica() == note
    assert other.replica() is None
    assert Board.applications(store) == {"chat-a-1"}
    store.put("chat-a-1/driver", b"of another version")
    assert board.driver() is None
    board.clear()
    assert store == {}


def test_a_driver_renews_whatever_it_waits_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(board_module, "RENEW_SECONDS", 0.001)
    board = Board("chat-a-1", Memory())
    renewing = Renewing(board)
    renewing.now()
    renewing.start()
    wait_until(lambda: (note := board.driver()) is not None and note.beat > 3, 10, every=0.005)
    renewing.now(stop="why")
    wait_until(lambda: (note := board.driver()) is not None and note.beat > 8, 10, every=0.005)
    renewing.stop()
    last = board.driver()
    assert last is not None
    assert last.stop == "why"
    assert not renewing.is_alive()


def test_a_note_holds_the_newest_changes_by_their_numbers() -> None:
    note = ReplicaNote(replica="r")
    for number in range(80):
        note.add(Change("loaded", f"m{number}"))
    assert [change.number for change in note.changes] == list(range(31, 81))


def test_a_driver_that_renews_nothing_is_gone_and_one_that_comes_back_is_not() -> None:
    clock = Clock()
    lease = Lease(30, clock)
    assert not lease.look(DriverNote(beat=1))
    clock.now = 29
    assert not lease.look(DriverNote(beat=2))
    clock.now = 58
    assert not lease.look(DriverNote(beat=2))
    clock.now = 60
    assert lease.look(DriverNote(beat=2))
    assert lease.look(None)
    assert not lease.look(DriverNote(beat=3))
    clock.now = 91
    assert lease.look(None)


class Told:
    """What a follower said."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.events: list[Any] = []
        self.follower = Follower(self.events.append, self.clock)
        self.note = ReplicaNote(replica="one")

    def look(
        self, state: str = "running", running: int = 0, waiting: int = 0, seconds: float = 1
    ) -> list[Any]:
        """Let the clock go on, look once, and give what is new."""
        self.clock.now += seconds
        before = len(self.events)
        self.follower.follow(Look(state, "", running, waiting), self.note, {"CPU": 2.0})
        return [
            (one.state, one.model or "") if isinstance(one, Serving) else one for one in self.events[before:]
        ]


def test_each_change_is_said_once() -> None:
    told = Told()
    told.follower.say(Serving(state="deploying"))
    assert told.look("deploying", waiting=1) == []
    assert not told.follower.is_ready
    told.note.add(Change("loading", "m"))
    assert told.look(running=1) == [("ready", ""), ("loading", "m")]
    assert told.follower.is_ready
    assert told.events[1].seconds == 2
    told.note.add(Change("loaded", "m", "", 1.5, 10))
    assert told.look(running=1) == [("loaded", "m")]
    assert (told.events[-1].seconds, told.events[-1].bytes) == (1.5, 10)
    assert told.look(running=1) == []


def test_one_that_was_put_away_comes_back_without_its_old_words() -> None:
    told = Told()
    told.note.add(Change("loaded", "m"))
    told.look(running=1)
    assert told.look() == [("idle", "")]
    assert told.look() == []
    assert told.look(waiting=1) == [("deploying", "")]
    assert told.look(running=1) == [("ready", "")]  # the note is still the old one's
    told.note = ReplicaNote(replica="two")
    told.note.add(Change("loaded", "m"))
    assert told.look(running=1) == [("loaded", "m")]


def test_one_that_was_killed_is_said_to_be_new() -> None:
    told = Told()
    told.look(running=1)
    told.note = ReplicaNote(replica="two")
    assert told.look(running=1) == [("ready", "")]
    assert told.events[-1].message


@pytest.mark.parametrize("state", ["deploying", "running"])
def test_that_there_is_no_place_is_said_once_and_not_at_once(state: str) -> None:
    told = Told()
    told.follower.say(Serving(state="deploying"))
    assert told.look(state, waiting=1) == []
    [warned] = told.look(state, waiting=1, seconds=10)
    assert isinstance(warned, Warned)
    assert "2 CPU" in warned.message
    assert told.look(state, waiting=1, seconds=10) == []


def test_that_it_is_not_well_is_said_once() -> None:
    told = Told()
    assert told.look("unhealthy") == [("failed", "")]
    assert told.look("unhealthy") == []
    assert told.look(running=1) == [("ready", "")]
