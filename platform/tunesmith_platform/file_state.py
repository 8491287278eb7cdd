"""What tells without reading that a file or a folder has not changed, so that what was read of it still holds."""

import os
from pathlib import Path
from typing import NamedTuple


class FileState(NamedTuple):
    """Path, bytes and time of change."""

    path: str
    size: int
    changed_ns: int


def state_of_file(path: Path) -> FileState:
    """What a file is known by; of one that cannot be looked at, its path."""
    try:
        stat = path.stat()
    except OSError:
        return FileState(str(path), -1, 0)  # who reads it says what is wrong
    return FileState(str(path), stat.st_size, stat.st_mtime_ns)


def state_of_folder(folder: Path) -> FileState:
    """A folder changes when any file directly in it does."""
    try:
        stats = [entry.stat() for entry in os.scandir(folder) if entry.is_file()]
    except OSError:
        return state_of_file(folder)
    return FileState(
        str(folder), sum(s.st_size for s in stats), sum(s.st_mtime_ns for s in stats) + len(stats)
    )


def state_of(path: Path) -> FileState:
    """What tells without reading that a file, or any file directly in a folder, has not changed."""
    return state_of_folder(path) if path.is_dir() else state_of_file(path)
