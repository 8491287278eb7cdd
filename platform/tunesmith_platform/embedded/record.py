"""What is remembered of the platform between two starts: one small JSON file, written by the supervisor alone."""

from pathlib import Path

from pydantic import BaseModel

from tunesmith.home import Home


class PartRecord(BaseModel):
    """What is remembered of a part between two starts."""

    pid: int | None = None
    ticks: int = 0  # when the process began, in clock ticks since boot: setting the clock does not move it
    started_at: float = 0
    restarts: int = 0
    falls: int = 0  # restarts since it last ran well
    state: str = "starting"
    message: str = ""


class Record(BaseModel):
    """What is remembered of the platform between two starts."""

    ports: dict[str, int] = {}
    ray_cpus: int | None = None
    supervisor: PartRecord = PartRecord()
    parts: dict[str, PartRecord] = {}


def read_record(home: Home) -> Record:
    """What is remembered; nothing, where nothing readable is."""
    try:
        return Record.model_validate_json(home.parts.read_bytes())
    except (OSError, ValueError):
        return Record()


def write_record(home: Home, record: Record) -> None:
    """Remember; a reader sees the old record or the new one.

    Raises:
        OSError: The state folder cannot be written.
    """
    part = home.parts.with_suffix(".part")
    part.write_text(record.model_dump_json(indent=1))
    part.replace(home.parts)


def is_ended(home: Home) -> bool:
    """Whether the user ended the platform, with `tunesmith down`: then nobody starts any of it but `tunesmith up`."""
    return _ended(home).exists()


def note_ended(home: Home, ended: bool) -> None:
    """Note that the user ends the platform, or starts it."""
    if ended:
        _ended(home).touch()
    else:
        _ended(home).unlink(missing_ok=True)


def _ended(home: Home) -> Path:
    return home.root / "ended"
