"""The one place that removes folders, and what it must prove before it does.

What we made says so. A **result** (a checkpoint, a model) carries its manifest with the id of the task that wrote it;
anything else (scratch, staging, caches) carries a **mark**, a small file with its owner's name, written when the folder
is made. A folder from before there were marks is ours where its path holds the random id that we gave its owner.
Whatever cannot be proven is refused by name and left as it is. No link is ever followed, and of a result only the files
that its manifest names go: what a user laid beside them stays.

Knows folders and storages; knows nothing of tasks.
"""

import contextlib
import ctypes
import fcntl
import logging
import os
import re
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO, TYPE_CHECKING

from tunesmith.artifacts import MANIFEST, Manifest
from tunesmith.errors import NotOurs

if TYPE_CHECKING:
    from tunesmith.storage import Storage

MARK = ".tunesmith-made"
"""The file that says whose a folder is."""
_ID = re.compile(r"[a-z]+-[0-9a-hjkmnp-tv-z]{18}")
"""An id that the platform gave: 40 random bits that nobody's own folder is named by."""
_GONE = ".{name}.{task_id}.gone"
"""What a result is called while its files are removed."""
_STAGE = ".{name}.{owner}-{token}.part"
"""Where a result is made ready beside its place. No two processes share one: a frozen one may wake elsewhere."""
_MARK_BYTES = 256
_MANIFEST_BYTES = 2**20
_AT_CWD, _EXCHANGE = -100, 2
"""What Linux calls the working folder and an exchange."""
logger = logging.getLogger(__name__)


def _refused(path: Path | str, hint: str | None = None) -> NotOurs:
    return NotOurs(
        f"`{path}` is not what this task made: it is left as it is.",
        hint=hint or f"Move `{path}` away, or give another folder.",
        details={"path": str(path)},
    )


# --- whose a folder is


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
    manifest = _manifest(folder)
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
        if owner is not None and _ID.fullmatch(owner) and folder.name == owner:
            return True
    return False


def lies_in_own(path: Path) -> bool:
    """Whether a folder above a path is marked, or named by an id that we gave: the platform's own part of a disk."""
    place = path.absolute()
    return ".." not in place.parts and any(
        _ID.fullmatch(folder.name) or owner_of(folder) is not None for folder in place.parents
    )


def is_free(path: Path) -> bool:
    """Whether nothing stands at a path, or only an empty folder that is no link."""
    if not os.path.lexists(path):
        return True
    return path.is_dir() and not path.is_symlink() and not any(path.iterdir())


def _is_named_by(folder: Path, owner: str) -> bool:
    return bool(_ID.fullmatch(owner)) and owner in folder.absolute().parts


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


def _manifest(folder: Path) -> Manifest | None:
    if folder.is_symlink():
        return None
    data = _read(folder / MANIFEST, _MANIFEST_BYTES)
    return Manifest.decode(data) if data else None


# --- removing what is marked


def remove_own(path: Path, owner: str | None = None) -> None:
    """Remove a file or a folder that we made, whole; nothing to remove is no error.

    Args:
        path: What goes.
        owner: Whose it must be; None where any of ours will do, for what lies inside of scratch.

    Raises:
        NotOurs: It is a link, or neither it nor a folder above it is marked.
        OSError: The system does not let it go.
    """
    if not os.path.lexists(path):
        return
    if not is_own(path, owner):
        raise _refused(path)
    _remove(path)


def discard(path: Path, owner: str | None = None) -> None:
    """As `remove_own`, for a clean-up that nothing depends on: what is refused or fails is logged."""
    try:
        remove_own(path, owner)
    except (NotOurs, OSError) as error:
        logger.warning("`%s` is left: %s", path, error)


def part_of(file: Path) -> Path:
    """Where a file is written before it gets its name: no other process, on whichever machine, has the same place."""
    return file.with_name(f".{file.name}.part-{os.urandom(8).hex()}")


def discard_file(file: Path) -> None:
    """Remove one file of ours by its full name; a link goes itself, never what it leads to.

    For files whose name alone says that they are ours: it holds a random id, a hash, or our own ending.
    """
    with contextlib.suppress(OSError):
        file.unlink()


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def remove_empty(folder: Path) -> bool:
    """Remove a folder and the folders in it where no file is left in any; returns whether it is gone."""
    if folder.is_symlink() or not folder.is_dir():
        return not os.path.lexists(folder)
    for child in list(folder.iterdir()):
        if child.is_dir() and not child.is_symlink():
            remove_empty(child)
    with contextlib.suppress(OSError):
        folder.rmdir()
    return not folder.exists()


# --- results


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
        raise _refused(folder)
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
    manifest = _manifest(folder)
    if manifest is None:
        remove_empty(folder)
        return
    if manifest.task_id != task_id:
        return
    for path in [*_named(manifest), MANIFEST]:
        file = folder / path
        inside = [folder / parent for parent in PurePosixPath(path).parents]
        if any(parent.is_symlink() for parent in inside) or file.is_dir():
            continue
        file.unlink(missing_ok=True)
    remove_empty(folder)


def _named(manifest: Manifest) -> list[str]:
    """The files that a manifest names, as far as they lie in its folder."""
    paths = [file.path for file in manifest.files]
    return [path for path in paths if not PurePosixPath(path).is_absolute() and ".." not in path.split("/")]


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
        raise _refused(target)


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
        raise _refused(target) from None
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


# --- in a storage, which may be no folder of this machine


def claim_storage(storage: "Storage", owner: str, names: tuple[str, ...] = ()) -> bool:
    """Mark the place that a storage stands for; returns whether it is the owner's.

    Args:
        storage: The place.
        owner: Whose it is to be.
        names: What the owner will write there: where something stands under one of them already, only the path can
            prove that it is the owner's. Without names it is known to be the owner's.
    """
    data = storage.read(MARK)
    if data is not None:
        return data.decode(errors="replace").strip() == owner
    is_named = bool(_ID.fullmatch(owner)) and owner in storage.uri.split("/")
    if not is_named and any(storage.list(name) for name in names):
        return False
    storage.write(MARK, owner.encode())
    return True


def result_in(storage: "Storage", path: str) -> Manifest | None:
    """The manifest of a result in a storage; None where there is none that can be read."""
    here = storage.local(path)
    if here is not None:
        return _manifest(here)
    data = storage.read(f"{path}/{MANIFEST}")
    return Manifest.decode(data) if data else None


def remove_stored(storage: "Storage", path: str, task_id: str, *, unfinished: bool = False) -> bool:
    """Remove a task's result from a storage; returns whether nothing is left at its place.

    Args:
        storage: Where it lies.
        path: Its folder there.
        task_id: The task.
        unfinished: See `require_place`.

    Raises:
        NotOurs: It is not the task's.
        OSError: The storage does not let it go.
    """
    here = storage.local(path)
    if here is not None:
        if is_free(here):
            remove_empty(here)
            return True
        require_place(here, task_id, unfinished=unfinished)
        if writer_of(here) == task_id:
            return not remove_result(here, task_id)
        _remove(here)
        return True
    there = storage.files(path)
    if not there:
        storage.remove_empty(path)
        return True
    manifest = result_in(storage, path)
    if manifest is not None and manifest.task_id == task_id:
        ours = {MANIFEST, *_named(manifest)}
    elif unfinished and MANIFEST not in there:
        ours = set(there)
    else:
        raise _refused(f"{storage.uri}/{path}")
    # What is removed must first stop to count as whole.
    for name in sorted(ours & set(there), key=lambda name: name != MANIFEST):
        storage.remove_file(f"{path}/{name}")
    return storage.remove_empty(path)


def remove_names(storage: "Storage", path: str, *names: str) -> bool:
    """Remove files of ours from a folder of a storage by their names, then the folder where nothing else is in it.

    For folders whose name is an id that we gave, or the hash of what they hold. Returns whether the folder is gone;
    a storage's own root never goes.
    """
    for name in names:
        storage.remove_file(f"{path}/{name}" if path else name)
    return bool(path) and storage.remove_empty(path)
