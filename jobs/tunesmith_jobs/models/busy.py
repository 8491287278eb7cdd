"""Whether answers are asked of this node just now, so that what is not urgent gives way to them.

Whoever answers writes the moment into a folder that the node's processes share; whoever can wait looks there. Knows
files and processors.
"""

import contextlib
import os
import time
from collections.abc import Callable
from pathlib import Path

from tunesmith.removal import claim, discard_file

_OWNER = "tunesmith-busy"
_FRESH_SECONDS = 2.0
"""An answer that was not noted for so long is over, or its process is."""
_LOOK_SECONDS = 0.2
_FEW = 8
"""On a node with fewer processors one that computes beside an answer is felt."""
_MOST_SECONDS = 900.0
"""So long one gives way altogether; then it goes on at its low priority."""


class Busy:
    """The notes of a node.

    Args:
        cache: The folder that its processes share.
    """

    def __init__(self, cache: Path) -> None:
        self._folder = cache / "answering"

    def note(self, name: str) -> None:
        """Say that answers are under way; said about twice a second as long as they are."""
        with contextlib.suppress(OSError):  # a full disk: then nobody gives way
            if claim(self._folder, _OWNER):
                (self._folder / name).touch()

    def over(self, name: str) -> None:
        """Say that no answer comes from here any more."""
        with contextlib.suppress(OSError):
            discard_file(self._folder / name)

    def is_asked(self) -> bool:
        """Whether answers are under way."""
        moment = time.time()
        with contextlib.suppress(OSError):
            return any(
                moment - one.stat().st_mtime < _FRESH_SECONDS
                for one in os.scandir(self._folder)
                if one.name[0] != "."
            )
        return False


class GivingWay:
    """Waits while answers are asked where processors are few.

    Args:
        cache: See `Busy`.
        check: Asked meanwhile; what it raises ends the wait.
        cpus: How many processors there are; those of this process when None.
    """

    def __init__(
        self, cache: Path, check: Callable[[], None] = lambda: None, cpus: int | None = None
    ) -> None:
        self._busy, self._check = Busy(cache), check
        self._is_felt = (cpus or len(os.sched_getaffinity(0))) < _FEW
        self._left = _MOST_SECONDS

    def __call__(self) -> None:
        """Go on once no answer is under way, or one gave way for long enough."""
        self._check()
        while self._is_felt and self._left > 0 and self._busy.is_asked():
            time.sleep(_LOOK_SECONDS)
            self._left -= _LOOK_SECONDS
            self._check()
