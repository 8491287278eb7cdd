"""Time and names: the platform's clock, and ids that sort by age."""

import datetime as dt
import secrets
import time

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_DIGITS = 18


def now() -> dt.datetime:
    """The current time, with its zone."""
    return dt.datetime.now(dt.UTC)


def new_id(prefix: str) -> str:
    """An id that sorts by the millisecond it was made in: `task-01k9...` (Crockford base 32, as a ULID)."""
    value = (time.time_ns() // 1_000_000) << 40 | secrets.randbits(40)
    digits = ""
    for _ in range(_DIGITS):
        digits = _ALPHABET[value & 31] + digits
        value >>= 5
    return f"{prefix}-{digits}"


def made_at(identity: str) -> dt.datetime | None:
    """When an id of `new_id` was made; None for what is none."""
    digits = identity.rpartition("-")[2]
    if len(digits) != _DIGITS or not set(digits) <= set(_ALPHABET):
        return None
    value = 0
    for digit in digits:
        value = value << 5 | _ALPHABET.index(digit)
    return dt.datetime.fromtimestamp((value >> 40) / 1000, dt.UTC)
