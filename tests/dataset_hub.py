"""A hub of one data set on this machine, as far as `datasets` asks it."""

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

import pytest

NAME = "org/talks"
SHA = "1" * 40


class HubAnswers(BaseHTTPRequestHandler):
    """What every stand-in of the Hub answers with; a subclass says what to a GET."""

    def log_message(self, *_: object) -> None: ...

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        raise NotImplementedError

    def _json(self, status: int, body: object, headers: dict[str, str] | None = None) -> None:
        self._send(status, json.dumps(body).encode(), {"Content-Type": "application/json"} | (headers or {}))

    def _send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(body))} | headers).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


class DatasetHub(HubAnswers):
    """Answers for `org/talks`, whose files a subclass holds by their names."""

    files: dict[str, bytes]
    asked: list[str]

    def do_POST(self) -> None:
        sent = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        path = urlsplit(self.path).path
        type(self).asked.append(path)
        if "/paths-info/" not in path:
            self._json(404, {}, {"X-Error-Code": "RepoNotFound"})
            return
        try:
            wanted = json.loads(sent)["paths"]
        except ValueError:
            wanted = parse_qs(sent.decode())["paths"]
        self._json(200, [self._entry(name) for name in wanted if name in self.files])

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        type(self).asked.append(path)
        if path.startswith(f"/api/datasets/{NAME}/tree/"):
            self._json(200, [self._entry(name) for name in self.files])
        elif path == f"/api/datasets/{NAME}" or path.startswith(f"/api/datasets/{NAME}/revision/"):
            siblings = [{"rfilename": name} for name in self.files]
            self._json(200, {"id": NAME, "sha": SHA, "siblings": siblings, "tags": [], "private": False})
        elif path.startswith(f"/datasets/{NAME}/resolve/") and path.rpartition("/")[2] in self.files:
            content = self.files[path.rpartition("/")[2]]
            etag = hashlib.sha256(content).hexdigest()
            self._send(200, content, {"X-Repo-Commit": SHA, "ETag": f'"{etag}"'})
        elif path.startswith(f"/datasets/{NAME}/resolve/"):
            self._json(404, {}, {"X-Error-Code": "EntryNotFound"})
        else:
            self._json(404, {}, {"X-Error-Code": "RepoNotFound"})

    def _entry(self, name: str) -> dict[str, object]:
        content = self.files[name]
        return {"type": "file", "path": name, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}


@contextmanager
def dataset_hub(
    files: dict[str, bytes], cache: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[type[DatasetHub]]:
    """A hub that the libraries of this process ask.

    Args:
        files: Its data set's, by their names.
        cache: A folder for what they keep of it.
        monkeypatch: Undoes it.
    """
    handler = type("Handler", (DatasetHub,), {"files": files, "asked": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    point_at(f"http://127.0.0.1:{server.server_port}", cache, monkeypatch)
    try:
        yield handler
    finally:
        server.shutdown()
        server.server_close()


def point_at(url: str, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the libraries of this process take an address for the Hub's."""
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", url)
    monkeypatch.setattr(
        "huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE",
        f"{url}/{{repo_id}}/resolve/{{revision}}/{{filename}}",
    )
    monkeypatch.setattr("datasets.config.HF_ENDPOINT", url)
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(cache / "hub"))
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", cache / "datasets")
    monkeypatch.delenv("HF_TOKEN", raising=False)
