"""Which paths a client may name: those inside the allowed roots, links followed first, so that none leads out."""

import os
import re
from pathlib import Path
from urllib.parse import urlsplit

from tunesmith.errors import InvalidInput, PathNotAllowed

_DOCUMENT = re.compile(r"/(tasks|runners)/[^/]+/attempt-\d+\.json/?$")
"""What a job is handed, in the storage where tasks save: it holds the job's token."""


def allowed_path(given: str, roots: list[Path]) -> Path:
    """The real path that a client names.

    Raises:
        PathNotAllowed: It is not absolute, or lies outside the roots.
        InvalidInput: It holds a NUL character.
    """
    if "\x00" in given:
        raise InvalidInput("A path holds no NUL character.", hint="Remove it: no file's name can hold one.")
    path = Path(os.path.realpath(given))
    if not Path(given).is_absolute() or not _is_inside(path, roots) or _DOCUMENT.search(path.as_posix()):
        raise PathNotAllowed(
            f"`{given}` lies outside the folders that this platform may use.", hint=_cure(roots)
        )
    return path


def allowed_folder(given: str, roots: list[Path]) -> Path:
    """As `allowed_path`, and no file directly in the folder is a link that leads out of the roots.

    Raises:
        PathNotAllowed: It is not absolute, lies outside the roots, or one of its files does.
        InvalidInput: It holds a NUL character.
    """
    folder = allowed_path(given, roots)
    try:
        links = [Path(entry.path) for entry in os.scandir(folder) if entry.is_symlink()]
    except OSError:
        return folder  # no folder, or closed to us: who reads it says so
    for link in links:
        if not _is_inside(Path(os.path.realpath(link)), roots):
            raise PathNotAllowed(
                f"`{link}` is a link to a file outside the folders that this platform may use.",
                hint=_cure(roots),
            )
    return folder


def allowed_uri(given: str, beginnings: list[str]) -> str:
    """A place in a storage elsewhere that a client names.

    Raises:
        PathNotAllowed: It begins with none of the beginnings, or could lead out of them.
    """
    parts = urlsplit(given)
    leads_out = parts.query or parts.fragment or ".." in parts.path.split("/")
    is_closed = leads_out or _DOCUMENT.search(parts.path)
    if is_closed or not any(given.startswith(allowed) for allowed in beginnings if allowed):
        raise PathNotAllowed(
            f"`{given}` does not lie where this platform may read.",
            hint="Its administrator allows the beginnings of URIs with `TUNESMITH_ALLOWED_URIS`.",
        )
    return given


def _is_inside(path: Path, roots: list[Path]) -> bool:
    # As `is_relative_to`, which takes ten times as long: each submit asks for every path that it names.
    inner = f"{path}/"
    return any(inner.startswith(f"{str(root).rstrip('/')}/") for root in roots)


def _cure(roots: list[Path]) -> str:
    return (
        "Give an absolute path inside "
        + (" or ".join(f"`{root}`" for root in roots) or "an allowed root")
        + ", or allow its folder with `tunesmith up --allow DIR`."
    )


def existing(folder: Path) -> Path:
    """A folder, or the nearest one above it that is there."""
    return folder if folder.exists() or folder == folder.parent else existing(folder.parent)
