"""Removing what is marked as ours: scratch, staging, caches. Knows marks; knows nothing of results."""

import contextlib
import logging
import os
import shutil
from pathlib import Path

from tunesmith.errors import NotOurs
from tunesmith.removal.ownership import is_own, refused

logger = logging.getLogger(__name__)


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
        raise refused(path)
    remove_any(path)


def discard(path: Path, owner: str | None = None) -> None:
    """As `remove_own`, for a clean-up that nothing depends on: what is refused or fails is logged."""
    try:
        remove_own(path, owner)
    except (NotOurs, OSError) as error:
        logger.warning("`%s` is left: %s", path, error)


def remove_any(path: Path) -> None:
    """Remove a file or a folder, whole, of which it is known that it is ours; a link goes itself."""
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
