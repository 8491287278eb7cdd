"""A control plane that signs browsers in by an identity provider, and both beside it."""

from signing_in import browser, issuer, plane, project

__all__ = ["browser", "issuer", "plane", "project"]
