"""Fixtures of the control plane's tests."""

import pytest
from conftest_platform import Plane, client, home, plane
from receivers import hook

from tunesmith_platform.addresses import AddressKind

__all__ = ["client", "home", "hook", "plane"]


@pytest.fixture
def private_addresses(plane: Plane) -> None:
    """Webhooks may lead to this machine."""
    plane.settings.notify_addresses = [*AddressKind]
