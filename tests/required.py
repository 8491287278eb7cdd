"""Real parts that a test needs and a machine may lack. No test itself."""

import os

import pytest


def require(part: object, what: str) -> None:
    """Go on where a part is here; skip the test where it is not, and fail it where CI runs.

    Args:
        part: Whether it is here: a path, a module, a boolean.
        what: Its name, as a sentence begins with it.
    """
    if part:
        return
    if os.environ.get("CI") == "true":
        pytest.fail(f"{what} is not here, and CI skips nothing.", pytrace=False)
    pytest.skip(f"{what} is not here.")
