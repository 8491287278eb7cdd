"""A real MLflow server of a test's own, and a proxy before it that fails as networks and servers do."""

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Literal

import httpx
import pytest
from waiting import free_port, wait_until

from tunesmith_platform.embedded.parts import mlflow_command


class MlflowServer:
    """An MLflow server over a SQLite file, started as `tunesmith up` starts it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.token_file = root / "mlflow-token"
        self.token = "a-tests-token"
        self.headers = {"Authorization": f"Bearer {self.token}"}
        """What every client shows."""
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self.root.mkdir(parents=True, exist_ok=True)
        self.token_file.write_text(self.token)
        artifacts = self.root / "artifacts"
        command = mlflow_command(
            self.root / "mlflow.db", artifacts, self.token_file, self.port, "https://mlflow.example"
        )
        with (self.root / "log").open("ab") as log:
            self._process = subprocess.Popen(
                command, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
            )

    def wait(self) -> None:
        def ready() -> bool:
            assert self._process is not None
            if self._process.poll() is not None:
                pytest.fail((self.root / "log").read_text()[-2000:])
            with contextlib.suppress(httpx.HTTPError):
                url = f"{self.url}/api/2.0/mlflow/experiments/get?experiment_id=0"
                return httpx.get(url, timeout=2, headers=self.headers).is_success
            return False

        wait_until(ready, 90, "MLflow")

    def stop(self) -> None:
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait(20)

    def empty(self) -> None:
        """Start again with nothing in its database, at the same address. The files in storage are ours."""
        self.stop()
        for name in self.root.glob("mlflow.db*"):
            name.unlink()
        self.start()
        self.wait()

    # --- what it shows

    def call(self, endpoint: str, body: dict[str, Any] | None = None, **params: Any) -> dict[str, Any]:
        url = f"{self.url}/api/2.0/mlflow/{endpoint}"
        reply = (
            httpx.get(url, params=params, timeout=30, headers=self.headers)
            if body is None
            else httpx.post(url, json=body, timeout=30, headers=self.headers)
        )
        assert reply.is_success, reply.text
        found: dict[str, Any] = reply.json()
        return found

    def runs(self, task_id: str) -> list[dict[str, Any]]:
        """The runs that say they are a task's, in every experiment."""
        every = self.call("experiments/search", {"max_results": 1000})["experiments"]
        body = {
            "experiment_ids": [experiment["experiment_id"] for experiment in every],
            "filter": f"tags.`tunesmith.task_id` = '{task_id}'",
        }
        return list(self.call("runs/search", body).get("runs", []))

    def points(self, run_id: str, name: str) -> list[tuple[int, float]]:
        found = self.call("metrics/get-history", run_id=run_id, metric_key=name, max_results=10_000)
        return sorted((int(point["step"]), point["value"]) for point in found.get("metrics", []))

    def models(self, run: dict[str, Any]) -> dict[str, dict[str, str]]:
        """The tags of a run's LoggedModels that are ready, by name."""
        info = run["info"]
        body = {
            "experiment_ids": [info["experiment_id"]],
            "filter": f"source_run_id = '{info['run_id']}'",
        }
        return {
            model["info"]["name"]: {tag["key"]: tag["value"] for tag in model["info"]["tags"]}
            for model in self.call("logged-models/search", body).get("models", [])
            if model["info"]["status"] == "LOGGED_MODEL_READY"
        }

    def artifacts(self, run_id: str, path: str = "") -> list[str]:
        where = {"path": path} if path else {}
        found = self.call("artifacts/list", run_id=run_id, **where)
        return sorted(file["path"] for file in found.get("files", []))


class Proxy:
    """Stands before a server and passes everything on, or does what a test says instead."""

    mode: Literal["fine", "away", "broken", "slow"] = "fine"
    delay = 0.0
    """Seconds before a slow one passes a call on."""
    on_the_way = 0
    """How many calls are being carried out."""

    def __init__(self, server: MlflowServer) -> None:
        self.token_file = server.token_file
        self._client = httpx.Client(base_url=server.url, timeout=60)
        self._lock = threading.Lock()
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                if proxy.mode == "away":
                    self.close_connection = True
                elif proxy.mode == "broken":
                    self._send(500, b"<html>Internal Server Error</html>", "text/html")
                else:
                    self._pass_on(body)

            def _pass_on(self, body: bytes) -> None:
                with proxy._lock:
                    proxy.on_the_way += 1
                if proxy.mode == "slow":
                    time.sleep(proxy.delay)
                headers = {
                    "Content-Type": self.headers.get("Content-Type") or "application/json",
                    "Authorization": self.headers.get("Authorization") or "",
                }
                reply = proxy._client.request(self.command, self.path, content=body, headers=headers)
                with proxy._lock:
                    proxy.on_the_way -= 1
                self._send(reply.status_code, reply.content, reply.headers.get("Content-Type", ""))

            def _send(self, status: int, body: bytes, kind: str) -> None:
                with contextlib.suppress(OSError):  # whoever asked may be gone
                    self.send_response(status)
                    self.send_header("Content-Type", kind)
                    self.send_header("Content-Length", str(len(body)))
                    self.end_headers()
                    self.wfile.write(body)

            do_GET = do_POST = do_PATCH = do_DELETE = _answer  # noqa: N815

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._client.close()


@contextlib.contextmanager
def mlflow_behind_a_proxy(root: Path) -> Iterator[tuple[MlflowServer, Proxy]]:
    server = MlflowServer(root)
    proxy = Proxy(server)
    try:
        server.start()
        server.wait()
        yield server, proxy
    finally:
        proxy.close()
        server.stop()
