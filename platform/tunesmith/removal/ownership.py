"""Whose a folder is: by its mark, its manifest, or the random id in its path. Knows folders; removes none."""

import contextlib
import os
import re
import stat
from pathlib import Path

from tunesmith.artifacts import MANIFEST, Manifest
from tunesmith.errors import NotOurs
from tunesmith.removal.files import discard_file

MARK = ".tunesmith-made"
"""The file that says whose a folder is."""
_ID = re.compile(r"[a-z]+-[0-9a-hjkmnp-tv-z]{18}")
"""An id that the platform gave: 40 random bits that nobody's own folder is named by."""
_MARK_BYTES = 256
_MANIFEST_BYTES = 2**20


def refused(path: Path | str, hint: str | None = None) -> NotOurs:
    """The refusal of a path that is not ours."""
    return NotOurs(
        f"`{path}` is not what this task made: it is left as it is.",
        hint=hint or f"Move `{path}` away, or give another folder.",
        details={"path": str(path)},
    )


def claim(folder: Path, owner: str, *, is_proven: bool = False) -> bool:
    """Make a folder and mark it; several processes may at once. Returns whether it is the owner's.

    A folder that holds something is marked only where its path names the owner: it may be somebody else's.

    Args:
        folder: The folder.
        owner: Whose it is to be.
        is_proven: What it holds has been looked at: nobody else makes such a folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    known = owner_of(folder)
    if known is not None:
        return known == owner
    is_proven = is_proven or _is_named_by(folder, owner)
    if folder.is_symlink() or (not is_proven and _holds_anything(folder)):
        return False
    part = folder / f"{MARK}.{os.getpid()}-{os.urandom(4).hex()}"
    with contextlib.suppress(OSError):  # a full disk stops nobody: what is not marked is left where it is
        part.write_text(owner)
        with contextlib.suppress(FileExistsError):
            os.link(part, folder / MARK)  # whole, and never over another's
    discard_file(part)
    return owner_of(folder) == owner


def owner_of(folder: Path) -> str | None:
    """The owner that a folder's mark names; None without a mark."""
    data = _read(folder / MARK, _MARK_BYTES)
    return data.decode(errors="replace").strip() if data else None


def writer_of(folder: Path) -> str | None:
    """The task whose manifest a result carries; None where there is no manifest that can be read."""
    manifest = manifest_of(folder)
    return manifest.task_id if manifest else None


def is_own(path: Path, owner: str | None) -> bool:
    """Whether a path, or a folder above it, is marked as the owner's or named by its id, with no link in between.

    Args:
        path: The path.
        owner: Whose; None where any of ours will do, for what lies inside of scratch.
    """
    place = path.absolute()
    if ".." in place.parts:
        return False
    for folder in (place, *place.parents):
        if folder.is_symlink():
            return False
        known = owner_of(folder)
        if known is not None and owner in (None, known):
            return True
        if owner is not None and is_id(owner) and folder.name == owner:
            return True
    return False


def lies_in_own(path: Path) -> bool:
    """Whether a folder above a path is marked, or named by an id that we gave: the platform's own part of a disk."""
    place = path.absolute()
    return ".." not in place.parts and any(
        is_id(folder.name) or owner_of(folder) is not None for folder in place.parents
    )


def is_free(path: Path) -> bool:
    """Whether nothing stands at a path, or only an empty folder that is no link."""
    if not os.path.lexists(path):
        return True
    return path.is_dir() and not path.is_symlink() and not any(path.iterdir())


def is_id(name: str) -> bool:
    """Whether a name is an id that the platform gave."""
    return _ID.fullmatch(name) is not None


def _is_named_by(folder: Path, owner: str) -> bool:
    return is_id(owner) and owner in folder.absolute().parts


def _holds_anything(folder: Path) -> bool:
    return any(not entry.name.startswith(MARK) for entry in folder.iterdir())


def _read(file: Path, limit: int) -> bytes | None:
    """A small ordinary file's bytes; None where there is none, or it is a link, a pipe or too large."""
    try:
        handle = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return None
    with os.fdopen(handle, "rb") as stream:
        facts = os.fstat(handle)
        if not stat.S_ISREG(facts.st_mode) or facts.st_size > limit:
            return None
        return stream.read(limit)


def manifest_of(folder: Path) -> Manifest | None:
    """A result's manifest; None where there is none that can be read."""
    if folder.is_symlink():
        return None
    data = _read(folder / MANIFEST, _MANIFEST_BYTES)
    return Manifest.decode(data) if data else None


def require_place(target: Path, task_id: str, *, unfinished: bool = False) -> None:
    """Say whether a task may lay a result at a place.

    Args:
        target: The place.
        task_id: The task.
        unfinished: Whether what carries neither manifest nor mark is the task's too: a save that was cut off, in a
            part of a disk that is the task's own.

    Raises:
        NotOurs: Something stands there that is not the task's own earlier result.
    """
    if is_free(target):
        return
    writer = None if target.is_symlink() else writer_of(target) or owner_of(target)
    has_no_writer = writer is None and not target.is_symlink() and not os.path.lexists(target / MANIFEST)
    if writer != task_id and not (unfinished and has_no_writer):
        if writer is not None:
            raise NotOurs(
                f"`{target}` is of task `{writer}`: it is left as it is.",
                hint=f"Give another folder, or remove `{target}`: its task keeps its own copy.",
                details={"path": str(target)},
            )
        raise refused(target)
