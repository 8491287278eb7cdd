"""Which model of the hub a folder was pulled as."""

from pathlib import Path

HUB_ID_FILE = ".hub-id"
"""Holds the id that a model was pulled by."""


def hub_id(folder: Path) -> str | None:
    """The hub id that a model was pulled by; None where nobody noted one."""
    try:
        return (folder / HUB_ID_FILE).read_text(encoding="utf-8").strip()[:200] or None
    except (OSError, ValueError):
        return None


def is_from_hub(folder: Path, given: str) -> bool:
    """Whether a folder may be what a hub id names: it was pulled by that id, or nobody noted what it was pulled by."""
    return (hub_id(folder) or given).lower() == given.lower()
