"""An OpenID Connect provider on loopback: real HTTP, real keys, and a knob for each thing that one may do wrong.

It keeps the rules of its side: a code counts once, for the client, the address and the verifier it was made for.
"""

import base64
import contextlib
import hashlib
import json
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlencode, urlsplit

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, rsa

CLIENT, SECRET = "tunesmith", "client/secret:canary"
Signer = Callable[[dict[str, Any]], str]


def encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


class Key:
    """A key pair of the issuer."""

    def __init__(self, kid: str, algorithm: str = "RS256") -> None:
        self.kid, self.algorithm = kid, algorithm
        self.private: Any = (
            ec.generate_private_key(ec.SECP256R1())
            if algorithm == "ES256"
            else rsa.generate_private_key(public_exponent=65537, key_size=2048)
        )
        shown = jwt.get_algorithm_by_name(algorithm).to_jwk(self.private.public_key(), as_dict=True)
        self.public: dict[str, Any] = {**shown, "kid": kid, "use": "sig", "alg": algorithm}

    def sign(self, claims: dict[str, Any], **header: Any) -> str:
        return jwt.encode(claims, self.private, self.algorithm, headers={"kid": self.kid} | header)


FIRST = Key("first")


class Issuer:
    """The provider, and what the next sign-ins get.

    Attributes:
        person: Claims of whoever signs in.
        says: Claims that an ID token has besides, or instead of the right ones.
        signs: Makes the ID token of its claims.
        keys: Those that are listed.
        is_away: Whether it answers 500 to everything.
        document: What its discovery document says besides, or instead.
        ends_sessions: Whether it has a place where browsers end their session; those that did are in `left`.
        userinfo: What its userinfo endpoint says; None: it has none.
        drips: Seconds between two bytes of its discovery document.
        held: While it is clear, no discovery document is sent.
        asked: The paths that were asked.
    """

    def __init__(self, host: str) -> None:
        self.person: dict[str, Any] = {
            "sub": "subject-canary",
            "email": "ann@example.org",
            "email_verified": True,
            "groups": ["ml"],
        }
        self.says: dict[str, Any] = {}
        self.keys = [FIRST]
        self.signs: Signer = FIRST.sign
        self.is_away = False
        self.document: dict[str, Any] = {}
        self.userinfo: dict[str, Any] | None = None
        self.ends_sessions = True
        self.left: list[dict[str, str]] = []
        self.drips = 0.0
        self.held = threading.Event()
        self.held.set()
        self.asked: list[str] = []
        self.secret = SECRET
        self._codes: dict[str, dict[str, str]] = {}
        issuer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                issuer._get(self)

            def do_POST(self) -> None:
                issuer._post(self)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://{host}:{self.server.server_port}/realm"
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def rotate(self, key: Key) -> None:
        """Sign with another key from now on, and list that alone."""
        self.keys, self.signs = [key], key.sign

    def _get(self, request: BaseHTTPRequestHandler) -> None:
        found = urlsplit(request.path)
        path = found.path.removeprefix("/realm")
        self.asked.append(path)
        if self.is_away:
            _answer(request, 500, {})
        elif path == "/.well-known/openid-configuration":
            self.held.wait(30)
            _answer(request, 200, self._described(), self.drips)
        elif path == "/userinfo" and self.userinfo is not None:
            is_right = request.headers.get("Authorization") == "Bearer a"
            _answer(request, 200 if is_right else 401, self.userinfo)
        elif path == "/keys":
            _answer(request, 200, {"keys": [key.public for key in self.keys]})
        elif path == "/authorize":
            self._authorize(request, {name: values[0] for name, values in parse_qs(found.query).items()})
        elif path == "/logout" and self.ends_sessions:
            self._end(request, {name: values[0] for name, values in parse_qs(found.query).items()})
        else:
            _answer(request, 404, {})

    def _described(self) -> dict[str, Any]:
        return {
            "issuer": self.url,
            "authorization_endpoint": f"{self.url}/authorize",
            "token_endpoint": f"{self.url}/token",
            "jwks_uri": f"{self.url}/keys",
            **({"end_session_endpoint": f"{self.url}/logout"} if self.ends_sessions else {}),
            **({"userinfo_endpoint": f"{self.url}/userinfo"} if self.userinfo is not None else {}),
        } | self.document

    def _authorize(self, request: BaseHTTPRequestHandler, asked: dict[str, str]) -> None:
        right = {"response_type": "code", "client_id": CLIENT, "code_challenge_method": "S256"}
        assert {name: asked.get(name) for name in right} == right
        assert "openid" in asked["scope"].split()
        code = secrets.token_urlsafe(8)
        self._codes[code] = asked
        back = {"code": code, "state": asked["state"], "iss": self.url}
        request.send_response(302)
        request.send_header("Location", f"{asked['redirect_uri']}?{urlencode(back)}")
        request.end_headers()

    def _end(self, request: BaseHTTPRequestHandler, asked: dict[str, str]) -> None:
        assert asked["client_id"] == CLIENT
        if hint := asked.get("id_token_hint"):
            key = jwt.PyJWK(self.keys[0].public, self.keys[0].algorithm)
            jwt.decode(hint, key, algorithms=[self.keys[0].algorithm], audience=CLIENT, issuer=self.url)
        self.left.append(asked)
        request.send_response(302)
        back = f"{asked['post_logout_redirect_uri']}?{urlencode({'state': asked['state']})}"
        request.send_header("Location", back)
        request.end_headers()

    def _post(self, request: BaseHTTPRequestHandler) -> None:
        self.asked.append("/token")
        body = request.rfile.read(int(request.headers["Content-Length"])).decode()
        form = {name: values[0] for name, values in parse_qs(body).items()}
        asked = self._codes.pop(form.get("code", ""), None)
        challenge = encoded(hashlib.sha256(form.get("code_verifier", "").encode()).digest())
        if self.is_away:
            _answer(request, 500, {})
        elif self._client_of(request, form) != (CLIENT, self.secret):
            _answer(request, 401, {"error": "invalid_client"})
        elif (
            asked is None
            or asked["redirect_uri"] != form["redirect_uri"]
            or asked["code_challenge"] != challenge
        ):
            _answer(request, 400, {"error": "invalid_grant", "error_description": body})
        else:
            moment = int(time.time())
            claims = {"iss": self.url, "aud": CLIENT, "iat": moment, "exp": moment + 300}
            claims |= {"nonce": asked["nonce"]} | self.person | self.says
            token = self.signs({name: value for name, value in claims.items() if value is not None})
            _answer(request, 200, {"access_token": "a", "token_type": "Bearer", "id_token": token})

    def _client_of(self, request: BaseHTTPRequestHandler, form: dict[str, str]) -> tuple[str, str]:
        scheme, _, pair = request.headers.get("Authorization", "").partition(" ")
        if scheme == "Basic":
            client, _, secret = base64.b64decode(pair).decode().partition(":")
            return unquote(client), unquote(secret)
        return form.get("client_id", ""), form.get("client_secret", "")


def _answer(request: BaseHTTPRequestHandler, status: int, found: Any, drips: float = 0.0) -> None:
    body = json.dumps(found).encode()
    request.send_response(status)
    request.send_header("Content-Type", "application/json")
    request.send_header("Content-Length", str(len(body)))
    request.end_headers()
    if not drips:
        request.wfile.write(body)
        return
    with contextlib.suppress(OSError):  # whom it takes too long has left
        for byte in body:
            request.wfile.write(bytes([byte]))
            time.sleep(drips)


@contextmanager
def serving_issuer(host: str = "127.0.0.1") -> Iterator[Issuer]:
    """An issuer, as long as it is needed."""
    issuer = Issuer(host)
    try:
        yield issuer
    finally:
        issuer.server.shutdown()
        issuer.server.server_close()
