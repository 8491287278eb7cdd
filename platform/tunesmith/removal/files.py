"""One file of ours by its full name: written beside its place first, and removed without a question.

Knows names; knows nothing of whose a folder is.
"""

import contextlib
import fcntl
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from tunesmith.errors import NotOurs


def part_of(file: Path) -> Path:
    """Where a file is written before it gets its name: no other process, on whichever machine, has the same place."""
    return file.with_name(f".{file.name}.part-{os.urandom(8).hex()}")


def discard_file(file: Path) -> None:
    """Remove one file of ours by its full name; a link goes itself, never what it leads to.

    For files whose name alone says that they are ours: it holds a random id, a hash, or our own ending.
    """
    with contextlib.suppress(OSError):
        file.unlink()


@contextlib.contextmanager
def new_file(target: Path, *, overwrite: bool = False, private: bool = False) -> Iterator[IO[bytes]]:
    """A file to be written that appears whole or not at all, and over one that is there only where that is wanted.

    Args:
        target: Its path.
        overwrite: Whether one that is there is replaced.
        private: Whether its owner alone may read it.

    Raises:
        NotOurs: There is one.
    """
    refuse_there(target, overwrite=overwrite)
    handle, name = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".part", dir=target.parent)
    part = Path(name)
    try:
        with os.fdopen(handle, "wb") as stream:
            yield stream
        _named(part, target, overwrite=overwrite, private=private)
    finally:
        discard_file(part)


@contextlib.contextmanager
def continued_file(target: Path, content: str, *, overwrite: bool = False) -> Iterator[IO[bytes]]:
    """As `new_file`, but what was cut off stays beside it, and the next try goes on behind it.

    Args:
        target: Its path.
        content: The sha256 of what it will hold: a part of something else is none of its.
        overwrite: Whether one that is there is replaced.

    Raises:
        NotOurs: There is one; or another process is at it.
    """
    refuse_there(target, overwrite=overwrite)
    part = target.with_name(f".{target.name}.{content}.part")
    handle = os.open(part, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    with os.fdopen(handle, "r+b") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise NotOurs(f"Another process is fetching `{target}`.", hint="Wait for it.") from None
        stream.seek(0, os.SEEK_END)
        yield stream
        stream.flush()
        os.fsync(stream.fileno())
        _named(part, target, overwrite=overwrite)
        discard_file(part)


def refuse_there(target: Path, *, overwrite: bool) -> None:
    """Refuse a place where something lies, unless it is to be replaced.

    Raises:
        NotOurs: Something does.
    """
    if not overwrite and os.path.lexists(target):
        raise _taken(target)


def _taken(target: Path) -> NotOurs:
    return NotOurs(f"`{target}` is there already.", hint="Name another file, or have it replaced: `--force`.")


def _named(part: Path, target: Path, *, overwrite: bool, private: bool = False) -> None:
    """Give a whole file its name."""
    mask = os.umask(0)
    os.umask(mask)
    part.chmod((0o600 if private else 0o666) & ~mask)
    if overwrite:
        part.replace(target)
        return
    try:
        os.link(part, target)
    except FileExistsError:
        raise _taken(target) from None
    except OSError:  # a file system without links
        if os.path.lexists(target):
            raise _taken(target) from None
        part.replace(target)
