"""Removing a result, and laying one at its place, whole, over its task's earlier one.

Of a result the files go that its manifest names, and nothing that a user laid beside them. It stops to be seen as a
result at once; what was cut off goes on. Knows manifests; knows no storage.
"""

import contextlib
import ctypes
import fcntl
import logging
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from tunesmith.artifacts import MANIFEST, Manifest
from tunesmith.errors import NotOurs
from tunesmith.removal.folders import remove_empty, remove_own
from tunesmith.removal.ownership import (
    MARK,
    claim,
    is_free,
    manifest_of,
    owner_of,
    refused,
    require_place,
    writer_of,
)

_GONE = ".{name}.{task_id}.gone"
"""What a result is called while its files are removed."""
_STAGE = ".{name}.{owner}-{token}.part"
"""Where a result is made ready beside its place. No two processes share one: a frozen one may wake elsewhere."""
_AT_CWD, _EXCHANGE = -100, 2
"""What Linux calls the working folder and an exchange."""
logger = logging.getLogger(__name__)


def remove_result(folder: Path, task_id: str) -> list[Path]:
    """Remove a result of a task: the files that its manifest names. Returns what of others' is left in it.

    It stops to be seen as a result at once; what is left stands where it stood.

    Raises:
        NotOurs: It is a link, or does not carry the task's manifest.
        OSError: The system does not let it go.
    """
    if not os.path.lexists(folder):
        return []
    if writer_of(folder) != task_id:
        raise refused(folder)
    aside = folder.with_name(_GONE.format(name=folder.name, task_id=task_id))
    _finish(aside, folder, task_id)
    is_aside = not os.path.lexists(aside)
    if is_aside:
        folder.rename(aside)
        _finish(aside, folder, task_id)
    else:
        _empty_result(folder, task_id)
    return sorted(path for path in folder.rglob("*") if not path.is_dir()) if folder.exists() else []


def finish_removals(folder: Path, task_id: str) -> None:
    """Go on where removals of a task's results in a folder were cut off, or one was being laid there."""
    gone = _GONE.format(name="\0", task_id=task_id)
    with contextlib.suppress(OSError):
        for aside in list(folder.iterdir()):
            if (name := _name_in(gone, aside.name)) is not None:
                _finish(aside, folder / name, task_id)
        _clear_left(folder, task_id)


def _name_in(form: str, name: str) -> str | None:
    """What stands in a name in the place of a form's NUL; None where it has another form."""
    before, after = form.split("\0")
    found = name.removeprefix(before).removesuffix(after)
    return found if found and name == f"{before}{found}{after}" else None


def _finish(aside: Path, folder: Path, task_id: str) -> None:
    """Empty what was a result; what is left then goes back to its place, if that is free."""
    if aside.is_symlink() or not aside.is_dir():
        return
    _empty_result(aside, task_id)
    if aside.exists() and not os.path.lexists(folder):
        aside.rename(folder)


def _empty_result(folder: Path, task_id: str) -> None:
    """Remove what a manifest names, itself last: what is cut off here can go on."""
    manifest = manifest_of(folder)
    if manifest is None:
        remove_empty(folder)
        return
    if manifest.task_id != task_id:
        return
    for path in [*named_files(manifest), MANIFEST]:
        file = folder / path
        inside = [folder / parent for parent in PurePosixPath(path).parents]
        if any(parent.is_symlink() for parent in inside) or file.is_dir():
            continue
        file.unlink(missing_ok=True)
    remove_empty(folder)


def named_files(manifest: Manifest) -> list[str]:
    """The files that a manifest names, as far as they lie in its folder."""
    paths = [file.path for file in manifest.files]
    return [path for path in paths if not PurePosixPath(path).is_absolute() and ".." not in path.split("/")]


@contextlib.contextmanager
def staged(target: Path, owner: str) -> Iterator[Path]:
    """An empty folder beside a target, to be filled and laid there with `lay`; gone afterwards, whatever happened."""
    with contextlib.suppress(OSError):
        _clear_left(target.parent, owner, target.name)
    token = os.urandom(4).hex()
    stage = target.with_name(_STAGE.format(name=target.name, owner=owner, token=token))
    claim(stage, owner)
    with _locked(stage):
        new = stage / "new"
        new.mkdir()
        try:
            yield new
        finally:
            with contextlib.suppress(NotOurs, OSError):  # the next one clears it
                _clear(stage, target, owner)


def _clear_left(folder: Path, owner: str, name: str | None = None) -> None:
    """Remove the stages in a folder that an owner's processes left when they died; one that lives keeps its own."""
    of_target = ".+" if name is None else re.escape(name)
    form = re.compile(rf"\.({of_target})\.{re.escape(owner)}(?:-[0-9a-f]{{8}})?\.part")
    for stage in list(folder.iterdir()) if folder.is_dir() else []:
        found = form.fullmatch(stage.name)
        if found is None or stage.is_symlink() or owner_of(stage) != owner:
            continue
        with contextlib.suppress(NotOurs), _locked(stage) as is_left:
            if is_left:
                _clear(stage, folder / found[1], owner)


@contextlib.contextmanager
def _locked(stage: Path) -> Iterator[bool]:
    """Hold a stage's lock, which its process has until it ends, on whichever machine; False where it lives."""
    try:
        handle = os.open(stage / MARK, os.O_RDWR | os.O_NOFOLLOW)
    except OSError:  # without a mark nothing of it is removed anyway
        yield True
        return
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        except OSError:  # a file system without locks
            pass
        yield True
    finally:
        os.close(handle)


def _clear(stage: Path, target: Path, owner: str) -> None:
    """Remove a stage; what it took from the target and did not remove yet comes to its place first."""
    old, new = stage / "old", stage / "new"
    if old.exists() and not os.path.lexists(target):  # cut off between two names
        old.rename(target)
    finish_removals(stage, owner)
    # Without its manifest, what is new was never finished; what is old was emptied but for what is others'.
    for replaced in (old, new) if writer_of(new) == owner else (old,):
        if replaced.exists():
            _remove_replaced(replaced, target, owner)
    remove_own(stage, owner)


def lay(new: Path, target: Path, owner: str, *, unfinished: bool = False) -> list[Path]:
    """Let a staged folder appear at its target, in place of the owner's earlier one: a crash leaves one or the other.

    Args:
        new: What `staged` gave, filled.
        target: Where it goes.
        owner: The task.
        unfinished: See `require_place`.

    Returns:
        What others had laid into the earlier one, brought into a folder beside it.

    Raises:
        NotOurs: Something stands there that is not the owner's.
    """
    require_place(target, owner, unfinished=unfinished)
    if is_free(target):
        new.rename(target)  # over an empty folder too; never over one that was filled meanwhile
        return []
    old = new.with_name("old")
    if _exchange(new, target):
        new.rename(old)
    else:  # a system that cannot exchange two names
        target.rename(old)
        new.rename(target)
    try:
        require_place(old, owner, unfinished=unfinished)  # it may have been changed since we looked
    except NotOurs:
        target.rename(new)
        old.rename(target)
        raise refused(target) from None
    return _remove_replaced(old, target, owner, unfinished=unfinished)


def _remove_replaced(old: Path, target: Path, owner: str, *, unfinished: bool = False) -> list[Path]:
    """Remove what a stage took from a target; returns what of others' was in it."""
    if writer_of(old) == owner:
        remove_result(old, owner)
    elif unfinished or owner_of(old) == owner:
        remove_own(old, owner)
    if remove_empty(old):
        return []
    kept = target.with_name(f"{target.name}.kept")
    number = 1
    while os.path.lexists(kept):
        number += 1
        kept = target.with_name(f"{target.name}.kept-{number}")
    old.rename(kept)
    logger.warning("what others had laid into `%s` lies in `%s` now", target, kept)
    return sorted(path for path in kept.rglob("*") if not path.is_dir())


def _exchange(one: Path, other: Path) -> bool:
    """Exchange two names in one step; False where the system cannot."""
    if not sys.platform.startswith("linux"):
        return False
    try:
        call = ctypes.CDLL(None, use_errno=True).renameat2
    except (OSError, AttributeError):
        return False
    return bool(call(_AT_CWD, os.fsencode(one), _AT_CWD, os.fsencode(other), _EXCHANGE) == 0)
