"""One process of a node at a time does what is then kept for all: the others wait, and find it done.

A lock goes with its process, however that ends. Knows files.
"""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def alone(cache: Path, name: str) -> Iterator[None]:
    """Be the only one for the block; waits for whoever was earlier.

    Args:
        cache: The folder that the node's processes share.
        name: Of what is done.
    """
    folder = cache / "locks"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / name).open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # given back when the file is closed
        yield
