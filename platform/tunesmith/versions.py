"""Which version of Tunesmith speaks to which: what both sides say of themselves, and what is said where they differ.

Client and server of one version know the same fields, routes and answers. With others most calls work; where one does
not, the newer side knows why: it is told which it is.
"""

import re

import tunesmith

HEADER = "X-Tunesmith-Version"
"""Sent with every call and every answer."""
_NUMBERS = re.compile(r"^(\d+)\.(\d+)\.(\d+)")


def numbers(version: str | None) -> tuple[int, ...] | None:
    """A version as numbers that can be compared; None where it is none."""
    found = _NUMBERS.match(version or "")
    return tuple(int(one) for one in found.groups()) if found else None


def is_older(one: str | None, other: str) -> bool:
    """Whether a version is older than another; one that is not told is taken for the same."""
    first, second = numbers(one), numbers(other)
    return first is not None and second is not None and first < second


def skew_of_client(client: str | None) -> str:
    """What a server says to an older client whose call it cannot take; empty where it is not older."""
    if not is_older(client, tunesmith.__version__):
        return ""
    return f"This client is Tunesmith {client}, older than the server's {tunesmith.__version__}: install that version."


def skew_of_server(server: str | None) -> str:
    """What a client says whose call an older server could not take; empty where it is not older."""
    if not is_older(server, tunesmith.__version__):
        return ""
    return (
        f"The server is Tunesmith {server}, older than this client's {tunesmith.__version__}: install the server's "
        "version here, or bring the server up to date."
    )
