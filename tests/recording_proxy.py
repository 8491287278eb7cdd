"""What a shell may hold: a proxy for everything, which writes down what comes to it, and keys of other things."""

import contextlib
import socketserver
import threading
from collections.abc import Iterator

CANARY = "a-key-that-stays-in-the-shell"
SHELL_KEYS = ("AWS_SECRET_ACCESS_KEY", "WANDB_API_KEY", "GITHUB_TOKEN", "SOME_PASSWORD")
"""Variables of a shell; each holds `CANARY`."""


class RecordingProxy:
    """A server on loopback that takes whatever is sent to it."""

    def __init__(self) -> None:
        self.heard: list[bytes] = []
        """The first bytes of each connection."""
        proxy = self

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                self.request.settimeout(2)
                with contextlib.suppress(OSError):
                    proxy.heard.append(self.request.recv(65536))
                    self.request.sendall(
                        b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
                    )

        self._server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    @property
    def environment(self) -> dict[str, str]:
        """What a shell exports whose every call is to go through the proxy."""
        names = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
        return {each: self.url for name in names for each in (name, name.lower())} | {
            "NO_PROXY": "",
            "no_proxy": "",
        }

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@contextlib.contextmanager
def recording_proxy() -> Iterator[RecordingProxy]:
    proxy = RecordingProxy()
    try:
        yield proxy
    finally:
        proxy.close()
