"""Calls that make something once for their `Idempotency-Key` and body, however often they are sent.

A key is its caller's own. What it is held against is everything that was sent, in one form. Knows keys; knows nothing
of what is made.
"""

import datetime as dt
import hashlib
import json
from collections.abc import Callable
from typing import Generic, TypeVar

from pydantic import BaseModel
from sqlalchemy.orm import Session

from tunesmith.errors import IdempotencyConflict, InvalidInput
from tunesmith_platform.db.scoping import get
from tunesmith_platform.db.tables import IdempotencyRow
from tunesmith_platform.scope import Scope

T = TypeVar("T")


class Keyed(Generic[T]):
    """A call that makes something, once where it has a key.

    Args:
        scope: Who calls.
        key: Its `Idempotency-Key`; None makes something each time.
        body: What was sent, in one form.
        what: What is made, in a word.
        shown: Shows what was made before, by its id.
    """

    def __init__(
        self, scope: Scope, key: str | None, body: str, *, what: str, shown: Callable[[Session, str], T]
    ) -> None:
        self._scope = scope
        self._key = key
        self._sha256 = hashlib.sha256(body.encode()).hexdigest()
        self._what = what
        self._shown = shown

    def before(self, session: Session) -> T | None:
        """What this key and body made before; asked once more in the transaction that would make it.

        Raises:
            IdempotencyConflict: The key was used with another body.
        """
        if self._key is None:
            return None
        # The key is the caller's own, wherever it was used: what it made may be out of its sight now.
        used = get(session, self._scope.everything(), IdempotencyRow, (self._scope.owner, self._key))
        if used is None:
            return None
        if used.body_sha256 != self._sha256:
            raise conflict(self._what)
        return self._shown(session, used.task_id)

    def remember(self, session: Session, made_id: str, project: str, moment: dt.datetime) -> None:
        """Note what the call makes, in the transaction that makes it."""
        if self._key is not None:
            session.add(
                IdempotencyRow(
                    owner=self._scope.owner,
                    project=project,
                    key=self._key,
                    body_sha256=self._sha256,
                    task_id=made_id,
                    created_at=moment,
                )
            )


def conflict(what: str) -> IdempotencyConflict:
    """What is said of a key that made something else before.

    Args:
        what: What it makes, in a word.
    """
    return IdempotencyConflict(
        "This `Idempotency-Key` was used with another body.", hint=f"Use a new key for a new {what}."
    )


def sent_as(verb: str, body: BaseModel) -> str:
    """A body under what was asked of it.

    Raises:
        InvalidInput: It is nested so deeply that it cannot be written out.
    """
    return f"{verb} {sent(body)}"


def sent(body: BaseModel) -> str:
    """A body in one form.

    Raises:
        InvalidInput: It is nested so deeply that it cannot be written out.
    """
    return _written(body.model_dump_json)


def sent_in_order(verb: str, body: BaseModel) -> str:
    """As `sent_as`, with the names in order: the form in which what is made of tasks is remembered.

    Raises:
        InvalidInput: It is nested so deeply that it cannot be written out.
    """
    return _written(lambda: f"{verb} " + json.dumps(body.model_dump(mode="json"), sort_keys=True))


def _written(write: Callable[[], str]) -> str:
    try:
        return write()
    except (ValueError, RecursionError):
        raise InvalidInput("What was sent is nested too deeply.", hint="Write it flatter.") from None
