"""Time and names: the platform's clock, and ids that sort by age."""

import datetime as dt
import secrets
import time

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"


def now() -> dt.datetime:
    """The current time, with its zone."""
    return dt.datetime.now(dt.UTC)


def new_id(prefix: str) -> str:
    """An id that sorts by the millisecond it was made in: `task-01k9...` (Crockford base 32, as a ULID)."""
    value = (time.time_ns() // 1_000_000) << 40 | secrets.randbits(40)
    digits = ""
    for _ in range(18):
        digits = _ALPHABET[value & 31] + digits
        value >>= 5
    return f"{prefix}-{digits}"
