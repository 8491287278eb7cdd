"""Makes keys, lists them, lets them count no more. Knows no HTTP."""

import secrets

from sqlalchemy.orm import Session

from tunesmith import views
from tunesmith.access import KeyView, MadeKey, NewKey, Role
from tunesmith.errors import Conflict, Forbidden, InvalidInput, NotFound
from tunesmith_platform.auth import Identity, Keys, digest_of
from tunesmith_platform.clock import new_id, now
from tunesmith_platform.db.engine import Database
from tunesmith_platform.db.tables import ApiKeyRow
from tunesmith_platform.keys import repository
from tunesmith_platform.scope import DEFAULT_PROJECT, PLATFORM

_PREFIX = "ts-"


class KeyService:
    """Keys of people and programs. Each method is one transaction.

    Args:
        database: Holds the hashes.
        keys: Whose key is whose, as it was looked up a moment ago.
    """

    def __init__(self, database: Database, keys: Keys) -> None:
        self._database = database
        self._keys = keys

    def make(self, maker: Identity, new: NewKey) -> MadeKey:
        """A new key. Whoever is no administrator makes one for itself, which may no more than its maker.

        Raises:
            Forbidden: It would be another's, or may more.
            InvalidInput: It ends before it begins, or names a project that is none.
        """
        moment, secret = now(), _PREFIX + secrets.token_urlsafe(32)
        projects = self._projects(maker, new)
        if new.expires_at is not None and new.expires_at <= moment:
            raise InvalidInput("The key would have expired already.", field="expires_at")
        name = maker.name if new.name is None else new.name
        if maker.role is not Role.ADMIN and name != maker.name:
            raise Forbidden(
                "Only an administrator makes keys for others.",
                hint=f"Leave the name out: it is `{maker.name}`.",
            )
        if name == PLATFORM:
            raise InvalidInput(f"`{name}` is the platform's own name.", field="name", hint="Use another.")
        maker.expect(new.role)
        row = ApiKeyRow(
            sha256=digest_of(secret),
            id=new_id("key"),
            name=name,
            role=new.role,
            projects=projects,
            created_by=maker.name,
            created_at=moment,
            expires_at=new.expires_at,
        )

        with self._database.write() as session:
            self._expect_projects(session, projects or ())
            until = repository.end_of(session, maker.key)
            if until is not None and maker.role is not Role.ADMIN:
                # Else whoever finds a key that is about to end would have one for ever.
                row.expires_at = until if row.expires_at is None else min(until, row.expires_at)
            repository.put(session, row)
        return MadeKey(key=view_of(row), secret=secret)

    def page(self, asker: Identity, after: str | None, limit: int) -> views.Page[KeyView]:
        """Keys, the newest first: everybody's for an administrator, else one's own."""
        whose = None if asker.role is Role.ADMIN else asker.name
        with self._database.read() as session:
            rows = repository.page(session, whose, after, limit)
        return views.Page.of([view_of(row) for row in rows], limit, lambda key: key.id)

    def revoke(self, asker: Identity, key_id: str) -> KeyView:
        """Let a key count no more, with the browsers' sessions that stand for it; one that was revoked stays so.

        Raises:
            NotFound: There is none, or it is another's and the asker no administrator.
            Conflict: It is the last that does not end by itself of an administrator.
        """
        with self._database.write() as session:
            row = repository.find(session, key_id)
            if row is None or (asker.role is not Role.ADMIN and row.name != asker.name):
                raise NotFound(f"There is no key `{key_id}`.", hint="`tunesmith keys list` shows them.")
            is_last = row.role == Role.ADMIN and not repository.other_administrators(session, key_id)
            if is_last and row.revoked_at is None:
                raise Conflict(
                    "This is the last administrator's key: nobody could make another.",
                    hint="Make one first: `tunesmith keys create NAME --role admin`.",
                )
            row.revoked_at = row.revoked_at or now()
            row.subject = None
        self._keys.forget(row.sha256)
        return view_of(row)

    def _projects(self, maker: Identity, new: NewKey) -> list[str] | None:
        """Where the key works; None: everywhere.

        Raises:
            Forbidden: Its maker does not.
        """
        wanted: set[str] | None = {DEFAULT_PROJECT} if maker.projects is None else set(maker.projects)
        if new.role is Role.ADMIN or new.all_projects:
            wanted = None
        elif new.projects is not None:
            wanted = set(new.projects)
        if maker.projects is not None and (wanted is None or not wanted <= maker.projects):
            beyond = "every project" if wanted is None else f"project `{min(wanted - maker.projects)}`"
            raise Forbidden(f"You do not work in {beyond}.", hint="A key works where whoever makes it does.")
        return None if wanted is None else sorted(wanted)

    def _expect_projects(self, session: Session, names: list[str] | tuple[()]) -> None:
        unknown = repository.unknown_projects(session, names)
        if unknown:
            raise InvalidInput(
                f"There is no project `{unknown[0]}`.",
                field="projects",
                hint=f"Make it first: `tunesmith projects create {unknown[0]}`.",
            )


def view_of(row: ApiKeyRow) -> KeyView:
    """A key as it is shown."""
    return KeyView(
        id=row.id,
        name=row.name,
        role=row.role,
        projects=row.projects,
        created_by=row.created_by,
        created_at=row.created_at,
        expires_at=row.expires_at,
        revoked_at=row.revoked_at,
        used_at=row.used_at,
    )
