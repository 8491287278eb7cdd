"""Every route that the API describes, asked as its description says it may be. No test itself."""

import re
from pathlib import Path
from typing import Any, NamedTuple

from fastapi.testclient import TestClient

from tunesmith_platform.app import create_app
from tunesmith_platform.http import STUDIO_HEADER
from tunesmith_platform.settings import Settings

_OTHERS = {
    "attempt": "1",
    "conversation": "conversation-a",
    "dataset": "data-a",
    "estimate_id": "measure-a",
    "key_id": "key-a",
    "kind": "train",
    "model": "model-a",
    "name": "template-a",
    "pipeline_id": "pipe-a",
    "place": "0",
    "project": "project-a",
    "receiver": "hook-a",
    "runner_id": "runner-a",
    "step": "1",
    "task_id": "task-a",
    "token": "token-a",
    "turn": "1",
    "upload": "upload-a",
    "webhook_id": "hook-a",
    "which": "scores",
}
"""What another project's things are called in a path."""


class Route(NamedTuple):
    """A route as it is described."""

    method: str
    path: str
    query: dict[str, Any]
    body: Any
    """The first example of what is sent; None where nothing is."""

    @property
    def name(self) -> str:
        return f"{self.method} {self.path}"

    @property
    def asked_path(self) -> str:
        """Its path, with the names of what another project has."""
        return re.sub(r"\{(\w+)\}", lambda found: _OTHERS[found[1]], self.path)

    def ask(self, client: TestClient, key: str | None) -> Any:
        """Ask it of what another project has."""
        headers = {STUDIO_HEADER: "1"} | ({} if key is None else {"Authorization": f"Bearer {key}"})
        sent: dict[str, Any] = {"json": self.body} if isinstance(self.body, dict | list) else {}
        if isinstance(self.body, str | bytes):
            sent = {"content": self.body}
        return client.request(self.method, self.asked_path, params=self.query, headers=headers, **sent)


def described_routes(home: Path) -> list[Route]:
    """All of them."""
    document = create_app(Settings(home=home, run_loops=False)).openapi()
    found = []
    for path, methods in document["paths"].items():
        for method, said in methods.items():
            query = {
                one["name"]: one.get(
                    "example",
                    one["schema"].get("default", 0 if one["schema"].get("type") == "integer" else "a"),
                )
                for one in said.get("parameters", ())
                if one["in"] == "query" and one.get("required")
            }
            found.append(Route(method.upper(), path, query, _example(said)))
    assert len(found) > 100
    return found


def _example(said: dict[str, Any]) -> Any:
    for content in said.get("requestBody", {}).get("content", {}).values():
        for one in content.get("examples", {}).values():
            return one["value"]
        return content.get("example", {})
    return None
