"""A process of an attempt writes itself down, and gives a sign of life: its record's file is touched once a second.

The sign comes from a thread of Python: it stays away while the process is stopped, hangs in a call that keeps Python
from running, or waits for a folder that does not answer. A call that lets Python run keeps no sign away, however long
it takes. Knows files; knows nothing of who looks at them (`silence`).
"""

import contextlib
import logging
import os
import threading
from collections.abc import Iterator
from pathlib import Path

from tunesmith.job import AttemptDocument
from tunesmith.processes import DONE, record_of_this

BEAT_SECONDS = 1.0
_log = logging.getLogger("tunesmith_jobs.alive")


@contextlib.contextmanager
def alive(document: AttemptDocument, worker: int | None) -> Iterator[None]:
    """Give signs of life while the context lasts. The record stays: it says who is to be gone before the attempt is.

    Args:
        document: Of the attempt.
        worker: Which worker this process is; None: the driver.
    """
    record = record_of_this(document.attempt, worker)
    if record is None:
        yield
        return
    path = Path(document.work_dir) / record.name
    over = threading.Event()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part")
        part.write_text(record.model_dump_json())
        part.replace(path)
    except OSError as error:  # a full disk keeps nobody from training
        _log.warning("this process is not watched: %s", error)
        yield
        return

    def beat() -> None:
        while not over.wait(BEAT_SECONDS):
            with contextlib.suppress(OSError):
                os.utime(path)

    thread = threading.Thread(target=beat, name="alive", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        with contextlib.suppress(OSError):
            path.rename(path.with_suffix(DONE))
