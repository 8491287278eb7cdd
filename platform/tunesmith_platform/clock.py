"""Time and names: the platform's clock, and ids that sort by age."""

import datetime as dt
import secrets
import time
from contextvars import ContextVar

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_DIGITS = 18


def now() -> dt.datetime:
    """The current time, with its zone."""
    return dt.datetime.now(dt.UTC)


MADE: ContextVar[list[str] | None] = ContextVar("made", default=None)
"""What the call that is served here has made so far, by its ids; None where nobody wants to know."""


def note_made(name: str) -> None:
    """Note what the call that is served here makes."""
    if (noted := MADE.get()) is not None:
        noted.append(name)


def new_id(prefix: str) -> str:
    """An id that sorts by the millisecond it was made in: `task-01k9...` (Crockford base 32, as a ULID)."""
    value = (time.time_ns() // 1_000_000) << 40 | secrets.randbits(40)
    digits = ""
    for _ in range(_DIGITS):
        digits = _ALPHABET[value & 31] + digits
        value >>= 5
    made = f"{prefix}-{digits}"
    note_made(made)
    return made


def made_at(identity: str) -> dt.datetime | None:
    """When an id of `new_id` was made; None for what is none."""
    digits = identity.rpartition("-")[2]
    if len(digits) != _DIGITS or not set(digits) <= set(_ALPHABET):
        return None
    value = 0
    for digit in digits:
        value = value << 5 | _ALPHABET.index(digit)
    return dt.datetime.fromtimestamp((value >> 40) / 1000, dt.UTC)
