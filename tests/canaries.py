"""Canaries in place of secrets, a server that repeats what it is told, and where each is looked for. No test itself."""

import base64
import gzip
import io
import json
import secrets
import sqlite3
import tarfile
import threading
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import quote


def canary(beginning: str = "canary") -> str:
    """A secret that stands nowhere else."""
    return f"{beginning}_{secrets.token_hex(18)}"


def forms(value: str) -> set[bytes]:
    """What a secret looks like where it is written: plain, as part of an address, as JSON, in base64."""
    plain = value.encode()
    found = {plain, quote(value, safe="").encode(), json.dumps(value)[1:-1].encode()}
    for before in range(3):  # of what stands before it, base64 keeps the length's remainder alone
        packed = base64.b64encode(b"x" * before + plain)
        found.add(packed[4 if before else 0 : -4])
    return found


class TellTale:
    """A server on loopback that refuses every call, and says in its refusal all that the call said of its caller.

    Services do: OpenAI's names the wrong key in its error. So whoever stores what a server says stores the key.
    """

    def __init__(self) -> None:
        self.heard: list[str] = []
        """The headers of each call, and the beginning of its body."""
        teller = self

        class Handler(BaseHTTPRequestHandler):
            def _answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))[:2000]
                said = f"{self.command} {self.path} {dict(self.headers.items())} {body!r}"
                teller.heard.append(said)
                wrong = f"Incorrect key provided: {self.headers.get('Authorization')}. You said {said}"
                data = json.dumps({"error": wrong, "errors": [{"message": wrong}], "message": wrong}).encode()
                self.send_response(403)
                self.send_header("Content-Type", "application/json")
                self.send_header("X-Error-Message", wrong.replace("\n", " ")[:2000])
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(data)

            do_GET = do_POST = do_PUT = do_HEAD = do_DELETE = _answer  # noqa: N815  (as the server calls them)

            def log_message(self, *_: object) -> None: ...

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def was_told(self, value: str) -> bool:
        """Whether a call held a secret: else nothing of it can have leaked, and nothing was tried."""
        looked_for = forms(value)
        return any(form in said.encode() for said in self.heard for form in looked_for)


@contextmanager
def tell_tale() -> Iterator[TellTale]:
    server = TellTale()
    try:
        yield server
    finally:
        server.close()


def leaks(canaries: Mapping[str, str], left: Mapping[str, bytes]) -> list[str]:
    """Which secret stands where.

    Args:
        canaries: Each by its name.
        left: Everything that is looked through, by where it lies.
    """
    looked_for = {name: forms(value) for name, value in canaries.items()}
    return [
        f"{name} in {place}"
        for place, data in left.items()
        for part in unpacked(data)
        for name, shapes in looked_for.items()
        if any(shape in part for shape in shapes)
    ]


def unpacked(data: bytes) -> Iterator[bytes]:
    """A file, and what is packed in it."""
    yield data
    if data[:2] == b"\x1f\x8b":
        yield from unpacked(gzip.decompress(data))
    elif data[:4] == b"PK\x03\x04":
        with zipfile.ZipFile(io.BytesIO(data)) as packed:
            for name in packed.namelist():
                yield from unpacked(packed.read(name))
    elif data[257:262] == b"ustar":
        with tarfile.open(fileobj=io.BytesIO(data)) as packed_tar:
            for member in packed_tar:
                file = packed_tar.extractfile(member)
                yield from unpacked(file.read()) if file else ()


def files_below(*folders: Path) -> dict[str, bytes]:
    """Every file, by its path; of a SQLite file its rows too, as a long text lies in pieces there."""
    found: dict[str, bytes] = {}
    for folder in folders:
        for file in sorted(folder.rglob("*")):
            if not file.is_file() or file.is_symlink():
                continue
            found[str(file)] = file.read_bytes()
            if found[str(file)].startswith(b"SQLite format 3"):
                with sqlite3.connect(f"file:{file}?mode=ro", uri=True) as database:
                    database.text_factory = lambda raw: raw.decode(errors="replace")
                    found[f"{file}:rows"] = "\n".join(database.iterdump()).encode()
    return found
