"""One file of ours by its full name: written beside its place first, and removed without a question.

Knows names; knows nothing of whose a folder is.
"""

import contextlib
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
def new_file(target: Path, *, overwrite: bool = False) -> Iterator[IO[bytes]]:
    """A file to be written that appears whole or not at all, and over one that is there only where that is wanted.

    Args:
        target: Its path.
        overwrite: Whether one that is there is replaced.

    Raises:
        NotOurs: There is one.
    """
    taken = NotOurs(
        f"`{target}` is there already.", hint="Name another file, or have it replaced: `--force`."
    )
    if not overwrite and os.path.lexists(target):
        raise taken
    handle, name = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".part", dir=target.parent)
    part = Path(name)
    try:
        with os.fdopen(handle, "wb") as stream:
            yield stream
        mask = os.umask(0)
        os.umask(mask)
        part.chmod(0o666 & ~mask)
        if overwrite:
            part.replace(target)
        else:
            try:
                os.link(part, target)
            except FileExistsError:
                raise taken from None
            except OSError:  # a file system without links
                if os.path.lexists(target):
                    raise taken from None
                part.replace(target)
    finally:
        discard_file(part)
