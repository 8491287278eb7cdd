"""The processes of an attempt, as each wrote itself down where it runs: its driver and its workers.

A record lies in the attempt's work folder; its file is touched about once a second for as long as its process works.
So whoever shares the folder finds them again, sees whether they live, and ends them for certain: a pid alone may be
given to a stranger, together with when the process began, and since which boot, it is this one or nobody. Knows /proc;
where a system has none no process is recognised, and so none is ended.
"""

import contextlib
import os
import signal
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

_STATE, _USER_TICKS, _SYSTEM_TICKS, _BEGAN = 0, 11, 12, 19
"""Places in /proc/PID/stat behind the process's name."""
_GONE = frozenset("ZXx")
DONE = ".done"
"""What the record's file of a process that has done its work ends in."""


class ProcessRecord(BaseModel):
    """A process of an attempt, as it wrote itself down."""

    model_config = ConfigDict(extra="ignore")
    attempt: int
    worker: int | None = Field(None, description="Which worker; null: the driver.")
    pid: int
    ticks: int = Field(description="When it began, in clock ticks since the boot.")
    boot: str = Field(description="Names the boot of its machine.")
    node: str = Field("", description="The name of its machine.")

    @property
    def name(self) -> str:
        """Its file's name: one a process, so that one that was started again hides none before it."""
        who = "driver" if self.worker is None else f"worker-{self.worker}"
        return f"process-{self.attempt}-{who}-{self.pid}.json"

    @property
    def words(self) -> str:
        """What to call it."""
        who = "The driver" if self.worker is None else f"Worker {self.worker}"
        return f"{who} (process {self.pid} on {self.node})"


@dataclass(frozen=True)
class Pulse:
    """What the system says of a process."""

    state: str
    """As in /proc: `R` runs, `S` sleeps, `D` waits for a device, `T` is stopped."""
    began: int
    """Clock ticks since the boot."""
    processor: int
    """Processor time it has taken, its threads included, in clock ticks."""


def pulse_of(pid: int) -> Pulse | None:
    """What the system says of a process; None when there is none, or only what its parent has not collected yet."""
    try:
        # The name, in parentheses, may hold anything; what follows it is numbers.
        fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
        state = fields[_STATE]
        processor = int(fields[_USER_TICKS]) + int(fields[_SYSTEM_TICKS])
        return None if state in _GONE else Pulse(state, int(fields[_BEGAN]), processor)
    except (OSError, IndexError, ValueError):
        return None


def boot_of() -> str:
    """Names this machine's boot; empty where the system does not say."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def record_of_this(attempt: int, worker: int | None) -> ProcessRecord | None:
    """The record of the process that asks; None on a system that does not say when it began."""
    pulse, boot = pulse_of(os.getpid()), boot_of()
    if pulse is None or not boot:
        return None
    node = os.uname().nodename
    return ProcessRecord(
        attempt=attempt, worker=worker, pid=os.getpid(), ticks=pulse.began, boot=boot, node=node
    )


def records_in(work_dir: Path, attempt: int, *, with_done: bool = False) -> list[ProcessRecord]:
    """What an attempt's processes wrote down in a work folder; a file that is none of theirs is left out.

    Args:
        work_dir: The folder.
        attempt: Which one.
        with_done: Also those that have done their work, and may be there still.
    """
    found = []
    for suffix in (".json", DONE) if with_done else (".json",):
        for path in sorted(work_dir.glob(f"process-{attempt}-*{suffix}")):
            with contextlib.suppress(OSError, ValidationError):
                record = ProcessRecord.model_validate_json(path.read_bytes())
                if record.name == path.with_suffix(".json").name:
                    found.append(record)
    return found


def pulse_of_record(record: ProcessRecord) -> Pulse | None:
    """What the system says of the very process that a record is of; None when it is gone, or on another machine."""
    pulse = pulse_of(record.pid)
    is_it = pulse is not None and pulse.began == record.ticks and record.boot == boot_of()
    return pulse if is_it else None


def end(record: ProcessRecord) -> bool:
    """End the very process that a record is of, also when it is stopped; never the one that asks.

    Returns:
        Whether it was there to be told.
    """
    if record.pid == os.getpid():
        return False
    try:
        held = os.pidfd_open(record.pid)
    except (AttributeError, OSError):  # gone, or a system without
        return False
    try:
        # What is held cannot become another process any more: who it is is asked only now.
        if pulse_of_record(record) is None:
            return False
        signal.pidfd_send_signal(held, signal.SIGKILL)
    except OSError:
        return False
    finally:
        os.close(held)
    return True
