"""From Python's logging to `log` events, at a bounded rate.

Knows logging; knows nothing of training.
"""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

from tunesmith.events import MAX_LOG_CHARACTERS, LogLine
from tunesmith.secret_values import HidingFormatter, hide, known_secrets
from tunesmith_jobs.outlet import Outlet

_BURST = 200
_PER_SECOND = 20.0
_Level = Literal["debug", "info", "warning", "error"]


def log_to_output() -> None:
    """Have a driver's process log to its output, which Ray keeps as the job's log: without secrets."""
    handler = logging.StreamHandler()
    handler.setFormatter(HidingFormatter("%(asctime)s %(name)s %(message)s", known_secrets()))
    logging.basicConfig(level=logging.INFO, handlers=[handler])


def log_line(level: _Level, message: str, source: str) -> LogLine:
    """A log event without what looks like a secret, cut to what is kept: the end rather than the start."""
    message = hide(message)
    if len(message) > MAX_LOG_CHARACTERS:
        message = "… " + message[-(MAX_LOG_CHARACTERS - 2) :]
    return LogLine(level=level, message=message, source=source)


def _level_of(number: int) -> _Level:
    if number >= logging.ERROR:
        return "error"
    if number >= logging.WARNING:
        return "warning"
    return "info" if number >= logging.INFO else "debug"


class _Handler(logging.Handler):
    def __init__(self, outlet: Outlet, source: str) -> None:
        super().__init__()
        self._outlet, self._source = outlet, source
        self._tokens, self._filled_at = float(_BURST), time.monotonic()
        self._left_out = 0

    def emit(self, record: logging.LogRecord) -> None:
        now = time.monotonic()
        self._tokens = min(float(_BURST), self._tokens + (now - self._filled_at) * _PER_SECOND)
        self._filled_at = now
        if self._tokens < 1:
            self._left_out += 1
            return
        self._tokens -= 1
        try:
            text = self.format(record)
            if self._left_out:
                text = f"({self._left_out} lines left out) {text}"
                self._left_out = 0
            self._outlet.emit(log_line(_level_of(record.levelno), text, self._source))
        except Exception:
            self.handleError(record)


@contextmanager
def captured(outlet: Outlet, level: str, source: str) -> Iterator[None]:
    """Bring what our code and the training libraries log to the task's log while the context lasts."""
    number = logging.getLevelNamesMapping()[level.upper()]
    # At `info` the libraries print whole configurations: below a warning they speak only when debugging.
    levels = {"tunesmith_jobs": number, "tunesmith": number}
    for name in ("transformers", "peft", "accelerate"):
        levels[name] = number if number <= logging.DEBUG else max(number, logging.WARNING)
    handler = _Handler(outlet, source)
    before = {name: logging.getLogger(name).level for name in levels}
    for name, value in levels.items():
        logging.getLogger(name).setLevel(value)
        logging.getLogger(name).addHandler(handler)
    # What goes wrong with reporting must not be reported.
    quiet = logging.getLogger("tunesmith_jobs.report")
    was_propagating, quiet.propagate = quiet.propagate, False
    try:
        yield
    finally:
        quiet.propagate = was_propagating
        for name, value in before.items():
            logging.getLogger(name).setLevel(value)
            logging.getLogger(name).removeHandler(handler)
