"""Asks a served model over HTTP, at the address that the settings name and nowhere else.

Knows the wire (`tunesmith.chat.wire`) and httpx; knows no database. What is asked is written into no log.
"""

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import httpx
from pydantic import BaseModel, ValidationError

from tunesmith.chat.wire import LINE, STATUS, TOKEN_HEADER, Ask, End, Failed, Line, Refused, ReplicaStatus
from tunesmith.errors import InvalidInput, NotFound, TunesmithError, Unavailable
from tunesmith_platform.chats.service import Place

MAX_LINE_BYTES = 2**20
"""A longer line is none of a replica's: a piece is a few tokens."""
CUT_OFF = "cut_off"
"""The code of an answer that ended before it was whole."""
_CONNECT_SECONDS = 5.0
_VERB_SECONDS = 60.0
_REFUSAL_BYTES = 64 * 1024
_ERRORS: dict[str, type[TunesmithError]] = {
    "invalid_input": InvalidInput,
    "context_length_exceeded": InvalidInput,
    "model_not_found": NotFound,
    "busy": Unavailable,
    "no_memory": Unavailable,
}


_FIELDS = {"context_length_exceeded": "messages", "model_not_found": "model"}


class NotReached(Exception):
    """Nobody took the question: nothing was computed, and asking again is safe."""


class Replica:
    """Asks replicas; one for an event loop.

    Args:
        silence_seconds: After so long without a line a replica is taken for lost.
    """

    def __init__(self, silence_seconds: float) -> None:
        self._silence = silence_seconds
        self._client: httpx.AsyncClient | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    async def close(self) -> None:
        """Close the connections."""
        client, self._client = self._client, None
        if client is not None and self._loop is asyncio.get_running_loop():
            await client.aclose()

    async def ask(self, place: Place, ask: Ask) -> AsyncGenerator[Line, None]:
        """What a replica says to a question, to its end. Closing this ends the call at once, and so the computing.

        Raises:
            NotReached: It did not take the question.
            TunesmithError: It refuses it.
            Unavailable: It was cut off in the middle of its answer.
        """
        is_begun = False
        try:
            # A connection of its own: closing it is what tells the replica that nobody listens any more.
            async with self._connections().stream(
                "POST",
                f"{place.url}/ask",
                content=ask.model_dump_json(exclude_defaults=True),
                headers={TOKEN_HEADER: place.token, "Content-Type": "application/json"},
            ) as response:
                if response.status_code != 200:
                    raise _refusal(response.status_code, await _body(response))
                is_begun = True
                async for line in _lines(response):
                    if isinstance(line, Refused):
                        raise error_of(line)
                    yield line
                    if isinstance(line, End | Failed):
                        return
        except httpx.HTTPError as error:
            if is_begun:
                raise _cut(error) from error
            raise NotReached(type(error).__name__) from error
        raise _cut(None)

    async def status(self, place: Place) -> ReplicaStatus | None:
        """What a replica does; None where it says nothing."""
        try:
            return await self._verb(place, "GET", "status", None)
        except (TunesmithError, NotReached):
            return None

    async def verb(self, place: Place, path: str, body: BaseModel) -> ReplicaStatus:
        """Carry out a verb on a replica.

        Raises:
            NotReached: It does not answer.
            TunesmithError: It refuses.
        """
        return await self._verb(place, "POST", path, body)

    async def _verb(self, place: Place, method: str, path: str, body: BaseModel | None) -> ReplicaStatus:
        try:
            response = await self._connections().request(
                method,
                f"{place.url}/{path}",
                content=body.model_dump_json() if body is not None else None,
                headers={TOKEN_HEADER: place.token, "Content-Type": "application/json"},
                timeout=httpx.Timeout(_VERB_SECONDS, connect=_CONNECT_SECONDS),
            )
        except httpx.HTTPError as error:
            raise NotReached(type(error).__name__) from error
        if response.status_code != 200:
            raise _refusal(response.status_code, response.content)
        try:
            return ReplicaStatus.model_validate_json(response.content)
        except ValidationError as error:
            raise NotReached("no status") from error

    def _connections(self) -> httpx.AsyncClient:
        loop = asyncio.get_running_loop()
        if self._client is None or self._loop is not loop:
            timeout = httpx.Timeout(self._silence, connect=_CONNECT_SECONDS)
            limits = httpx.Limits(max_connections=None, max_keepalive_connections=32)
            self._client = httpx.AsyncClient(timeout=timeout, limits=limits, trust_env=False)
            self._loop = loop
        return self._client


def error_of(refused: Refused) -> TunesmithError:
    """A refusal as an error."""
    details: dict[str, Any] = {"code": refused.code}
    if refused.retry_after is not None:
        details["retry_after"] = refused.retry_after
    details |= refused.model_dump(include={"prompt_tokens", "context_tokens"}, exclude_none=True)
    return _ERRORS.get(refused.code, Unavailable)(
        refused.message, hint=refused.hint, field=refused.field or _FIELDS.get(refused.code), details=details
    )


def _refusal(status: int, body: bytes) -> Exception:
    """What is raised for a response that is no answer: what is no refusal of a replica's comes from before it."""
    try:
        refused = Refused.model_validate_json(body)
    except ValidationError:
        return NotReached(f"status {status}")
    # A token that is not known is another attempt's: its place is looked up anew.
    return NotReached("unauthorized") if STATUS[refused.code] == 401 else error_of(refused)


def _cut(error: Exception | None) -> Unavailable:
    why = "stood still for too long" if isinstance(error, httpx.TimeoutException) else "was cut off"
    return Unavailable(
        f"The answer {why}: it is not whole.",
        hint="The model is started again by itself; ask once more.",
        details={"code": CUT_OFF},
    )


async def _body(response: httpx.Response) -> bytes:
    found = b""
    async for piece in response.aiter_bytes():
        found += piece
        if len(found) > _REFUSAL_BYTES:
            break
    return found


async def _lines(response: httpx.Response) -> AsyncGenerator[Line, None]:
    """The lines of a response; one that is none of ours ends it.

    Raises:
        Unavailable: A line is too long, or none of ours.
    """
    rest = b""
    async for piece in response.aiter_bytes():
        *whole, rest = (rest + piece).split(b"\n")
        for line in whole:
            if line.strip():
                yield _line(line)
        if len(rest) > MAX_LINE_BYTES:
            raise _cut(None)


def _line(line: bytes) -> Line:
    try:
        # What is no text, such as half of a surrogate pair, is none of ours either.
        return LINE.validate_json(line)
    except ValueError as error:
        raise _cut(None) from error
