"""An identity provider, by OpenID Connect's discovery: where browsers are sent, what a code is exchanged for.

Signatures and claims are checked by PyJWT. Knows HTTP and tokens; knows no role and no session.
"""

import base64
import hashlib
import hmac
import json
import threading
import time
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, NamedTuple
from urllib.parse import quote, urlencode

import httpx
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tunesmith.access import SignInFailure
from tunesmith.tls import trust
from tunesmith_platform.sign_in_settings import SignInSettings, is_safe_address

ALGORITHMS = frozenset(
    {"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"}
)
"""What a provider may sign with: it keeps the one half of the key, and tells the other."""
LEEWAY_SECONDS = 60
"""How far the provider's clock may be from ours."""
_KEPT_SECONDS = 3600.0
_AGAIN_SECONDS = 10.0
"""A key that is not known is looked for anew, but not more often."""
_TIMEOUT_SECONDS = 10
_AT_ONCE = 8
"""Calls that wait for the provider at once: each holds a thread, of which the rest of the API has need too."""
_MAX_BYTES = 2**20


class SignInRefused(Exception):
    """Somebody does not come in.

    Args:
        failure: What they are told.
        why: What the log says: no secret, no token, no code.
    """

    def __init__(self, failure: SignInFailure, why: str) -> None:
        super().__init__(why)
        self.failure = failure


class Attempt(BaseModel):
    """What a browser keeps while its user is at the provider, signed by us."""

    model_config = ConfigDict(extra="forbid")
    state: str
    nonce: str
    verifier: str
    """Of PKCE: who brings the code shows it."""
    onward: str
    """The page of the studio that was asked for."""
    exp: int
    """Seconds since 1970 until which it counts."""


class _Discovered(BaseModel):
    model_config = ConfigDict(extra="ignore")
    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    userinfo_endpoint: str | None = None
    end_session_endpoint: str | None = None
    token_endpoint_auth_methods_supported: list[str] = Field(default_factory=lambda: ["client_secret_basic"])
    authorization_response_iss_parameter_supported: bool = False


class Told(NamedTuple):
    """What a provider says of whoever signed in."""

    claims: dict[str, Any]
    id_token: str
    """The token that says so, by which the provider knows the session that it is to end."""


class _Keys(NamedTuple):
    listed: list[dict[str, Any]]
    at: float


class Provider:
    """The identity provider of the settings.

    Args:
        settings: Which it is, and what it calls us.
        callback: Where it sends browsers back to.
    """

    def __init__(self, settings: SignInSettings, callback: str) -> None:
        self._settings = settings
        self._callback = callback
        self._known: tuple[_Discovered, float] | None = None
        self._keys: _Keys | None = None
        self._calls = threading.BoundedSemaphore(_AT_ONCE)

    def authorization_url(self, attempt: Attempt) -> str:
        """Where a browser goes to sign in.

        Raises:
            SignInRefused: The provider does not answer, or not as one.
        """
        endpoint = self._discovered().authorization_endpoint
        challenge = hashlib.sha256(attempt.verifier.encode()).digest()
        asked = {
            "response_type": "code",
            "client_id": self._settings.oidc_client_id,
            "redirect_uri": self._callback,
            "scope": " ".join(self._settings.oidc_scopes),
            "state": attempt.state,
            "nonce": attempt.nonce,
            "code_challenge": base64.urlsafe_b64encode(challenge).decode().rstrip("="),
            "code_challenge_method": "S256",
        }
        return _with_query(endpoint, asked)

    def end_session_url(self, id_token: str, back: str, state: str) -> str | None:
        """Where a browser ends its session at the provider (RP-initiated logout); None where there is no such place.

        Args:
            id_token: Of the sign-in; empty where it was too long to be kept.
            back: Where the provider sends the browser to afterwards.
            state: What it says there.

        Raises:
            SignInRefused: The provider does not answer, or not as one.
        """
        endpoint = self._discovered().end_session_endpoint
        if endpoint is None or not is_safe_address(endpoint):
            return None
        asked = {"client_id": self._settings.oidc_client_id, "post_logout_redirect_uri": back, "state": state}
        return _with_query(endpoint, asked | ({"id_token_hint": id_token} if id_token else {}))

    def expect_issuer(self, issuer: str | None) -> None:
        """See that an answer that names its issuer (RFC 9207) is this provider's.

        Raises:
            SignInRefused: It is another's, or names none and this provider always does.
        """
        if issuer is None and not self._discovered().authorization_response_iss_parameter_supported:
            return
        if issuer != self._settings.oidc_issuer:
            raise SignInRefused(SignInFailure.REFUSED, "the answer names another issuer")

    def told(self, code: str, attempt: Attempt) -> Told:
        """What the provider says of whom a code stands for, its signature and every claim of it checked.

        Raises:
            SignInRefused: It does not answer, takes the code for none, or says something that does not hold.
        """
        found = self._discovered()
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": self._callback,
            "code_verifier": attempt.verifier,
        }
        client, secret = self._settings.oidc_client_id, self._settings.oidc_client_secret.get_secret_value()
        headers = {}
        methods = found.token_endpoint_auth_methods_supported
        if secret and ("client_secret_basic" in methods or "client_secret_post" not in methods):
            # Both are encoded before they are joined: RFC 6749, 2.3.1.
            pair = f"{quote(client, safe='')}:{quote(secret, safe='')}"
            headers["Authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"
        else:
            form |= {"client_id": client} | ({"client_secret": secret} if secret else {})
        answer = self._call("POST", found.token_endpoint, data=form, headers=headers)
        token = answer.get("id_token")
        if not isinstance(token, str):
            raise SignInRefused(SignInFailure.REFUSED, "the provider sent no ID token")
        claims = self._completed(self._checked(token, attempt.nonce), answer.get("access_token"))
        return Told(claims, token)

    def _completed(self, claims: dict[str, Any], access_token: object) -> dict[str, Any]:
        """Claims with what the provider's userinfo endpoint says of the same person, where the token says too little.

        Some put a name and groups there alone. What the signed token says counts.
        """
        name, groups = self._settings.oidc_name_claim, self._settings.oidc_groups_claim
        asked = (name, groups, *(("email_verified",) if name == "email" else ()))
        address = self._discovered().userinfo_endpoint
        if address is None or not isinstance(access_token, str):
            return claims
        if all(claim_of(claims, name) is not None for name in asked):
            return claims
        more = self._call("GET", address, headers={"Authorization": f"Bearer {access_token}"})
        if more.get("sub") != claims["sub"]:
            raise SignInRefused(SignInFailure.REFUSED, "the userinfo endpoint tells of somebody else")
        return more | claims

    def _checked(self, token: str, nonce: str) -> dict[str, Any]:
        import jwt

        try:
            header = jwt.get_unverified_header(token)
            algorithm = header.get("alg")
            if algorithm not in ALGORITHMS:
                raise SignInRefused(SignInFailure.REFUSED, f"an ID token signed with {algorithm!r}")
            key = jwt.PyJWK(self._key(header.get("kid"), algorithm), algorithm)
            claims: dict[str, Any] = jwt.decode(
                token,
                key,
                algorithms=[algorithm],
                audience=self._settings.oidc_client_id,
                issuer=self._settings.oidc_issuer,
                leeway=LEEWAY_SECONDS,
                options={"require": ["exp", "iat", "iss", "aud", "sub", "nonce"]},
            )
        except jwt.PyJWTError as error:
            raise SignInRefused(SignInFailure.REFUSED, f"the ID token does not hold: {error}") from None
        # Of a token that others take too, it says who asked for it.
        is_shared = isinstance(claims["aud"], list) and len(claims["aud"]) > 1
        if claims.get("azp", None if is_shared else self._settings.oidc_client_id) != (
            self._settings.oidc_client_id
        ):
            raise SignInRefused(SignInFailure.REFUSED, "the ID token was made for another client")
        if not hmac.compare_digest(str(claims["nonce"]).encode(), nonce.encode()):
            raise SignInRefused(SignInFailure.REFUSED, "the ID token belongs to another sign-in: its nonce")
        return claims

    def _key(self, kid: str | None, algorithm: str) -> dict[str, Any]:
        """The key that signed, looked for anew where it is not known: providers change theirs."""
        known, moment = self._keys, time.monotonic()
        if known is None or moment - known.at > _KEPT_SECONDS:
            known = self._fetched_keys()
        found = _signing(known.listed, kid, algorithm)
        if found is None and moment - known.at > _AGAIN_SECONDS:
            known = self._fetched_keys()
            found = _signing(known.listed, kid, algorithm)
        if found is None:
            raise SignInRefused(SignInFailure.REFUSED, f"no key {kid!r} for {algorithm} at the provider")
        return found

    def _fetched_keys(self) -> _Keys:
        listed = self._call("GET", self._discovered().jwks_uri).get("keys")
        if not isinstance(listed, list) or not all(isinstance(key, dict) for key in listed):
            raise SignInRefused(SignInFailure.AWAY, "the provider lists no keys")
        self._keys = found = _Keys(listed, time.monotonic())
        return found

    def _discovered(self) -> _Discovered:
        moment = time.monotonic()
        if self._known is not None and moment - self._known[1] < _KEPT_SECONDS:
            return self._known[0]
        issuer = self._settings.oidc_issuer
        document = self._call("GET", f"{issuer.rstrip('/')}/.well-known/openid-configuration")
        try:
            found = _Discovered.model_validate(document)
        except ValidationError as error:
            places = ", ".join(str(one["loc"][0]) for one in error.errors())
            raise SignInRefused(SignInFailure.AWAY, f"the discovery document lacks: {places}") from None
        if found.issuer != issuer:
            raise SignInRefused(
                SignInFailure.AWAY, f"the provider calls itself {found.issuer!r}, not as `oidc_issuer` says"
            )
        for address in (
            found.authorization_endpoint, found.token_endpoint, found.jwks_uri, found.userinfo_endpoint,
        ):  # fmt: skip
            if address is not None and not is_safe_address(address):
                raise SignInRefused(SignInFailure.AWAY, f"an address of the provider is not https: {address}")
        self._known = found, moment
        return found

    def _call(self, method: str, url: str, **sent: Any) -> dict[str, Any]:
        """The object that an address answers.

        Raises:
            SignInRefused: It answers none, or an error.
        """
        if not self._calls.acquire(blocking=False):
            raise SignInRefused(SignInFailure.AWAY, f"{_AT_ONCE} sign-ins wait for the provider already")
        until = time.monotonic() + _TIMEOUT_SECONDS
        try:
            with (
                httpx.Client(timeout=_TIMEOUT_SECONDS, trust_env=False, verify=trust()) as client,
                client.stream(method, url, **sent) as answer,
            ):
                body = b""
                for piece in answer.iter_bytes():
                    body += piece
                    if len(body) > _MAX_BYTES:
                        raise SignInRefused(SignInFailure.AWAY, f"{url} answers more than {_MAX_BYTES} bytes")
                    if time.monotonic() > until:
                        raise SignInRefused(
                            SignInFailure.AWAY, f"{url} takes longer than {_TIMEOUT_SECONDS} s"
                        )
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise SignInRefused(SignInFailure.AWAY, f"{url}: {type(error).__name__}") from None
        finally:
            self._calls.release()
        if answer.status_code in (HTTPStatus.BAD_REQUEST, HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
            # Its words may repeat what was sent, so only OAuth's own error is told.
            raise SignInRefused(
                SignInFailure.REFUSED, f"{url} answers {answer.status_code}: {_error_of(body)}"
            )
        if answer.status_code != HTTPStatus.OK:
            raise SignInRefused(SignInFailure.AWAY, f"{url} answers {answer.status_code}")
        found = _object(body)
        if found is None:
            raise SignInRefused(SignInFailure.AWAY, f"{url} answers no JSON object")
        return found


def _with_query(endpoint: str, asked: dict[str, str]) -> str:
    return f"{endpoint}{'&' if '?' in endpoint else '?'}{urlencode(asked)}"


def _signing(keys: list[dict[str, Any]], kid: str | None, algorithm: str) -> dict[str, Any] | None:
    """The one key of a set that a token names, if it makes signatures of this kind; without a name, the only one."""
    fitting = [
        key
        for key in keys
        if key.get("use", "sig") == "sig"
        and key.get("alg", algorithm) == algorithm
        and key.get("kty") in _KINDS[algorithm[:2]]
        and (kid is None or key.get("kid") == kid)
    ]
    return fitting[0] if len(fitting) == 1 else None


_KINDS = {"RS": ("RSA",), "PS": ("RSA",), "ES": ("EC",), "Ed": ("OKP",)}


def claim_of(claims: Mapping[str, Any], name: str) -> Any:
    """A claim by its name, or by its place; a name may hold dots itself. None where there is none."""
    if name in claims:
        return claims[name]
    found: Any = claims
    for part in name.split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    return found


def _object(body: bytes) -> dict[str, Any] | None:
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _error_of(body: bytes) -> str:
    return str((_object(body) or {}).get("error", ""))[:60]
