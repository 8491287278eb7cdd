"""A task's live stream: server-sent events, read so that a reconnect leaves no gap and no duplicate.

Knows the wire format (WHATWG HTML, 9.2 Server-sent events) and when to connect again; knows no other endpoint.
"""

import json
import re
import time
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from pydantic import ValidationError

from tunesmith.client.transport import NotUnderstood, Transport, pause_before
from tunesmith.errors import CannotConnect, TunesmithError, Unavailable
from tunesmith.views import EventView

MAX_LINE_BYTES = 8 * 2**20
"""A longer line is no event of ours: an event holds one log line or one step's measurements."""
_LINE_END = re.compile(rb"\r\n|\n|\r")


class Frame(NamedTuple):
    """One event on the wire."""

    event: str
    data: str


def lines_of(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Lines without their ends. Only CR and LF end a line: text may hold any other of Unicode's separators."""
    rest = b""
    for chunk in chunks:
        rest += chunk
        # A CR at the very end may be half of a CRLF.
        tail = b"\r" if rest.endswith(b"\r") else b""
        *whole, rest = _LINE_END.split(rest.removesuffix(tail) if tail else rest)
        yield from whole
        rest += tail
        if len(rest) > MAX_LINE_BYTES:
            raise NotUnderstood(f"The stream holds a line over {MAX_LINE_BYTES} bytes.")


def frames(chunks: Iterable[bytes]) -> Iterator[Frame]:
    """The events in a stream's bytes. One that is cut off at the end is dropped: it comes again."""
    event = ""
    data: list[str] = []
    for line in lines_of(chunks):
        if not line:
            if data:
                yield Frame(event or "message", "\n".join(data))
            event, data = "", []
            continue
        name, _, value = line.decode(errors="replace").partition(":")
        value = value.removeprefix(" ")
        if name == "event":
            event = value
        elif name == "data":
            data.append(value)


def readable(raw: Any) -> EventView | None:
    """An event; None when it is of a kind that this client does not know yet."""
    try:
        return EventView.model_validate(raw)
    except ValidationError:
        return None


def follow(transport: Transport, path: str, after: int, patience: float) -> Iterator[EventView]:
    """A task's events after number `after`, each once and in order, until the task has ended.

    Connects again by itself when the server restarts, breaks off or falls silent.

    Args:
        transport: How to reach the server.
        path: Of the stream.
        after: Number of the last event already read.
        patience: Seconds without any server after which it gives up.

    Raises:
        CannotConnect: No server for `patience` seconds.
        TunesmithError: What the server refuses (no such task, a wrong key).
    """
    last, tries = after, 0
    away_since: float | None = None
    while True:
        try:
            with transport.open_stream(path, {"Last-Event-ID": str(last)}) as chunks:
                away_since = None
                for frame in frames(chunks):
                    if frame.event == "end":
                        return
                    number, event = _read(frame)
                    if number <= last:
                        continue
                    last, tries = number, 0
                    if event is not None:
                        yield event
        except TunesmithError as error:
            if (error.status < 500 and not error.retryable) or isinstance(error, NotUnderstood):
                raise
            moment = time.monotonic()
            away_since = moment if away_since is None else away_since
            if moment - away_since > patience:
                raise CannotConnect(
                    f"No server at `{transport.url}` for {patience:g} s.",
                    hint="The task itself goes on. Follow it again with `tunesmith watch` once the server is back.",
                ) from error
        time.sleep(pause_before(tries))
        tries += 1


def _read(frame: Frame) -> tuple[int, EventView | None]:
    try:
        raw = json.loads(frame.data)
        return int(raw["n"]), readable(raw)
    except (ValueError, KeyError, TypeError) as error:
        raise Unavailable("The stream holds something that is no event.") from error
