"""Serves the studio's built files: an ASGI application. Knows files and headers; knows nothing of the platform.

The page itself is written anew for each request, with a nonce for its styles and the number of the build. All else has
its content's hash in its name and is kept by browsers for a year.
"""

import hashlib
import mimetypes
import secrets
from pathlib import Path

from starlette.types import Receive, Scope, Send

BUILT = Path(__file__).parent / "built"
PAGE = "index.html"
_MISSING = """<!doctype html><html lang="en"><meta charset="utf-8"><title>Tunesmith</title>
<h1>The studio is not built</h1>
<p>The platform works without it. In the repository, <code>make studio</code> builds it; it needs the npm registry.</p>
<h1 lang="zh">网页界面尚未构建</h1>
<p lang="zh">平台不依赖网页界面即可工作。在代码仓库中运行 <code>make studio</code> 即可构建（需要能访问 npm 仓库）。</p>
"""
_TYPES = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml", ".woff2": "font/woff2"}


def policy(nonce: str) -> str:
    """What a page of the studio may load and do: this server's files alone, and styles that carry the nonce."""
    return (
        f"default-src 'self'; style-src 'self' 'nonce-{nonce}'; img-src 'self' data:; object-src 'none'; "
        "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    )


class Studio:
    """The studio's files.

    Args:
        folder: Where they were built; a page that says how to build them is shown while there are none.
    """

    def __init__(self, folder: Path = BUILT) -> None:
        self._folder = folder
        self._page: tuple[int, str, str] | None = None
        self._files: dict[str, tuple[int, bytes]] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        if scope["type"] != "http":
            return
        # A proxy may take its own path off before us, or not.
        outside, whole = scope.get("app_root_path", ""), scope.get("root_path", "")
        path = scope["path"].removeprefix(outside).removeprefix(whole.removeprefix(outside)).lstrip("/")
        if scope["method"] not in ("GET", "HEAD"):
            await _answer(send, scope, 405, "text/plain", b"", [(b"allow", b"GET, HEAD")])
        elif path in ("", PAGE):
            await self._send_page(scope, send)
        elif path == "build":
            page = self._read_page()
            await _answer(send, scope, 200 if page else 404, "text/plain", (page[1] if page else "").encode())
        else:
            await self._send_file(path, scope, send)

    def _read_page(self) -> tuple[int, str, str] | None:
        """When the page was built, its number and its text; looked at anew, as a build may replace it."""
        file = self._folder / PAGE
        try:
            stamp = file.stat().st_mtime_ns
            if self._page is None or self._page[0] != stamp:
                text = file.read_text("utf-8")
                self._page = stamp, hashlib.sha256(text.encode()).hexdigest()[:16], text
                self._files.clear()
        except OSError:
            return None
        return self._page

    async def _send_page(self, scope: Scope, send: Send) -> None:
        page = self._read_page()
        nonce = secrets.token_urlsafe(16)
        text = _MISSING if page is None else page[2].replace("@NONCE@", nonce).replace("@BUILD@", page[1])
        headers = [(b"content-security-policy", policy(nonce).encode()), (b"x-frame-options", b"DENY")]
        await _answer(send, scope, 503 if page is None else 200, "text/html", text.encode(), headers)

    async def _send_file(self, path: str, scope: Scope, send: Send) -> None:
        accepted = dict(scope["headers"]).get(b"accept-encoding", b"").decode("latin-1")
        packed = self._read(f"{path}.gz") if "gzip" in accepted else None
        found = packed or self._read(path)
        if found is None:
            await _answer(send, scope, 404, "text/plain", b"There is no such file.")
            return
        kind = _TYPES.get(Path(path).suffix) or mimetypes.guess_type(path)[0] or "application/octet-stream"
        is_named_by_hash = path.startswith("assets/")
        kept = b"public, max-age=31536000, immutable" if is_named_by_hash else b"no-cache"
        headers = [(b"cache-control", kept), (b"vary", b"Accept-Encoding")]
        if packed is not None:
            headers.append((b"content-encoding", b"gzip"))
        await _answer(send, scope, 200, kind, found, headers)

    def _read(self, path: str) -> bytes | None:
        """A built file's bytes; None where there is none below the folder."""
        file = self._folder / path
        if ".." in Path(path).parts or "\0" in path or not file.is_file():
            return None
        stamp = file.stat().st_mtime_ns
        known = self._files.get(path)
        if known is None or known[0] != stamp:
            known = self._files[path] = stamp, file.read_bytes()
        return known[1]


async def _answer(
    send: Send,
    scope: Scope,
    status: int,
    kind: str,
    body: bytes,
    more: list[tuple[bytes, bytes]] | None = None,
) -> None:
    names = {name for name, _ in more or ()}
    headers = [
        (b"content-type", f"{kind}; charset=utf-8".encode() if kind.startswith("text/") else kind.encode()),
        (b"content-length", str(len(body)).encode()),
        (b"x-content-type-options", b"nosniff"),
        (b"referrer-policy", b"same-origin"),
        *([] if b"cache-control" in names else [(b"cache-control", b"no-store")]),
        *(more or ()),
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})
