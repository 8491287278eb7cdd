"""What a shell offers after a tab: names of the running platform's tasks, models, templates and the like.

Quick, and quiet where no platform runs: one plain call that waits half a second, with nothing imported that takes long.
"""

import contextlib
import http.client
import json
import os
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

SECONDS = 0.5
"""Nobody who pressed tab waits for longer."""
_MOST = 200


def _server() -> tuple[str, str]:
    """The platform's address and the key for it, as `tunesmith.client.transport.find_server` finds them."""
    home = Path(os.environ.get("TUNESMITH_HOME") or Path.home() / ".tunesmith").absolute()
    try:
        own = str(json.loads((home / "connection.json").read_bytes())["api_url"])
    except (OSError, ValueError, KeyError):
        own = ""
    url = os.environ.get("TUNESMITH_URL") or own
    key = os.environ.get("TUNESMITH_API_KEY") or ""
    if not key and url.rstrip("/") == own.rstrip("/"):  # the folder's key goes to its own server alone
        key = (home / "api-key").read_text().strip()
    return url, key


def _ask(path: str) -> list[dict[str, Any]]:
    """What a list of the platform holds; nothing where it does not answer at once."""
    connection: http.client.HTTPConnection | None = None
    try:
        url, key = _server()
        parts = urlsplit(url)
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        connection = kind(parts.hostname or "", parts.port, timeout=SECONDS)
        connection.request(
            "GET", f"{parts.path.rstrip('/')}{path}", headers={"Authorization": f"Bearer {key}"}
        )
        answer = connection.getresponse()
        found = json.loads(answer.read())["data"] if answer.status == 200 else []
        return [item for item in found if isinstance(item, dict)]
    except (OSError, ValueError, KeyError, TypeError, http.client.HTTPException):
        return []
    finally:
        if connection is not None:
            connection.close()


OFFERS: dict[str, Callable[[str], list[str]]] = {}
"""What is offered, by the name that an index has for it."""
_is_named: ContextVar[bool] = ContextVar("named", default=False)


@contextlib.contextmanager
def named() -> Iterator[None]:
    """Offer the name of each list of the platform instead of what is in it, while the block runs."""
    before = _is_named.set(True)
    try:
        yield
    finally:
        _is_named.reset(before)


def _names(name: str, path: str, *fields: str) -> Callable[[str], list[str]]:
    """What offers the names in a list that begin with what was typed."""

    def offered(incomplete: str) -> list[str]:
        if _is_named.get():
            return [f"@{name}"]

        def found() -> Iterator[str]:
            for item in _ask(path):
                names = [item.get(field) for field in fields]
                # The first field that begins so: a task is offered by its name, or by its id to who began with that.
                yield from [str(name) for name in names if name and str(name).startswith(incomplete)][:1]

        return list(dict.fromkeys(found()))

    OFFERS[f"@{name}"] = offered
    return offered


tasks = _names("tasks", f"/v1/tasks?limit={_MOST}", "name", "id")
models = _names("models", "/v1/models", "name", "id")
templates = _names("templates", f"/v1/templates?limit={_MOST}", "name")
datasets = _names("datasets", f"/v1/datasets?limit={_MOST}", "name", "id")
pipelines = _names("pipelines", "/v1/pipelines?limit=100", "id")
webhooks = _names("webhooks", "/v1/webhooks?limit=100", "id")
projects = _names("projects", f"/v1/quota?limit={_MOST}", "project")
