"""Which model of the hub a folder was pulled as."""

import re
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

_HUB_ID = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")
HUB_ID_FILE = ".hub-id"
"""Holds the id that a model was pulled by."""


def hub_id(folder: Path) -> str | None:
    """The hub id that a model was pulled by; None where nobody noted one."""
    try:
        return (folder / HUB_ID_FILE).read_text(encoding="utf-8").strip()[:200] or None
    except (OSError, ValueError):
        return None


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
