"""Fixtures of the control plane's tests."""

import pytest
from chat_bench import bench, served_bench
from conftest_platform import Plane, client, home, plane
from evaluated_trainings import trainings
from receivers import hook
from scored_trainings import scored
from talks import api

from tunesmith_platform.addresses import AddressKind

__all__ = ["api", "bench", "client", "home", "hook", "plane", "scored", "served_bench", "trainings"]


@pytest.fixture
def private_addresses(plane: Plane) -> None:
    """Webhooks may lead to this machine."""
    plane.settings.notify_addresses = [*AddressKind]
