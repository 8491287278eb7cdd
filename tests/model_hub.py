"""A hub of one model on this machine, as far as the Hub's library asks it: `someone/small`, and one that is gated."""

import hashlib
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from dataset_hub import HubAnswers, point_at

NAME = "someone/small"
PIECE = 64 * 2**10


class ModelHub(HubAnswers):
    """A hub of one model, as far as its client asks."""

    folder: Path
    asked: list[tuple[str, str | None]]
    url = ""
    pause = 0.0
    """Seconds before each piece of a file."""
    gate: threading.Event | None = None
    """What a file's pieces behind its first wait for."""
    revisions = ("main", "v2")
    sha = "0" * 40

    def do_GET(self) -> None:  # noqa: N802
        path = urlsplit(self.path).path
        type(self).asked.append((path, self.headers.get("Authorization")))
        if path.startswith("/api/models/someone/gated"):
            self._send(403, b"{}", {"X-Error-Code": "GatedRepo"})
        elif "/tree/" in path:
            listed = [
                {"type": "file", "path": f.name, "size": f.stat().st_size, "oid": "0" * 40}
                for f in self.folder.iterdir()
            ]
            self._send(200, json.dumps(listed).encode(), {"Content-Type": "application/json"})
        elif path.startswith("/api/models/someone/small"):
            revision = path.partition("/revision/")[2] or "main"
            if revision not in (*self.revisions, self.sha):
                self._send(404, b"{}", {"X-Error-Code": "RevisionNotFound"})
                return
            files = [{"rfilename": file.name, "size": file.stat().st_size} for file in self.folder.iterdir()]
            told = {"id": "someone/small", "sha": self.sha, "siblings": files}
            self._send(200, json.dumps(told).encode(), {"Content-Type": "application/json"})
        elif path.startswith("/api/"):
            self._send(404, b"{}", {"X-Error-Code": "RepoNotFound"})
        else:
            content = (self.folder / path.rsplit("/", 1)[1]).read_bytes()
            etag = hashlib.sha256(content).hexdigest()
            self._send(200, content, {"X-Repo-Commit": self.sha, "ETag": f'"{etag}"'})

    def _send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        if not (self.pause or self.gate) or len(body) <= PIECE or self.command == "HEAD":
            super()._send(status, body, headers)
            return
        super()._send(status, b"", headers | {"Content-Length": str(len(body))})
        for at in range(0, len(body), PIECE):
            time.sleep(self.pause)
            if at and self.gate is not None:
                self.gate.wait(300)
            try:
                self.wfile.write(body[at : at + PIECE])
            except OSError:  # who asked has left
                return


@contextmanager
def serving(model: Path) -> Iterator[type[ModelHub]]:
    """The hub, at `url`, for processes that are told of it by `HF_ENDPOINT`."""
    handler = type("Handler", (ModelHub,), {"folder": model, "asked": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    handler.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield handler
    finally:
        server.shutdown()
        server.server_close()


@contextmanager
def model_hub(model: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[type[ModelHub]]:
    """The hub, for the libraries of this process.

    Args:
        model: The folder of its model.
        cache: A folder for what they keep of it.
        monkeypatch: Undoes it.
    """
    with serving(model) as found:
        point_at(found.url, cache, monkeypatch)
        yield found
