"""Signs browsers in by an identity provider: sends them there, takes what they bring back. Knows no HTTP.

What a sign-in needs meanwhile lies in the browser, signed by the platform's secret, so that any server takes it back.
"""

import datetime as dt
import hashlib
import hmac
import logging
import re
import secrets
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

from sqlalchemy.orm import Session

from tunesmith.access import SignInFailure, SignInOptions, SignInProvider
from tunesmith.errors import NotFound
from tunesmith.job import read_secret
from tunesmith_platform.access import repository
from tunesmith_platform.access.people import Person, person_of
from tunesmith_platform.access.provider import Attempt, Provider, SignInRefused
from tunesmith_platform.access.service import AccessService, SignedIn
from tunesmith_platform.audit import repository as audit
from tunesmith_platform.auth import Keys, digest_of
from tunesmith_platform.caller import Change
from tunesmith_platform.clock import new_id, now
from tunesmith_platform.db.engine import Database
from tunesmith_platform.db.tables import ApiKeyRow, BrowserRow
from tunesmith_platform.keys import repository as keys_repository
from tunesmith_platform.settings import Settings

logger = logging.getLogger(__name__)
ATTEMPT_SECONDS = 600
"""How long somebody may be at the provider."""
BEGINS = "/v1/sign-in/oidc"
CALLBACK = "/v1/sign-in/oidc/callback"
LEAVES, LEFT = "/v1/sign-in/oidc/sign-out", "/v1/sign-in/oidc/signed-out"
_ONWARD = re.compile(r"[A-Za-z0-9_.~%?&=/-]{0,300}")
_ENTRANCES = frozenset({"enter", "refused"})
"""Pages of the studio that sign somebody in, or say that nobody was."""
_SALT = b"tunesmith sign-in"
_SIGNED = "HS256"


class Brought(NamedTuple):
    """What a browser brings back from the provider."""

    state: str
    code: str
    error: str
    issuer: str | None


class Origin(NamedTuple):
    """Where a call comes from, for the audit log."""

    request_id: str = ""
    address: str = ""


class Entered(NamedTuple):
    """A session that has begun, and the page that was asked for before it."""

    session: SignedIn
    onward: str
    id_token: str


class SignInService:
    """Who comes in by a provider.

    Args:
        database: Holds people's keys and what was taken back already.
        settings: Which provider, and what it makes of whom.
        keys: Whose key is whose, as it was looked up a moment ago.
        access: Begins sessions.
    """

    def __init__(self, database: Database, settings: Settings, keys: Keys, access: AccessService) -> None:
        self._database = database
        self._settings = settings
        self._keys = keys
        self._access = access
        self._provider = Provider(settings, settings.public_url.rstrip("/") + CALLBACK)

    def options(self) -> SignInOptions:
        """How a browser may come in besides by a link and a key."""
        if not self._settings.oidc_issuer:
            return SignInOptions(providers=[])
        host = urlsplit(self._settings.oidc_issuer).hostname or ""
        named = SignInProvider(name=self._settings.oidc_name or host, path=BEGINS, sign_out=LEAVES)
        return SignInOptions(providers=[named])

    def begin(self, onward: str) -> tuple[str, str]:
        """Where a browser goes, and what it keeps meanwhile.

        Args:
            onward: The page of the studio that is wanted; one that is none counts as the first.

        Raises:
            NotFound: No provider is set.
            SignInRefused: It does not answer.
        """
        import jwt

        self._expect_provider()
        attempt = Attempt(
            state=secrets.token_urlsafe(32),
            nonce=secrets.token_urlsafe(32),
            verifier=secrets.token_urlsafe(48),
            onward=_page(onward),
            exp=int(now().timestamp()) + ATTEMPT_SECONDS,
        )
        kept = jwt.encode(attempt.model_dump(), self._secret(), _SIGNED)
        return self._provider.authorization_url(attempt), kept

    def finish(self, kept: str, brought: Brought, origin: Origin) -> Entered:
        """Begin a session for whom the provider names.

        Args:
            kept: What the browser kept.
            brought: What it brings back.
            origin: Where the call comes from.

        Raises:
            NotFound: No provider is set.
            SignInRefused: They do not come in.
        """
        self._expect_provider()
        attempt = self._attempt(kept, brought.state)
        self._provider.expect_issuer(brought.issuer)
        self._use_up(attempt)
        if brought.error or not brought.code:
            is_own_wish = brought.error == "access_denied"
            failure = SignInFailure.CANCELLED if is_own_wish else SignInFailure.REFUSED
            raise SignInRefused(failure, f"the provider says `{brought.error[:60]}`")
        told = self._provider.told(brought.code, attempt)
        person = person_of(told.claims, self._settings)
        until = now() + dt.timedelta(hours=self._settings.oidc_session_hours)
        sha256 = self.key_of(person, until, origin)
        return Entered(self._access.begin(sha256, until), attempt.onward, told.id_token)

    def leave(self, id_token: str) -> str | None:
        """Where a browser ends its session at the provider; None where the provider has no such place, or is away.

        Args:
            id_token: Of its sign-in; empty where it was too long to be kept.

        Raises:
            NotFound: No provider is set.
        """
        import jwt

        self._expect_provider()
        until = int(now().timestamp()) + ATTEMPT_SECONDS
        state = jwt.encode({"left": secrets.token_urlsafe(8), "exp": until}, self._secret(), _SIGNED)
        try:
            back = self._settings.public_url.rstrip("/") + LEFT
            return self._provider.end_session_url(id_token, back, state)
        except SignInRefused as refused:
            logger.warning("the session at the provider stays: %s", refused)
            return None

    def is_left(self, state: str) -> bool:
        """Whether a browser that comes back was sent to the provider to leave it, a moment ago.

        Raises:
            NotFound: No provider is set.
        """
        import jwt

        self._expect_provider()
        try:
            jwt.decode(state, self._secret(), algorithms=[_SIGNED], options={"require": ["exp", "left"]})
        except jwt.PyJWTError:
            return False
        return True

    def _expect_provider(self) -> None:
        if not self._settings.oidc_issuer:
            raise NotFound(
                "No identity provider is set up here.",
                hint="`tunesmith up --open` makes a link for this browser; or show an API key.",
            )

    def _attempt(self, kept: str, state: str) -> Attempt:
        """What a browser kept, if it is what it was given and belongs to what it brings."""
        import jwt

        try:
            found = Attempt.model_validate(
                jwt.decode(kept, self._secret(), algorithms=[_SIGNED], options={"require": ["exp"]})
            )
        except (jwt.PyJWTError, ValueError):
            raise SignInRefused(SignInFailure.LOST, "the browser kept no sign-in that counts") from None
        if not hmac.compare_digest(found.state.encode(), state.encode()):
            raise SignInRefused(SignInFailure.LOST, "the browser kept another sign-in: its state")
        return found

    def _use_up(self, attempt: Attempt) -> None:
        """Take a sign-in back once, on whichever server, also where a provider would take its code twice."""
        used = digest_of(f"sign-in {attempt.state}")
        until = dt.datetime.fromtimestamp(attempt.exp, dt.UTC)

        def store(session: Session) -> bool:
            # Called a code, it is no session; and no code is looked for under such a name.
            row = BrowserRow(sha256=used, is_code=True, key_sha256="", created_at=now(), expires_at=until)
            return repository.put_first(session, row)

        if not self._database.retry_on_conflict(store):
            raise SignInRefused(SignInFailure.LOST, "this sign-in was finished already")

    def key_of(self, person: Person, until: dt.datetime, origin: Origin) -> str:
        """The hash of a person's key, as they are now; nobody has its secret, only sessions stand for it.

        Args:
            person: Who came in.
            until: When it ends.
            origin: Where the call comes from.
        """
        sha256 = self._database.retry_on_conflict(
            lambda session: self._stored(session, person, until, origin)
        )
        self._keys.forget(sha256)
        return sha256

    def _stored(self, session: Session, person: Person, until: dt.datetime, origin: Origin) -> str:
        moment = now()
        row = keys_repository.of_subject(session, person.subject)
        if row is None:
            row = ApiKeyRow(
                sha256=digest_of(secrets.token_urlsafe(32)),
                id=new_id("key"),
                subject=person.subject,
                created_by=(urlsplit(self._settings.oidc_issuer).hostname or "")[:80],
                created_at=moment,
            )
            keys_repository.put(session, row)
        row.name, row.role, row.expires_at = person.name, person.role, until
        row.projects = None
        if person.projects is not None:
            unknown = set(keys_repository.unknown_projects(session, person.projects))
            for name in sorted(unknown):
                logger.warning("sign-in: `oidc_projects` names the project `%s`, and there is none", name)
            row.projects = sorted(person.projects - unknown)
        done = Change(
            who=row.name,
            role=row.role,
            key_id=row.id,
            action="sign_in",
            subject="",
            request_id=origin.request_id,
            address=origin.address,
            made=[],
        )
        audit.append(session, done, moment)
        return row.sha256

    def _secret(self) -> bytes:
        """What signs that which browsers keep: derived of the platform's secret, for this use alone."""
        return hmac.new(
            _SALT, read_secret(self._settings.report_secret_file).encode(), hashlib.sha256
        ).digest()


def _page(onward: str) -> str:
    """A page of the studio that a sign-in may lead to; "" where it is none, or one that signs in by itself."""
    if not _ONWARD.fullmatch(onward):
        return ""
    parts = [unquote(part) for part in onward.partition("?")[0].split("/") if part]
    return "" if parts and parts[0] in _ENTRANCES else onward
