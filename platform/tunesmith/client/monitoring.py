"""What is told of tasks afterwards, from Python: `client.monitoring`. Knows its endpoints and views; knows no HTTP."""

import datetime as dt
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypedDict, Unpack

from pydantic import TypeAdapter, ValidationError

from tunesmith import views
from tunesmith.autopsy import Autopsy
from tunesmith.client.calls import Calls
from tunesmith.client.stream import frames
from tunesmith.client.transport import NotUnderstood, Transport, pause_before
from tunesmith.errors import CannotConnect, TunesmithError
from tunesmith.removal import new_file
from tunesmith.workspace import WorkspaceChange

_CHANGE: TypeAdapter[WorkspaceChange] = TypeAdapter(WorkspaceChange)


class LogFilter(TypedDict, total=False):
    """Which lines of a log are wanted; what is left out does not narrow it."""

    text: str | None
    """A part of the line, in any case."""
    level: Sequence[str] | None
    source: Sequence[str] | None
    """Who said it: `worker-0`, `driver`, `platform`."""
    since: dt.datetime | None
    until: dt.datetime | None


class Monitoring(Calls):
    """`client.monitoring`: autopsies, logs in full, and the list of tasks as it changes."""

    def __init__(self, transport: Transport, patience: float) -> None:
        super().__init__(transport)
        self._patience = patience

    def autopsy(self, task: str) -> Autopsy:
        """Why a task ended, whose fault it was, what its workers said last, and what to do next."""
        return self._get(Autopsy, f"{self._path(task)}/autopsy")

    def search_logs(self, task: str, **wanted: Unpack[LogFilter]) -> Iterator[views.LogView]:
        """The lines of a task's whole log that match, oldest first, page by page as they are read."""
        return self._pages(views.LogView, f"{self._path(task)}/logs:search", 1000, _query(wanted))

    def save_log(self, task: str, file: Path, *, overwrite: bool = False, **wanted: Unpack[LogFilter]) -> int:
        """Write a task's log to a file as text: all of it, or what matches.

        The file is there only once it is complete.

        Raises:
            NotOurs: The file is there, and `overwrite` is not set.

        Returns:
            Its bytes.
        """
        size = 0
        with (
            new_file(file, overwrite=overwrite) as stream,
            self._transport.open_file(f"{self._path(task)}/logs:download", _query(wanted)) as chunks,
        ):
            for chunk in chunks:
                size += stream.write(chunk)
        return size

    def tasks(self) -> Iterator[WorkspaceChange]:
        """The list of tasks, live and without an end: the whole list first, then every change.

        Connects again by itself when the server restarts, breaks off or falls silent; where it has to, the whole list
        comes again and takes the place of what was known.

        Raises:
            CannotConnect: No server for `patience` seconds.
        """
        position, tries, away_since = "", 0, None
        while True:
            try:
                headers = {"Last-Event-ID": position} if position else {}
                with self._transport.open_stream("/v1/stream", headers) as chunks:
                    away_since = None
                    for frame in frames(chunks):
                        change = _change(frame.data)
                        if change is not None:
                            position, tries = change.position, 0
                            yield change
            except TunesmithError as error:
                if (error.status < 500 and not error.retryable) or isinstance(error, NotUnderstood):
                    raise
                moment = time.monotonic()
                away_since = moment if away_since is None else away_since
                if moment - away_since > self._patience:
                    raise CannotConnect(
                        f"No server at `{self._transport.url}` for {self._patience:g} s.",
                        hint="The tasks themselves go on. Look again once the server is back.",
                    ) from error
            time.sleep(pause_before(tries))
            tries += 1


def _change(data: str) -> WorkspaceChange | None:
    """A change; None when it is of a kind that this client does not know yet."""
    try:
        return _CHANGE.validate_json(data)
    except ValidationError:
        return None


def _query(wanted: Mapping[str, Any]) -> dict[str, Any]:
    since, until = wanted.get("since"), wanted.get("until")
    return {
        "q": wanted.get("text") or None,
        "level": list(wanted.get("level") or ()) or None,
        "source": list(wanted.get("source") or ()) or None,
        "since": since.astimezone().isoformat() if since else None,
        "until": until.astimezone().isoformat() if until else None,
    }
