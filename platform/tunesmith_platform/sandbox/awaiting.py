"""Work that goes on while who asked for it does something else: a loop asks once, and looks again at its next turn.

A check of a large file may take a quarter of an hour, and a loop has others to serve meanwhile. What was found is kept
under what was asked and the state of the files that it is about, so a changed file is looked at anew. Knows nothing of
what is computed.
"""

import json
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from concurrent.futures import Future, wait
from pathlib import Path
from typing import Any

from tunesmith.errors import Unavailable
from tunesmith_platform.caller import Caller
from tunesmith_platform.file_state import FileState, state_of

_MOST_RUNNING = 16
_KEPT_BYTES = 64 * 2**20
_KEPT = 256
_FORGOTTEN_SECONDS = 300.0
"""Work that nobody has asked for again for so long is given up: its pipeline was stopped, or its file has changed."""
_LONGEST_PATH = 4096

Key = tuple[str, tuple[FileState, ...]]


def key_of(name: str, argument: Mapping[str, Any]) -> Key:
    """What tells a piece of work from others: what is asked, and the files that it names as they are now."""
    given = [*argument.values()]
    given += [value for group in given if isinstance(group, dict) for value in group.values()]
    paths = {value for value in given if isinstance(value, str) and _is_path(value)}
    asked = json.dumps([name, dict(argument)], sort_keys=True)
    return asked, tuple(state_of(Path(path)) for path in sorted(paths))


def _is_path(value: str) -> bool:
    return value.startswith("/") and len(value) < _LONGEST_PATH and "\0" not in value


class _Work(Caller):
    """A piece of work under way, and the caller that it is done for: it waits as long as somebody asks."""

    def __init__(self, owner: str) -> None:
        self.owner = owner
        self.answer: Future[bytes] = Future()
        self.asked_at = time.monotonic()
        self._ticket: Callable[[], None] | None = None

    def watched(self, left: Callable[[], None]) -> Any:
        """See `Caller.watched`."""
        self._ticket = left
        return super().watched(left)

    def leave(self) -> None:
        """Give it up."""
        self.has_left = True
        if self._ticket is not None:
            self._ticket()


class Awaited:
    """What is worked on, and what was found, for those that have no patience."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: OrderedDict[Key, _Work] = OrderedDict()

    def answer(self, key: Key, work: Callable[[Caller], bytes], caller: Caller) -> bytes:
        """What a piece of work answers; it is begun where it is not under way.

        Only who has it begun waits: whoever asks again was away meanwhile. An answer is kept, an error told once.

        Args:
            key: What tells it from others.
            work: Does it, for the caller that it is given.
            caller: Who asks.

        Raises:
            Unavailable: It is not done yet, or too much is under way.
        """
        with self._lock:
            self._forget()
            known = self._known.get(key)
            is_new = known is None
            if known is None:
                known = self._begin(key, work, caller.owner)
            known.asked_at = time.monotonic()
            self._known.move_to_end(key)
        if is_new:
            wait([known.answer], caller.patience_seconds)
        if not known.answer.done():
            raise Unavailable(
                "What it is given is being checked, which takes minutes where it is large.",
                hint="It is looked at again.",
            )
        try:
            return known.answer.result()
        except BaseException:
            self._drop(key, known)
            raise

    def _begin(self, key: Key, work: Callable[[Caller], bytes], owner: str) -> _Work:
        """Have it done in a thread. The lock is held."""
        if sum(not other.answer.done() for other in self._known.values()) >= _MOST_RUNNING:
            raise Unavailable("Other checks of files are under way.", hint="It is tried again.")
        new = self._known[key] = _Work(owner)

        def run() -> None:
            try:
                new.answer.set_result(work(new))
            except BaseException as error:  # it is told to who asks
                new.answer.set_exception(error)

        threading.Thread(target=run, name="awaited", daemon=True).start()
        return new

    def _drop(self, key: Key, work: _Work) -> None:
        with self._lock:
            if self._known.get(key) is work:
                del self._known[key]

    def _forget(self) -> None:
        """Give up what nobody asks for any more, and the oldest answers beyond what is kept. The lock is held."""
        size = 0
        for number, (key, work) in enumerate(reversed(list(self._known.items()))):
            if not work.answer.done():
                if time.monotonic() - work.asked_at > _FORGOTTEN_SECONDS:
                    work.leave()
                    del self._known[key]
                continue
            if work.answer.exception() is None:
                size += len(work.answer.result())
            if number >= _KEPT or size > _KEPT_BYTES:
                del self._known[key]
