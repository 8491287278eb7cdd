"""An API on a port of its own, where the command line and the client look for it."""

import contextlib
import threading
from collections.abc import Iterator

import pytest
from fastapi import FastAPI
from waiting import free_port, wait_until

from tunesmith_platform.serving import ApiServer


@contextlib.contextmanager
def served(app: FastAPI, key: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Serve an API, and name it in the environment.

    Yields:
        Its URL.
    """
    port = free_port()
    server = ApiServer(app, "127.0.0.1", port, grace_seconds=1)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    wait_until(lambda: server.started, 20, "the API")
    url = f"http://127.0.0.1:{port}"
    monkeypatch.setenv("TUNESMITH_URL", url)
    monkeypatch.setenv("TUNESMITH_API_KEY", key)
    try:
        yield url
    finally:
        server.should_exit = True
        thread.join(timeout=10)
