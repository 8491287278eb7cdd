"""A post to an address that was checked before: to that one and no other, within bounds of time and bytes.

The name is not asked again, for it may lead elsewhere by then; the certificate is still the name's, and so is `Host`.
No proxy is asked, no redirect is followed, and of the answer its status alone is read. Knows httpcore; knows no
webhooks.
"""

import ssl
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import httpcore

from tunesmith_platform.addresses import Address

_MOST_BYTES = 64 * 1024
"""How much of an answer is taken before its status is known: headers are far smaller."""


class TooMuch(Exception):
    """The answer's beginning is longer than any that is meant well."""


class _Bounded(httpcore.NetworkStream):
    """A connection that ends at a moment, and that takes so many bytes at the most.

    httpcore's own limits are for each read: one that answers a byte at a time would hold its thread for hours.
    """

    def __init__(self, stream: httpcore.NetworkStream, deadline: float) -> None:
        self._stream = stream
        self._deadline = deadline
        self._left = _MOST_BYTES

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        data = self._stream.read(min(max_bytes, self._left), _left(self._deadline, httpcore.ReadTimeout))
        self._left -= len(data)
        if self._left <= 0:
            raise TooMuch
        return data

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, _left(self._deadline, httpcore.WriteTimeout))

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        left = _left(self._deadline, httpcore.ConnectTimeout)
        return _Bounded(self._stream.start_tls(ssl_context, server_hostname, left), self._deadline)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


class _Pinned(httpcore.NetworkBackend):
    """Connects to one of these addresses, whatever host is named."""

    def __init__(self, addresses: Sequence[Address], deadline: float) -> None:
        self._addresses = addresses
        self._deadline = deadline
        self._network = httpcore.SyncBackend()
        self.reached: Address | None = None

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        failure: Exception = httpcore.ConnectError("no address")
        for number, address in enumerate(self._addresses):
            # What is left is shared among the addresses that are left: a dead one must not use it all up.
            left = _left(self._deadline, httpcore.ConnectTimeout) / (len(self._addresses) - number)
            try:
                stream = self._network.connect_tcp(str(address), port, left, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
                continue
            self.reached = address
            return _Bounded(stream, self._deadline)
        raise failure

    def sleep(self, seconds: float) -> None:
        raise NotImplementedError


class Sent:
    """How a post went: the answer's status, and the address that it went to."""

    def __init__(self) -> None:
        self.address: Address | None = None
        self.status: int | None = None


def post(
    url: str,
    addresses: Sequence[Address],
    headers: Mapping[str, str],
    body: bytes,
    *,
    seconds: float,
    trust: ssl.SSLContext,
    sent: Sent,
) -> None:
    """Post a body to a URL whose host has these addresses.

    Args:
        url: Where to post.
        addresses: Its host's, as they were checked.
        headers: Further headers.
        body: What is posted.
        seconds: How long all of it may take.
        trust: Whose certificates are believed.
        sent: Told where it went and what was answered, also when this raises.

    Raises:
        TooMuch: The answer has no end.
        httpcore.TimeoutException: It took longer.
        httpcore.NetworkError, httpcore.ProtocolError, ssl.SSLError: It could not be done.
    """
    network = _Pinned(addresses, time.monotonic() + seconds)
    try:
        with (
            httpcore.ConnectionPool(
                ssl_context=trust, network_backend=network, http1=True, http2=False
            ) as pool,
            pool.stream("POST", url, headers=list(headers.items()), content=body) as reply,
        ):
            sent.status = reply.status
    finally:
        sent.address = network.reached


def _left(deadline: float, late: type[Exception]) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise late("the time is over")
    return left
