"""Keeps the parts' logs from growing without end. Knows files; knows no part."""

from pathlib import Path

_LOG_BYTES = 20 * 2**20
_LOG_KEPT = 3


def rotate(log: Path) -> None:
    """Put a log that has grown large aside, keeping the newest few."""
    if not log.exists() or log.stat().st_size < _LOG_BYTES:
        return
    for number in range(_LOG_KEPT - 1, 0, -1):
        older = log.with_name(f"{log.name}.{number}")
        if older.exists():
            older.replace(log.with_name(f"{log.name}.{number + 1}"))
    log.replace(log.with_name(f"{log.name}.1"))
