"""Carries one HTTP call to the control plane: finds the server, proves who asks, tries again, words the errors.

Knows httpx, keys and retries; knows no endpoint. The key is held by the authentication object alone, so that no
`repr`, no header dump and no error shows it.
"""

import contextlib
import ipaddress
import os
import random
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import httpx
from pydantic import ValidationError

import tunesmith
from tunesmith.errors import (
    CannotConnect,
    Conflict,
    ErrorResponse,
    InvalidInput,
    NotFound,
    TooLarge,
    TooManyRequests,
    TunesmithError,
    Unauthorized,
    Unavailable,
    from_body,
)
from tunesmith.home import Home
from tunesmith.versions import HEADER, skew_of_server

SILENCE_SECONDS = 30.0
"""A stream that is silent for so long is taken for dead: the server sends a heartbeat every ten seconds."""
_CONNECT_SECONDS = 5.0
_ANSWER_SECONDS = 30.0
_READING_SECONDS = 300.0
"""Large files are read whole before a task is entered."""
_AT_ONCE = (":stop", ":save", ":pin", ":unpin", ":test", "/grants", "/mlflow-link", ":link", "/links")
"""Ends of the paths for which the server reads no file: an answer that does not come soon does not come."""
_LONGEST_PAUSE = 2.0
_BY_STATUS: dict[int, type[TunesmithError]] = {
    401: Unauthorized,
    404: NotFound,
    409: Conflict,
    413: TooLarge,
    422: InvalidInput,
    429: TooManyRequests,
}

_OF_ANOTHER_VERSION = (404, 405, 422)
"""What an older server answers to what it does not know."""

Query = Mapping[str, str | int | float | bool | Sequence[str] | None]


class BearerAuth(httpx.Auth):
    """Puts the key on a request, and shows it nowhere."""

    def __init__(self, key: str) -> None:
        self._key = key

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """See `httpx.Auth.auth_flow`."""
        request.headers["Authorization"] = f"Bearer {self._key}"
        yield request

    def __repr__(self) -> str:
        return "BearerAuth(***)"


def find_server(url: str | None, api_key: str | None, home: Home) -> tuple[str, str | None]:
    """Where the platform answers, and the key for it.

    What is not given comes from `TUNESMITH_URL` and `TUNESMITH_API_KEY`, then from the state folder. The state
    folder's key goes to the state folder's own server alone, never to an address from elsewhere.

    Raises:
        CannotConnect: No address is given, and no platform was started in the state folder.
        InvalidInput: The address is no HTTP URL.
    """
    url = url or os.environ.get("TUNESMITH_URL") or None
    api_key = api_key or os.environ.get("TUNESMITH_API_KEY") or None
    if url is None:
        own = url = home.connection().api_url
    else:
        try:
            own = home.connection().api_url
        except CannotConnect:
            own = ""
    if api_key is None and url.rstrip("/") == own.rstrip("/"):
        with contextlib.suppress(OSError):
            api_key = home.api_key_file.read_text().strip() or None
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise InvalidInput(f"`{url}` is not an HTTP address.", hint="As in `http://127.0.0.1:8000`.")
    return url.rstrip("/"), api_key


def shown(url: str) -> str:
    """An address without a user name and password in it."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def is_loopback(url: str) -> bool:
    """Whether an address is this machine's own."""
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class Transport:
    """Calls to one server.

    Args:
        url: Where it answers.
        api_key: Who asks; None sends no key.
        retry_seconds: How long a call that may be repeated is repeated while the server is away or busy.
        timeout_seconds: How long one answer may take; None allows more to what has files read.
    """

    def __init__(
        self,
        url: str,
        api_key: str | None,
        *,
        retry_seconds: float = 8.0,
        timeout_seconds: float | None = None,
    ) -> None:
        self.url = shown(url)
        self._retry_seconds = retry_seconds
        # The server ends the reading of a file when its client leaves: who asks again has it begun again.
        self._reading_seconds = timeout_seconds or _READING_SECONDS
        self._http = httpx.Client(
            base_url=url,
            auth=BearerAuth(api_key) if api_key else None,
            timeout=httpx.Timeout(timeout_seconds or _ANSWER_SECONDS, connect=_CONNECT_SECONDS),
            headers={"User-Agent": f"tunesmith/{tunesmith.__version__}", HEADER: tunesmith.__version__},
            # A proxy of the environment must never see what goes to this machine's own server.
            trust_env=not is_loopback(url),
        )

    def __repr__(self) -> str:
        return f"Transport({self.url!r})"

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def call(
        self,
        method: str,
        path: str,
        *,
        query: Query | None = None,
        body: Any = None,
        content: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        repeats: bool = True,
        on_retry: Callable[[TunesmithError], None] | None = None,
    ) -> Any:
        """The JSON of a success; None where it has no body.

        The call is repeated while the server is away or busy, so it must be one that may safely come twice.

        Args:
            method: The HTTP method.
            path: From the server's root.
            query: Its parameters; None leaves one out.
            body: What is sent as JSON.
            content: What is sent as it is, instead.
            headers: Further headers.
            repeats: Whether to try again at all.
            on_retry: Told of each failure that is tried again.

        Raises:
            CannotConnect: Nothing answers.
            TunesmithError: What the server answered.
        """
        deadline = time.monotonic() + (self._retry_seconds if repeats else 0)
        tries = 0
        while True:
            try:
                return self._once(method, path, query, body, headers, content=content)
            except (Unavailable, TooManyRequests) as error:
                pause = max(pause_before(tries), _retry_after(error))
                if time.monotonic() + pause > deadline:
                    raise
                if on_retry:
                    on_retry(error)
            time.sleep(pause)
            tries += 1

    def _once(
        self,
        method: str,
        path: str,
        query: Query | None,
        body: Any,
        headers: Mapping[str, str] | None,
        *,
        content: bytes | None,
    ) -> Any:
        params = {key: value for key, value in (query or {}).items() if value is not None}
        with self._worded():
            timeout: Any = httpx.USE_CLIENT_DEFAULT
            if method == "POST" and not path.endswith(_AT_ONCE):
                timeout = httpx.Timeout(self._reading_seconds, connect=_CONNECT_SECONDS)
            response = self._http.request(
                method, path, params=params, json=body, content=content, headers=headers, timeout=timeout
            )
        if not response.is_success:
            raise answered(response)
        if not response.content:
            return None
        try:
            return response.json()
        except ValueError as error:
            raise not_understood(self.url, response) from error

    @contextlib.contextmanager
    def open_stream(
        self,
        path: str,
        headers: Mapping[str, str],
        *,
        body: Mapping[str, Any] | None = None,
        worded: Callable[[int, bytes], TunesmithError | None] = lambda status, content: None,
    ) -> Iterator[Iterator[bytes]]:
        """The bytes of a server-sent stream as they come. Tries once; the caller connects again.

        Args:
            path: From the server's root.
            headers: Further headers.
            body: What is posted as JSON; None gets the stream.
            worded: Makes an error of a status and a body that have another form than ours.

        Raises:
            Unavailable: The server is away, broke off or fell silent.
            TunesmithError: What the server answered instead of a stream.
        """
        asked = {
            "Accept": "text/event-stream",
            # On this machine packing would only cost both sides time.
            "Accept-Encoding": "identity" if is_loopback(self.url) else "gzip",
            "Cache-Control": "no-store",
            **headers,
        }
        timeout = httpx.Timeout(SILENCE_SECONDS, connect=_CONNECT_SECONDS)
        method = "GET" if body is None else "POST"
        with (
            self._worded(),
            self._http.stream(method, path, headers=asked, json=body, timeout=timeout) as response,
        ):
            if not response.is_success:
                response.read()
                raise answered(response, worded(response.status_code, response.content))
            if not response.headers.get("Content-Type", "").startswith("text/event-stream"):
                raise not_understood(self.url)
            yield response.iter_bytes()

    @contextlib.contextmanager
    def open_file(self, path: str, query: Query | None = None) -> Iterator[Iterator[bytes]]:
        """The bytes of a file as they come. Tries once.

        Raises:
            CannotConnect: Nothing answers.
            TunesmithError: What the server answered instead, or that it broke off.
        """
        params = {key: value for key, value in (query or {}).items() if value is not None}
        with self._worded(), self._http.stream("GET", path, params=params) as response:
            if not response.is_success:
                response.read()
                raise answered(response)
            yield response.iter_bytes()

    @contextlib.contextmanager
    def open_part(self, path: str, start: int, etag: str) -> Iterator[tuple[int, Iterator[bytes]]]:
        """The bytes of a file from a place on, and where they begin: 0 where the file is another by now. Tries once.

        Args:
            path: From the server's root.
            start: How many are there already.
            etag: What the file must be for these to be its own.

        Raises:
            CannotConnect: Nothing answers.
            TunesmithError: What the server answered instead, or that it broke off.
        """
        # Packed bytes would not be those that are counted.
        headers = {"Accept-Encoding": "identity"}
        if start:
            headers |= {"Range": f"bytes={start}-", "If-Range": f'"{etag}"'}
        with self._worded(), self._http.stream("GET", path, headers=headers) as response:
            if not response.is_success:
                response.read()
                raise answered(response)
            is_part = response.status_code == httpx.codes.PARTIAL_CONTENT
            if is_part and not response.headers.get("Content-Range", "").startswith(f"bytes {start}-"):
                raise not_understood(self.url)
            yield (start if is_part else 0), response.iter_bytes()

    @contextlib.contextmanager
    def _worded(self) -> Iterator[None]:
        """Say httpx's errors in our words."""
        try:
            yield
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            hint = "Start the platform with `tunesmith up`, or set `TUNESMITH_URL` to where it runs."
            raise CannotConnect(f"Nothing answers at `{self.url}`.", hint=hint) from error
        except (httpx.UnsupportedProtocol, httpx.InvalidURL) as error:
            raise InvalidInput(f"`{self.url}` is not an HTTP address.") from error
        except httpx.TimeoutException as error:
            raise Unavailable(
                f"The server at `{self.url}` did not answer in time.", hint="Try again in a moment."
            ) from error
        except httpx.TransportError as error:
            raise Unavailable(
                f"The server at `{self.url}` broke off.", hint="Try again in a moment."
            ) from error


def pause_before(tries: int) -> float:
    """Seconds to wait after so many tries: twice as long each time, never alike for two clients."""
    return min(0.1 * 2.0**tries, _LONGEST_PAUSE) * random.uniform(0.75, 1.0)  # noqa: S311  (no secret)


def _retry_after(error: TunesmithError) -> float:
    wanted = error.details.get("retry_after_seconds", 0)
    return float(wanted) if isinstance(wanted, int | float) else 0.0


def answered(response: httpx.Response, known: TunesmithError | None = None) -> TunesmithError:
    """The error that an answer stands for; one that is not ours (a proxy's page) is judged by its status.

    Args:
        response: The answer.
        known: Its error, where it has another form than ours.
    """
    status = response.status_code
    try:
        error = known or from_body(ErrorResponse.model_validate_json(response.content).error, status)
    except ValidationError:
        kind = Unavailable if status >= 500 else _BY_STATUS.get(status, TunesmithError)
        error = kind(
            f"The server answered {status} {response.reason_phrase} without saying why.".replace("  ", " ")
        )
    if number := response.headers.get("X-Request-Id"):
        error.details["request_id"] = number
    if status in _OF_ANOTHER_VERSION and (words := skew_of_server(response.headers.get(HEADER))):
        error.hint = " ".join(filter(None, (error.hint, words)))
    after = response.headers.get("Retry-After", "")
    if after.isdecimal():
        error.details["retry_after_seconds"] = int(after)
    error.args = (error.in_a_line(),)
    return error


class NotUnderstood(TunesmithError):
    """The server answered something that this client cannot read; asking again would not help."""

    code = "not_understood"
    status = 502


def not_understood(url: str, response: httpx.Response | None = None) -> NotUnderstood:
    """The error of an answer that is none of the shapes we know."""
    said = response.headers.get(HEADER) if response is not None else None
    return NotUnderstood(
        f"The server at `{url}` answered something that this client does not understand.",
        hint=skew_of_server(said)
        or "Check that `TUNESMITH_URL` is Tunesmith's address, and that client and server have one version.",
    )
