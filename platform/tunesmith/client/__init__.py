"""The client: every call of the REST API as a typed method."""

from tunesmith.client.client import Client, TaskFilter

__all__ = ["Client", "TaskFilter"]
