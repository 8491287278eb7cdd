"""A hub on this machine that takes uploads, as far as `huggingface_hub` asks it: repositories, LFS, commits. No test.

It keeps the protocol as the library speaks it: a repository is made, each file's way is asked for (`preupload`), large
ones go by the LFS batch in one piece or in parts to signed addresses, and one commit shows all. What it does not do is
Xet: the library is told of none. Faults are planted by address.
"""

import base64
import hashlib
import json
import re
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import ThreadingHTTPServer
from typing import Any, ClassVar
from urllib.parse import unquote, urlsplit

import yaml
from dataset_hub import HubAnswers

TOKEN = "hf_a-token-that-must-never-show"
LARGE = (".gguf", ".safetensors", ".zip")
_BASE = re.compile(r"[\w.-]+/[\w.-]+")


class Repo:
    """One repository."""

    def __init__(self, name: str, *, private: bool) -> None:
        self.private, self.name = private, name
        self.files: dict[str, bytes] = {}
        self.commits: list[list[str]] = []

    @property
    def sha(self) -> str:
        return hashlib.sha1(str(self.commits).encode()).hexdigest()


class UploadHub(HubAnswers):
    """The hub. What it holds is the class's: a subclass a server."""

    protocol_version = "HTTP/1.1"
    url: ClassVar[str]
    repos: ClassVar[dict[str, Repo]]
    objects: ClassVar[dict[str, bytes]]
    parts: ClassVar[dict[tuple[str, int], bytes]]
    received: ClassVar[dict[str, int]]
    """Bytes that came for each object."""
    asked: ClassVar[list[str]]
    heard: ClassVar[list[str]]
    """What the headers said of who asks."""
    faults: ClassVar[list[tuple[str, int | Callable[[], None]]]]
    """What the next call with these words in its address gets instead: a status, 0 for a connection that breaks off
    in the middle of the body; or what is called before it is answered."""
    part_bytes: ClassVar[int]
    """Objects that are larger go in parts."""
    left_out: ClassVar[set[str]]
    """Names that the `.gitignore` of every repository leaves out."""
    most_bytes: ClassVar[int]
    """Objects that are larger are refused."""

    def do_POST(self) -> None:  # noqa: N802  (as the server calls it)
        path, body = self._begin()
        if body is None:
            return
        if path == "/api/repos/create":
            self._create(json.loads(body))
        elif path == "/api/validate-yaml":
            self._validate(json.loads(body)["content"])
        elif path.startswith("/upload/"):
            self._complete(path.split("/")[2], json.loads(body))
        elif (found := re.fullmatch(r"/(.+?/.+?)\.git/info/lfs/objects/batch", path)) and self._repo(
            found[1]
        ):
            objects = [self._action(one) for one in json.loads(body)["objects"]]
            self._json(200, {"transfer": "multipart", "objects": objects})
        elif (found := re.fullmatch(r"/api/models/(.+?/.+?)/(preupload|commit|branch)/(.+)", path)) and (
            repo := self._repo(found[1])
        ):
            {"preupload": self._preupload, "commit": self._commit, "branch": self._branch}[found[2]](
                repo, body
            )

    def do_PUT(self) -> None:  # noqa: N802  (as the server calls it)
        path, body = self._begin()
        if body is None:
            return
        _, _, oid, number, *_ = path.split("/")
        self.parts[oid, int(number)] = body
        if number == "0":
            assert hashlib.sha256(body).hexdigest() == oid
            self.objects[oid] = body
        self._send(200, b"", {"ETag": f'"{hashlib.md5(body).hexdigest()}"'})

    def do_GET(self) -> None:  # noqa: N802  (as the server calls it)
        path, body = self._begin()
        if body is None:
            return
        found = re.match(r"/api/models/([^/]+/[^/]+)", path)
        repo = self._repo(found[1]) if found else None
        if found and repo:
            siblings = [{"rfilename": name} for name in repo.files]
            self._json(
                200,
                {"id": found[1], "sha": repo.sha, "private": repo.private, "siblings": siblings, "tags": []},
            )
        elif not found:
            self._json(404, {}, {"X-Error-Code": "RepoNotFound"})

    # --- what each is answered

    def _begin(self) -> tuple[str, bytes | None]:
        """The address and the body of a call; no body where it was answered already."""
        path = unquote(urlsplit(self.path).path)
        self.asked.append(f"{self.command} {path}")
        self.heard.append(self.headers.get("Authorization", ""))
        fault = next((one for one in self.faults if one[0] in path), None)
        length = int(self.headers.get("Content-Length", 0))
        if fault is not None:
            self.faults.remove(fault)
        if fault is not None and fault[1] == 0:
            self._count(path, self.rfile.read(length // 2))
            self.connection.shutdown(socket.SHUT_RDWR)
            self.close_connection = True
            return path, None
        body = self.rfile.read(length)
        self._count(path, body)
        if fault is not None and callable(fault[1]):
            fault[1]()
        elif fault is not None:
            self._json(int(fault[1]), {"error": "planted"})
            return path, None
        # What is put to a signed address, and the word that all parts are there, carry no token.
        needs_token = not path.startswith("/upload/")
        if needs_token and self.headers.get("Authorization") != f"Bearer {TOKEN}":
            self._json(401, {"error": "no token"})
            return path, None
        return path, body

    def _count(self, path: str, body: bytes) -> None:
        if path.startswith("/upload/") and self.command == "PUT":
            oid = path.split("/")[2]
            self.received[oid] = self.received.get(oid, 0) + len(body)

    def _repo(self, name: str) -> Repo | None:
        found = self.repos.get(name)
        if found is None:
            self._json(404, {"error": "no such repository"}, {"X-Error-Code": "RepoNotFound"})
        return found

    def _create(self, new: dict[str, Any]) -> None:
        name = f"{new['organization']}/{new['name']}"
        if name in self.repos:
            self._json(409, {"error": "You already created this model repo", "url": f"{self.url}/{name}"})
            return
        # As the Hub does where nothing is said: what is made is public.
        self.repos[name] = Repo(name, private=new.get("visibility", "public") == "private")
        self._json(200, {"url": f"{self.url}/{name}"})

    def _validate(self, card: str) -> None:
        errors = []
        head = yaml.safe_load(card.partition("---\n")[2].partition("\n---")[0]) or {}
        base = head.get("base_model")
        if base is not None and not _BASE.fullmatch(str(base)):
            errors.append({"message": '"base_model" must be the id of a model of the Hub'})
        if head.get("license") == "other" and not head.get("license_name"):
            errors.append({"message": '"license_name" is needed'})
        self._json(400 if errors else 200, {"errors": errors, "warnings": []})

    def _preupload(self, repo: Repo, body: bytes) -> None:
        answers = []
        for file in json.loads(body)["files"]:
            there = repo.files.get(file["path"])
            is_large = file["path"].endswith(LARGE)
            oid = None
            if there is not None:
                blob = f"blob {len(there)}\0".encode() + there
                oid = hashlib.sha256(there).hexdigest() if is_large else hashlib.sha1(blob).hexdigest()
            mode = "lfs" if is_large else "regular"
            ignored = file["path"] in self.left_out
            answers.append({"path": file["path"], "uploadMode": mode, "shouldIgnore": ignored, "oid": oid})
        self._json(200, {"files": answers})

    def _action(self, wanted: dict[str, Any]) -> dict[str, Any]:
        oid, size = wanted["oid"], wanted["size"]
        if oid in self.objects:
            return {"oid": oid, "size": size}
        if size > self.most_bytes:
            return {"oid": oid, "size": size, "error": {"code": 422, "message": "the object is too large"}}
        if size <= self.part_bytes:
            upload: dict[str, Any] = {"href": f"{self.url}/upload/{oid}/0?signature=secret-of-the-address"}
        else:
            count = -(-size // self.part_bytes)
            urls = {
                f"{number:05d}": f"{self.url}/upload/{oid}/{number}?signature=secret-of-the-address"
                for number in range(1, count + 1)
            }
            upload = {
                "href": f"{self.url}/upload/{oid}",
                "header": {"chunk_size": str(self.part_bytes), **urls},
            }
        return {"oid": oid, "size": size, "actions": {"upload": upload}}

    def _complete(self, oid: str, said: dict[str, Any]) -> None:
        numbers = [part["partNumber"] for part in said["parts"]]
        whole = b"".join(self.parts[oid, number] for number in numbers)
        assert hashlib.sha256(whole).hexdigest() == oid
        self.objects[oid] = whole
        self._json(200, {})

    def _commit(self, repo: Repo, body: bytes) -> None:
        names = []
        for line in map(json.loads, body.splitlines()):
            value = line["value"]
            if line["key"] == "file":
                repo.files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                if value["oid"] not in self.objects:
                    self._json(400, {"error": "the object was never uploaded"})
                    return
                repo.files[value["path"]] = self.objects[value["oid"]]
            names.append(value.get("path") or value["summary"])
        repo.commits.append(names)
        self._json(
            200,
            {
                "success": True,
                "commitOid": repo.sha,
                "commitUrl": f"{self.url}/{repo.name}/commit/{repo.sha}",
            },
        )

    def _branch(self, repo: Repo, body: bytes) -> None:
        self._json(200, {})


@contextmanager
def upload_hub(part_bytes: int = 100_000) -> Iterator[type[UploadHub]]:
    """A hub that takes uploads, for the time of the block."""
    empty: dict[str, Any] = {
        "repos": {},
        "objects": {},
        "parts": {},
        "received": {},
        "asked": [],
        "heard": [],
        "faults": [],
        "left_out": set(),
    }
    sizes = {"part_bytes": part_bytes, "most_bytes": 2**40}
    handler = type("Handler", (UploadHub,), empty | sizes)
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    handler.url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield handler
    finally:
        server.shutdown()
        server.server_close()
