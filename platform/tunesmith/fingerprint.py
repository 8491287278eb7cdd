"""What a folder's files are, byte for byte, in one number: so that a task can say which weights it started from.

A file is read once; as long as its size and its time of change stay, its sum is taken from what was noted then. Knows
files; knows nothing of models.
"""

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from pydantic import BaseModel


class Stamp(NamedTuple):
    """What tells without reading that a file has not changed."""

    size: int
    changed_ns: int


class FileSum(BaseModel):
    """A file's SHA-256, and its stamp when that was computed."""

    size: int
    changed_ns: int
    sha256: str

    @property
    def stamp(self) -> Stamp:
        """The file's stamp then."""
        return Stamp(self.size, self.changed_ns)


def stamps(folder: Path) -> dict[str, Stamp]:
    """The files that lie directly in a folder, hidden ones left out; links count as what they lead to."""
    found = {}
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        if not entry.name.startswith(".") and entry.is_file():
            stat = entry.stat()
            found[entry.name] = Stamp(stat.st_size, stat.st_mtime_ns)
    return found


def changed(now: Mapping[str, Stamp], known: Mapping[str, FileSum]) -> list[str]:
    """The files whose sums are not known as they are now."""
    return [name for name, stamp in now.items() if name not in known or known[name].stamp != stamp]


def sums(folder: Path, known: Mapping[str, FileSum]) -> dict[str, FileSum]:
    """Every file's sum; those that have not changed are not read again. Memory stays small whatever their size.

    Raises:
        OSError: A file cannot be read, or vanished.
    """
    now = stamps(folder)  # before reading: what changes meanwhile is noticed at the next look
    found = {name: known[name] for name in now.keys() & known.keys() if known[name].stamp == now[name]}
    for name in changed(now, known):
        with (folder / name).open("rb") as stream:
            sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
        found[name] = FileSum(size=now[name].size, changed_ns=now[name].changed_ns, sha256=sha256)
    return found


def fingerprint(files: Mapping[str, FileSum]) -> str:
    """One SHA-256 over names, sizes and sums: where the folder lies and when it was copied makes no difference."""
    digest = hashlib.sha256()
    for name, file in sorted(files.items()):
        digest.update(f"{file.sha256} {file.size} {name}\n".encode())
    return digest.hexdigest()
