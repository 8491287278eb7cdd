"""What the API asks its workers of an evaluation's result: itself, figures made anew, the report, the tables.

They are passed on as they come, and kept by the content of the result and what was asked of it: a page that is opened
again costs nothing. Large ones are not kept, and computed each time.
"""

import contextlib
import json
import threading
from collections import OrderedDict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from tunesmith.errors import CheckFailed
from tunesmith.evaluation.results import RESULT_FILE
from tunesmith.storage import open_storage
from tunesmith_platform.sandbox.pool import Limits
from tunesmith_platform.sandbox.shared_workers import ask

_KEPT_BYTES = 64 * 2**20
_LARGEST_KEPT_BYTES = 16 * 2**20
_LIMITS = Limits(seconds=120.0, answer_bytes=512 * 2**20)
"""Ten times what 10 000 samples of 8 checkpoints take."""


class StoredResult(NamedTuple):
    """Where a task's result lies, and what it is."""

    task_id: str
    uri: str
    sha256: str


class Results:
    """Answers on results; small ones are kept."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: OrderedDict[str, bytes] = OrderedDict()

    def ask(self, name: str, result: StoredResult, **more: Any) -> bytes:
        """Have a function of `result_work` called on a result.

        Args:
            name: Its name there.
            result: The result.
            more: What it is given besides.

        Raises:
            Unavailable: The storage does not give the result back as it was stored, or too much is asked for.
            CheckFailed: It is too large for what a worker may take.
            InvalidInput: What was asked for is not in it.
        """
        key = json.dumps([name, result.sha256, more], sort_keys=True)
        with self._lock:
            if (known := self._kept.get(key)) is not None:
                self._kept.move_to_end(key)
                return known
        found = _asked(name, result, more)
        if len(found) <= _LARGEST_KEPT_BYTES:
            with self._lock:
                self._kept[key] = found
                size = sum(map(len, self._kept.values()))
                while size > _KEPT_BYTES:
                    size -= len(self._kept.popitem(last=False)[1])
        return found


def _asked(name: str, result: StoredResult, more: dict[str, Any]) -> bytes:
    storage = open_storage(result.uri)
    with TemporaryDirectory() as scratch:
        file = storage.local(RESULT_FILE)
        if file is None:
            file = Path(scratch) / RESULT_FILE
            with contextlib.suppress(FileNotFoundError):  # the worker says that it is gone
                storage.get_file(RESULT_FILE, file)
        given = {"file": str(file), "task_id": result.task_id, "sha256": result.sha256, **more}
        try:
            return ask(name, result.uri, limits=_LIMITS, **given)
        except CheckFailed as error:
            if error.details.get("bound") not in ("seconds", "memory", "answer"):
                raise
            raise CheckFailed(
                "The result is too large to be read here.",
                hint=f"Report, tables and result lie in `{result.uri}`.",
                details=error.details,
            ) from error
