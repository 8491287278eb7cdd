"""A proxy of the environment sees nothing of what the platform's parts say to each other, and keeps none from it."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from recording_proxy import RecordingProxy, recording_proxy

from tunesmith.client import Client
from tunesmith.home import Home
from tunesmith_platform.backends.mlflow import MlflowTracking
from tunesmith_platform.backends.protocols import JobStatus
from tunesmith_platform.backends.ray_jobs import RayJobs


class Part:
    """A part of the platform: it answers everything, and writes down whom it heard."""

    def __init__(self) -> None:
        self.heard: list[str] = []
        part = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                part.heard.append(self.headers.get("Authorization", ""))
                body = b"3.17.2" if self.path == "/version" else json.dumps({"status": "RUNNING"}).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()


@pytest.fixture
def part() -> Iterator[Part]:
    part = Part()
    yield part
    part.server.shutdown()
    part.server.server_close()


@pytest.fixture
def proxy(monkeypatch: pytest.MonkeyPatch) -> Iterator[RecordingProxy]:
    """A proxy that the environment names for everything."""
    with recording_proxy() as proxy:
        for name, value in proxy.environment.items():
            monkeypatch.setenv(name, value)
        yield proxy


def test_no_token_leaves_through_a_proxy(proxy: RecordingProxy, part: Part, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("rays-token")
    assert RayJobs(part.url, token).observe("task-1").status is JobStatus.RUNNING
    assert MlflowTracking(part.url).version() == "3.17.2"
    Client(part.url, "ts-key", home=Home(tmp_path))._transport.call("GET", "/v1/system")
    assert part.heard[0] == "Bearer rays-token"
    assert part.heard[-1] == "Bearer ts-key"
    assert proxy.heard == []


@pytest.mark.parametrize("address", ["socks5://127.0.0.1:9", "no address at all", "http://[broken"])
def test_a_proxy_that_no_client_can_use_is_passed_over(
    address: str, part: Part, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("ALL_PROXY", "HTTP_PROXY", "http_proxy"):
        monkeypatch.setenv(name, address)
    assert RayJobs(part.url, tmp_path / "none").observe("task-1").status is JobStatus.RUNNING
    assert MlflowTracking(part.url).version() == "3.17.2"
