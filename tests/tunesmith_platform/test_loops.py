"""Background loops: what a round raises ends none, and a loop sets its own pauses."""

import time

from conftest_platform import Plane

from tunesmith_platform.events.hub import Hub
from tunesmith_platform.loops import Loop


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
