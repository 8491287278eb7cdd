"""Whatever a request raises is answered in our shape, the connection says that it closes, and the server lives.

Over a real socket: half a body that nobody read would be taken for the next request on the connection.
"""

import json
import socket
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
from conftest_platform import Plane
from served import served


class Panic(BaseException):
    """What a native library raises when Rust panics: no `Exception`."""


@pytest.fixture
def address(plane: Plane, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, int]]:
    with served(plane.app, plane.api_key, monkeypatch) as url:
        yield str(urlsplit(url).hostname), int(urlsplit(url).port or 0)


def said(address: tuple[str, int], request: bytes) -> tuple[int, dict[str, str], bytes, bool]:
    """What is answered to a request, and whether the server closed the connection after it."""
    with socket.create_connection(address, timeout=10) as sock:
        sock.sendall(request)
        stream = sock.makefile("rb")
        status = int(stream.readline().split()[1])
        headers: dict[str, str] = {}
        while line := stream.readline().strip().decode():
            name, _, value = line.partition(":")
            headers[name.lower()] = value.strip()
        body = stream.read(int(headers["content-length"]))
        if headers.get("connection") != "close":
            sock.sendall(request)  # an open connection answers again
        is_closed = not stream.read(1)
    return status, headers, body, is_closed


def get(plane: Plane, path: str, body: bytes = b"", length: int = 0) -> bytes:
    head = f"GET {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {plane.api_key}\r\n"
    return f"{head}Content-Length: {length}\r\n\r\n".encode() + body


@pytest.mark.parametrize("where", ["page", "remembered"], ids=["in a thread", "on the event loop"])
@pytest.mark.parametrize(
    "poison",
    [RuntimeError("a bug"), Panic("index out of bounds"), SystemExit(1), KeyboardInterrupt()],
    ids=repr,
)
def test_a_failure_of_ours_closes_its_connection(
    plane: Plane,
    address: tuple[str, int],
    poison: BaseException,
    where: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise poison

    with monkeypatch.context() as patched:
        patched.setattr(plane.services.tasks if where == "page" else plane.services.keys, where, fail)
        # Of a body of a hundred bytes ten were sent: the rest would begin the next request.
        status, headers, body, is_closed = said(address, get(plane, "/v1/tasks", b"0123456789", 100))
    assert status == 500
    assert headers["connection"] == "close"
    assert is_closed
    assert json.loads(body)["error"]["code"] == "internal"
    status, headers, _, is_closed = said(address, get(plane, "/v1/tasks"))
    assert status == 200, "the server serves the next one"
    assert "connection" not in headers
    assert not is_closed
