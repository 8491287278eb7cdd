"""Fixtures of the control plane's tests."""

from conftest_platform import client, home, plane

__all__ = ["client", "home", "plane"]
