"""What background loops have in common: rounds in one thread, woken when something happens. Knows none of the work.

Whatever one item raises, those after it are served in the same round, and the round's loop goes on: native libraries
raise what is no `Exception` (a panic in Rust), so here everything is caught. A loop whose thread has ended all the
same, or that stands still, is named by `Loops`, which makes it anew.
"""

import concurrent.futures
import functools
import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from typing import TypeVar

from tunesmith.errors import TunesmithError
from tunesmith_platform.caller import serving_others
from tunesmith_platform.hub import Hub
from tunesmith_platform.logs import serving

logger = logging.getLogger(__name__)

T = TypeVar("T")
_REMEMBERED = 1000
"""Items that fail whose failures are counted."""


class Broken(Exception):
    """Something that is no `Exception` was raised by a piece of work: a native library's panic, `SystemExit`."""


def _nobody(_item: object, _error: BaseException | None) -> None:
    """Nobody needs to hear of it."""


def _silent(_error: BaseException | None) -> None:
    """Nobody needs to hear of it."""


class Troubles:
    """Works on items one by one, so that none keeps the others waiting by what it raises.

    One that fails again and again is logged in full once, and then in a line, each time after twice as many tries. May
    be used by several threads.

    Args:
        who: Whose work it is, for the log.
    """

    def __init__(self, who: str) -> None:
        self._who = who
        self._times: OrderedDict[str, int] = OrderedDict()
        self._lock = threading.Lock()

    def each(
        self,
        items: Iterable[T],
        work: Callable[[T], object],
        *,
        name: Callable[[T], str] = str,
        told: Callable[[T, BaseException | None], None] = _nobody,
        between: Callable[[], bool] = lambda: True,
    ) -> None:
        """Work on every item.

        Args:
            items: The items.
            work: What is done with one.
            name: What one is called in the log; by it failures are counted.
            told: Hears of one that fails, the first time and whenever it is logged again, and with None once it works.
            between: Asked before each; the rest is left when it says no.
        """
        for item in items:
            if not between():
                return
            self.attempt(name(item), functools.partial(work, item), functools.partial(told, item))

    def attempt(
        self,
        name: str,
        work: Callable[[], object],
        told: Callable[[BaseException | None], None] = _silent,
    ) -> bool:
        """Do one thing; whether it worked. Only Ctrl-C, which the main thread alone gets, goes through."""
        with serving(loop=self._who, item=name):
            try:
                work()
            except BaseException as error:
                self.note(name, error, told)
                return False
            self.over(name, told)
        return True

    def over(self, name: str, told: Callable[[BaseException | None], None] = _silent) -> None:
        """Something worked; say so where it failed before."""
        with self._lock:
            times = self._times.pop(name, 0)
        if times:
            logger.info("%s: %s works again", self._who, name)
            self._tell(name, told, None)

    def note(
        self, name: str, error: BaseException, told: Callable[[BaseException | None], None] = _silent
    ) -> None:
        """Something failed: say so, unless it was said not long ago. Raises what is Ctrl-C."""
        if _is_ctrl_c(error):
            raise error
        with self._lock:
            times = self._times[name] = self._times.pop(name, 0) + 1
            while len(self._times) > _REMEMBERED:
                self._times.popitem(last=False)
        if times & (times - 1):
            return  # it was said at the last power of two
        if isinstance(error, TunesmithError):
            logger.warning("%s: %s: %s (%s times)", self._who, name, error.message, times)
        elif times == 1:
            logger.error("%s: %s failed; it is tried again", self._who, name, exc_info=error)
        else:
            logger.error("%s: %s failed %s times: %r", self._who, name, times, error)
        self._tell(name, told, error)

    def _tell(
        self, name: str, told: Callable[[BaseException | None], None], error: BaseException | None
    ) -> None:
        try:
            told(error)
        except BaseException as other:
            if _is_ctrl_c(other):
                raise
            logger.warning("%s: %s could not be told of: %r", self._who, name, other)


def _is_ctrl_c(error: BaseException) -> bool:
    return isinstance(error, KeyboardInterrupt) and threading.current_thread() is threading.main_thread()


def contained(work: Callable[[], T]) -> T:
    """What a piece of work answers; what it raises is an `Exception`.

    An event loop ends at a `SystemExit` that reaches it, and with it the server; a task of it ends at a panic, and
    nobody hears of that.

    Raises:
        Broken: It raised what is no `Exception`.
    """
    try:
        return work()
    except Exception:
        raise
    except BaseException as error:
        raise Broken(f"{type(error).__name__}: {error}") from error


class Loop:
    """A loop over `tick`. What a round raises is logged, and the next one comes all the same."""

    gather_seconds = 1.0
    """A second's events make one round."""
    idle_seconds = 2.0
    """How long nothing is looked at, at most, when nothing happens."""
    failed_seconds = 0.0
    """How much later the next round comes after one that failed."""
    stall_seconds = 300.0
    """A loop in which for so long neither an item nor a round was done stands still: longer than any of them takes."""

    last_seconds = 0.0
    """How long the last round took."""
    rounds = 0
    """How many there were."""

    def __init__(self, hub: Hub) -> None:
        self._wake = hub.listen()
        self._stop = threading.Event()
        self.troubles = Troubles(type(self).__name__)
        self.moved_at = time.monotonic()
        """When it last got anywhere."""

    def tick(self) -> None:
        """One round."""
        raise NotImplementedError

    def begin(self) -> None:
        """What comes before the first round."""

    def end(self) -> None:
        """What comes after the last round: leases are given up, so that another process need not wait for them."""

    def pause(self) -> None:
        """What comes between two rounds: let others happen, then wait until something does."""
        self._stop.wait(self.gather_seconds)
        self._wake.wait(self.idle_seconds)

    def each(
        self,
        items: Iterable[T],
        work: Callable[[T], object],
        *,
        name: Callable[[T], str] = str,
        told: Callable[[T, BaseException | None], None] = _nobody,
    ) -> None:
        """Work on every item of a round, whatever one of them raises, until the loop is closed; see `Troubles.each`."""
        self.troubles.each(items, work, name=name, told=told, between=self._go_on)

    def run(self) -> None:
        """Loop until `close`."""
        with serving_others():
            self._run()

    def _run(self) -> None:
        self.troubles.attempt("its beginning", self.begin)
        while not self._stop.is_set():
            self._wake.clear()
            started = self.moved_at = time.monotonic()
            if not self.troubles.attempt("a round", self.tick):
                self._stop.wait(self.failed_seconds)
            self.last_seconds = time.monotonic() - started
            self.rounds += 1
            self._go_on()
            if not self.troubles.attempt("its pause", self.pause):
                self._stop.wait(1.0)
        self.troubles.attempt("its end", self.end)

    def close(self) -> None:
        """End the loop after the item it is at."""
        self._stop.set()
        self._wake.set()

    @property
    def is_closed(self) -> bool:
        """Whether it was told to end."""
        return self._stop.is_set()

    def _go_on(self) -> bool:
        self.moved_at = time.monotonic()
        return not self._stop.is_set()


class _Kept:
    """A loop with its thread."""

    def __init__(self, name: str, make: Callable[[], Loop]) -> None:
        self.name = name
        self.make = make
        self.is_anew = False
        self.start()

    def start(self) -> None:
        self.loop = self.make()
        self.thread = threading.Thread(target=self.loop.run, name=self.name, daemon=True)
        self.thread.start()

    def trouble(self) -> str | None:
        """What is wrong with it."""
        if not self.thread.is_alive():
            return "has ended"
        still = time.monotonic() - self.loop.moved_at
        if still > self.loop.stall_seconds:
            return f"stands still for {still:.0f} s"
        if self.is_anew and not self.loop.rounds:
            return "was started again and has done no round yet"
        return None


class Loops:
    """The background loops of a process: starts them, says which is not well, and starts such a one again.

    One that stands still cannot be ended: it is told to, and another takes its place; what it might record later its
    lease, which is no longer its own, keeps out.
    """

    look_seconds = 5.0

    def __init__(self) -> None:
        self._kept: list[_Kept] = []
        self._stop = threading.Event()
        self._watch = self._watcher()
        self._suspects: dict[str, float] = {}

    def start(self, makers: Mapping[str, Callable[[], Loop]]) -> None:
        """Start the loops, each in a thread of its own, and look after them until `close`; again after one.

        Args:
            makers: Makes a loop anew, by its name.
        """
        self._stop.clear()
        self._watch = self._watcher()
        self._kept = [_Kept(name, make) for name, make in makers.items()]
        self._watch.start()

    def _watcher(self) -> threading.Thread:
        return threading.Thread(target=self._look_forever, name="Loops", daemon=True)

    def unwell(self) -> dict[str, str]:
        """The loops that do not do their work, and what each is about. Takes no lock and asks nobody."""
        found = {kept.name: trouble for kept in self._kept if (trouble := kept.trouble())}
        if self._kept and not self._watch.is_alive() and not self._stop.is_set():
            found["Loops"] = "has ended"
        return found

    def look(self) -> None:
        """Start again what has ended, and what two looks in a row saw standing still."""
        for kept in self._kept:
            if self._stop.is_set():
                return
            moved_at = kept.loop.moved_at
            if kept.thread.is_alive():
                if time.monotonic() - moved_at <= kept.loop.stall_seconds:
                    self._suspects.pop(kept.name, None)
                    continue
                # The whole process may have stood still (a suspended machine): then it moves now.
                if self._suspects.get(kept.name) != moved_at:
                    self._suspects[kept.name] = moved_at
                    continue
            self._suspects.pop(kept.name, None)
            logger.error("the loop %s %s: starting it again", kept.name, kept.trouble())
            kept.loop.close()
            kept.is_anew = True
            kept.start()

    def close(self) -> None:
        """End the loops after what they are at, and wait for that a moment."""
        self._stop.set()
        for kept in self._kept:
            kept.loop.close()
        for kept in self._kept:
            kept.thread.join(timeout=5)

    def _look_forever(self) -> None:
        troubles = Troubles(type(self).__name__)
        while not self._stop.wait(self.look_seconds):
            troubles.attempt("a look", self.look)


def within(seconds: float, call: Callable[[], T]) -> T:
    """What a call answers, if it does so in time; else it goes on by itself, and nobody hears of its end.

    Args:
        seconds: How long to wait.
        call: What may hang.

    Raises:
        TimeoutError: It has not answered.
    """
    answer: concurrent.futures.Future[T] = concurrent.futures.Future()

    def run() -> None:
        try:
            answer.set_result(call())
        except BaseException as error:  # it is the caller's
            answer.set_exception(error)

    threading.Thread(target=run, name="within", daemon=True).start()
    return answer.result(seconds)
