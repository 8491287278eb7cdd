"""How the platform's processes log: lines for people, or JSON objects for a collector; never a secret in either.

A line says for which request or item of a loop it was written, where it was for one: `serving` sets that, and whatever
is called meanwhile, in threads too, finds it. Knows logging; knows nothing of requests and loops.
"""

import contextlib
import datetime as dt
import json
import logging
import os
import re
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from enum import StrEnum
from types import MappingProxyType
from typing import Any

from tunesmith.secret_values import HidingFormatter, hide, known_secrets

_TEXT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
_TASK = re.compile(r"^task-[0-9a-z]+$")


class LogFormat(StrEnum):
    """How a line is written."""

    TEXT = "text"
    JSON = "json"


_about: ContextVar[Mapping[str, Any]] = ContextVar("about", default=MappingProxyType({}))


@contextlib.contextmanager
def serving(**about: Any) -> Iterator[None]:
    """Let every line that is written meanwhile say for what it was.

    Args:
        about: Such as `request_id` or `item`; names of tasks are told as `task_id` too.
    """
    token = _about.set({**_about.get(), **about})
    try:
        yield
    finally:
        _about.reset(token)


def configure(form: LogFormat, environment: Mapping[str, str] = os.environ) -> None:
    """Have this process log to its standard error.

    Args:
        form: How.
        environment: Its variables: what those hold that are named like secrets is hidden wherever it stands.
    """
    handler = logging.StreamHandler()
    known = known_secrets(environment)
    handler.setFormatter(JsonLines(known) if form is LogFormat.JSON else Lines(known))
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    logging.getLogger("httpx").setLevel(logging.WARNING)


class Lines(HidingFormatter):
    """A line for people."""

    def __init__(self, known: frozenset[str] = frozenset()) -> None:
        super().__init__(_TEXT, known)


class JsonLines(logging.Formatter):
    """One JSON object a line: when, how bad, who, what, and for which request, item and task."""

    def __init__(self, known: frozenset[str] = frozenset()) -> None:
        super().__init__()
        self._known = known

    def format(self, record: logging.LogRecord) -> str:
        """See `logging.Formatter.format`."""
        about = {**_about.get(), **getattr(record, "about", {})}
        if "task_id" not in about and _TASK.match(str(about.get("item", ""))):
            about["task_id"] = about["item"]
        said = {
            "time": dt.datetime.fromtimestamp(record.created, dt.UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            "process": record.process,
            "thread": record.threadName,
            **about,
        }
        if record.exc_info:
            said["error"] = self.formatException(record.exc_info)
        return json.dumps(
            {
                name: hide(value, self._known) if isinstance(value, str) else value
                for name, value in said.items()
            },
            ensure_ascii=False,
            default=str,
        )
