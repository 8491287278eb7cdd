"""Fixtures of the control plane's tests."""

from collections.abc import Iterator

import pytest
from conftest_platform import Plane, client, home, plane
from receivers import Hook

from tunesmith_platform.addresses import AddressKind

__all__ = ["client", "home", "plane"]


@pytest.fixture
def hook() -> Iterator[Hook]:
    """A receiver of webhooks."""
    hook = Hook()
    yield hook
    hook.close()


@pytest.fixture
def private_addresses(plane: Plane) -> None:
    """Webhooks may lead to this machine."""
    plane.settings.notify_addresses = [*AddressKind]
