"""Which model of the hub a folder was pulled as."""

import re
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

_HUB_ID = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")
_LONGEST = 200
_SHORT_COMMIT = 7
HUB_ID_FILE = ".hub-id"
"""Holds the id that a model was pulled by."""
HUB_REVISION_FILE = ".hub-revision"
"""Holds the commit that a model was pulled at, and, on a second line, what the user named it by."""


def hub_id(folder: Path) -> str | None:
    """The hub id that a model was pulled by; None where nobody noted one."""
    return next(iter(_noted(folder, HUB_ID_FILE)), None)


def hub_revision(folder: Path) -> str | None:
    """The commit of the hub that a model was pulled at; None where nobody noted one."""
    return next(iter(_noted(folder, HUB_REVISION_FILE)), None)


def note_revision(folder: Path, commit: str, given: str | None) -> None:
    """Write down the commit that a model is pulled at, and the branch, tag or commit that it was asked for by."""
    (folder / HUB_REVISION_FILE).write_text(
        "\n".join([commit, *([given] if given else [])]), encoding="utf-8"
    )


def is_at_revision(folder: Path, given: str) -> bool:
    """Whether a folder is known to hold what a hub has at a revision: the one it was asked for by, or its commit."""
    noted = _noted(folder, HUB_REVISION_FILE)
    return given in noted or (len(given) >= _SHORT_COMMIT and bool(noted) and noted[0].startswith(given))


def _noted(folder: Path, name: str) -> list[str]:
    try:
        with (folder / name).open(encoding="utf-8") as stream:
            return [line[:_LONGEST] for line in stream.read(4 * _LONGEST).split("\n") if line.strip()]
    except (OSError, ValueError):
        return []


def public_name(folder: Path, given: str | None = None) -> str:
    """What a model is called outside of this machine: its hub id, or its folder's own name where none is known.

    Where the folder lies says nothing to anyone else, and too much of this machine.

    Args:
        folder: Where it lies.
        given: What the task calls it: by its hub id, should the folder not have noted that.
    """
    is_id = given is not None and _HUB_ID.fullmatch(given) is not None
    return hub_id(folder) or (given if given is not None and is_id else folder.name)


def without_folders(value: Any) -> Any:
    """A value for a file that others will read, a name in place of each file or folder of this machine in it.

    Args:
        value: As JSON holds it; lists and objects are gone through.
    """
    if isinstance(value, dict):
        return {key: without_folders(one) for key, one in value.items()}
    if isinstance(value, list):
        return [without_folders(one) for one in value]
    if not isinstance(value, str):
        return value
    path = urlsplit(value).path if value.startswith("file:") else value
    return public_name(Path(path)) if path.startswith(("/", "~/")) else value


def is_from_hub(folder: Path, given: str) -> bool:
    """Whether a folder may be what a hub id names: it was pulled by that id, or nobody noted what it was pulled by."""
    return (hub_id(folder) or given).lower() == given.lower()
