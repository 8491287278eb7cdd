"""The client: every call of the REST API as a typed method."""

from tunesmith.client.client import Client
from tunesmith.client.tasks import TaskFilter

__all__ = ["Client", "TaskFilter"]
