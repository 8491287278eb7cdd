"""What is told of tasks afterwards, from Python: `client.monitoring`. Knows its endpoints and views; knows no HTTP."""

import datetime as dt
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypedDict, TypeVar, Unpack
from urllib.parse import quote

from pydantic import BaseModel, TypeAdapter, ValidationError

from tunesmith import views
from tunesmith.autopsy import Autopsy
from tunesmith.client.stream import frames
from tunesmith.client.transport import NotUnderstood, Transport, not_understood, pause_before
from tunesmith.errors import CannotConnect, InvalidInput, TunesmithError
from tunesmith.workspace import WorkspaceChange

View = TypeVar("View", bound=BaseModel)
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


class Monitoring:
    """`client.monitoring`: autopsies, logs in full, and the list of tasks as it changes."""

    def __init__(self, transport: Transport, patience: float) -> None:
        self._transport = transport
        self._patience = patience

    def autopsy(self, task_id: str) -> Autopsy:
        """Why a task ended, whose fault it was, what its workers said last, and what to do next."""
        raw = self._transport.call("GET", f"{_path(task_id)}/autopsy")
        return self._view(Autopsy, raw)

    def search_logs(self, task_id: str, **wanted: Unpack[LogFilter]) -> Iterator[views.LogView]:
        """The lines of a task's whole log that match, oldest first, page by page as they are read."""
        query = _query(wanted) | {"limit": 1000, "after": 0}
        while True:
            raw = self._transport.call("GET", f"{_path(task_id)}/logs:search", query=query)
            page = self._view(views.Page[views.LogView], raw)
            yield from page.data
            if not page.has_more or page.next is None:
                return
            query["after"] = int(page.next)

    def save_log(self, task_id: str, file: Path, **wanted: Unpack[LogFilter]) -> int:
        """Write a task's log to a file as text: all of it, or what matches.

        The file is there only once it is complete.

        Returns:
            Its bytes.
        """
        part = file.with_name(f"{file.name}.part")
        size = 0
        try:
            with (
                self._transport.open_file(f"{_path(task_id)}/logs:download", _query(wanted)) as chunks,
                part.open("wb") as stream,
            ):
                for chunk in chunks:
                    size += stream.write(chunk)
            part.replace(file)
        finally:
            part.unlink(missing_ok=True)
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

    def _view(self, view: type[View], raw: Any) -> View:
        try:
            return view.model_validate(raw)
        except ValidationError as error:
            raise not_understood(self._transport.url) from error


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


def _path(task_id: str) -> str:
    if task_id in {"", ".", ".."}:  # these would lead to another endpoint
        raise InvalidInput("A task's id is needed.", hint="`tunesmith tasks list` shows them.")
    return f"/v1/tasks/{quote(task_id, safe='')}"
