"""The check before MLflow: a client shows the token, a browser the cookie of a one-time link; anybody else gets a 401.

MLflow's own port is open to every user and every web page of the machine, and its artifacts are the weights. So the
check stands before the whole application: API, pages, artifacts, gateway, websockets. Knows ASGI; knows nothing of
MLflow.
"""

import html
import json
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any
from urllib.parse import parse_qs

from tunesmith_platform.mlflow_link import COOKIE_SECONDS, ENTRANCE, Admissions
from tunesmith_platform.own_page import is_own_page

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]

HEALTH = "/health"
_SAFE = ("GET", "HEAD", "OPTIONS")
_HOW_EN = (
    "MLflow shows its runs to those whom Tunesmith lets in: `tunesmith mlflow` makes a link for a browser."
)
_HOW_ZH = "MLflow 仅对 Tunesmith 用户开放：请运行 `tunesmith mlflow` 获取浏览器链接。"
_LINK_EN = "This link was used, or is older than a minute: `tunesmith mlflow` makes another."
_LINK_ZH = "该链接已使用或已超过一分钟：请运行 `tunesmith mlflow` 重新获取。"


class Guard:
    """Lets those in who show MLflow's token, or a cookie that a one-time link gave their browser.

    Args:
        app: MLflow, as an ASGI application.
        admissions: Who may come in.
        hosts: The values of `Host` under which a browser may come in by a link.
        cookie_name: Cookies of one host are shared by all its ports, so it names this one's.
    """

    def __init__(self, app: App, admissions: Admissions, hosts: Iterable[str], cookie_name: str) -> None:
        self._app = app
        self._admissions = admissions
        self._hosts = frozenset(hosts)
        self._cookie_name = cookie_name

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """See ASGI."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        headers = _Headers(scope)
        if self._has_token(headers) or self._has_cookie(headers, scope):
            await self._app(_without_credentials(scope), receive, send)
        elif scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1008})
        elif scope["path"] == ENTRANCE:
            await self._enter(scope, headers, send)
        elif scope["path"] == HEALTH:
            await _answer(send, 200, "text/plain", b"OK")
        else:
            await _refuse(send, headers, _HOW_EN, _HOW_ZH)

    def _has_token(self, headers: "_Headers") -> bool:
        scheme, _, given = headers.one("authorization").partition(" ")
        return scheme.lower() == "bearer" and self._admissions.is_token(given.strip())

    def _has_cookie(self, headers: "_Headers", scope: MutableMapping[str, Any]) -> bool:
        """Whether a browser comes with our cookie, and by a page of this very origin.

        What changes something has to say by `Sec-Fetch-Site` or `Origin` which page it is.
        """
        if not self._admissions.knows(headers.cookie(self._cookie_name)):
            return False
        site, origin = headers.one("sec-fetch-site"), headers.one("origin")
        if not is_own_page(site, origin, {headers.one("host"), *self._hosts}):
            return False
        is_safe = scope["type"] == "http" and scope["method"] in _SAFE
        return is_safe or bool(origin) or site == "same-origin"

    async def _enter(self, scope: MutableMapping[str, Any], headers: "_Headers", send: Send) -> None:
        """Take a link's code, and send the browser on with a cookie.

        By a page and not by a redirect: a browser that followed the link from another site would not send a cookie
        of `SameSite=Strict` along with a redirect.
        """
        if headers.one("host") not in self._hosts or scope["method"] != "GET":
            await _refuse(send, headers, _HOW_EN, _HOW_ZH)
            return
        codes = parse_qs(scope["query_string"].decode("latin-1")).get("code", [])
        to = self._admissions.take(codes[0]) if len(codes) == 1 else None
        if to is None:
            await _refuse(send, headers, _LINK_EN, _LINK_ZH)
            return
        cookie = (
            f"{self._cookie_name}={self._admissions.cookie()}; Path=/; HttpOnly; SameSite=Strict; "
            f"Max-Age={COOKIE_SECONDS}" + ("; Secure" if scope.get("scheme") == "https" else "")
        )
        place = html.escape(to, quote=True)
        page = (
            f'<!doctype html><meta charset="utf-8"><title>MLflow</title>'
            f'<meta http-equiv="refresh" content="0; url={place}"><a href="{place}">MLflow</a>'
        )
        await _answer(
            send, 200, "text/html; charset=utf-8", page.encode(), [(b"set-cookie", cookie.encode("ascii"))]
        )


class _Headers:
    """The headers of a request."""

    def __init__(self, scope: MutableMapping[str, Any]) -> None:
        self._raw: list[tuple[bytes, bytes]] = list(scope.get("headers", ()))

    def one(self, name: str) -> str:
        """A header's value; "" where it is absent. One that comes twice may be anybody's, and counts as a wrong one."""
        found = [value.decode("latin-1") for key, value in self._raw if key.lower() == name.encode()]
        return found[0] if len(found) == 1 else "" if not found else "\0"

    def cookie(self, name: str) -> str:
        """A cookie's value; "" where it is absent. Other programs' cookies on this host may be written in any way."""
        for key, value in self._raw:
            if key.lower() == b"cookie":
                for pair in value.decode("latin-1").split(";"):
                    found, _, text = pair.strip().partition("=")
                    if found == name:
                        return text
        return ""


def _without_credentials(scope: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """The request as MLflow sees it: what it does not have it can neither log nor pass on."""
    kept = [
        (key, value) for key, value in scope["headers"] if key.lower() not in (b"authorization", b"cookie")
    ]
    return {**scope, "headers": kept}


async def _refuse(send: Send, headers: _Headers, english: str, chinese: str) -> None:
    """A 401 in the form that the caller reads: a page for browsers, MLflow's error for its clients."""
    if "text/html" in headers.one("accept"):
        lines = "".join(f"<p>{html.escape(line)}</p>" for line in (english, chinese))
        body, kind = (
            f'<!doctype html><meta charset="utf-8"><title>MLflow</title>{lines}'.encode(),
            "text/html",
        )
    else:
        hint = f"{english} Clients send `MLFLOW_TRACKING_TOKEN` (`tunesmith mlflow --export`)."
        body, kind = (
            json.dumps({"error_code": "UNAUTHENTICATED", "message": hint}).encode(),
            "application/json",
        )
    await _answer(send, 401, f"{kind}; charset=utf-8", body, [(b"www-authenticate", b"Bearer")])


async def _answer(
    send: Send, status: int, kind: str, body: bytes, more: Iterable[tuple[bytes, bytes]] = ()
) -> None:
    headers = [
        (b"content-type", kind.encode()),
        (b"content-length", str(len(body)).encode()),
        (b"cache-control", b"no-store"),
        (b"referrer-policy", b"no-referrer"),
        (b"x-content-type-options", b"nosniff"),
        (b"x-frame-options", b"DENY"),
        (b"content-security-policy", b"default-src 'none'"),
        *more,
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
