"""Every route that the API describes, asked by everybody who may not: refused, and never a word of another's data.

What is asked comes from the API's own description, so that a new route is asked too: with its own example of a body,
and in its path the names of what another project has.
"""

import asyncio
import datetime as dt
import re
from typing import Any

import pytest
from conftest_platform import Plane
from described_routes import Route, described_routes
from fastapi.testclient import TestClient
from sqlalchemy import update
from two_users import NUMBERS, rows_of

from tunesmith.access import Role
from tunesmith_platform.clock import now
from tunesmith_platform.db.tables import ApiKeyRow, ProjectRow
from tunesmith_platform.monitoring.following import WorkspaceReader

KEYLESS = {
    "GET /healthz": "Says that the server is up, and nothing else.",
    "GET /livez": "Says that the process lives, and nothing else.",
    "GET /readyz": "Says whether the database answers, and nothing else.",
    "GET /v1/sign-in": "Says how one may sign in, and nothing else.",
    "GET /v1/sign-in/oidc": "Sends a browser to the identity provider.",
    "GET /v1/sign-in/oidc/callback": "A browser shows what the provider gave it (sign_in/test_sign_in.py).",
    "GET /v1/sign-in/oidc/sign-out": "Sends a browser to the identity provider, with what itself kept.",
    "GET /v1/sign-in/oidc/signed-out": "Sends a browser on to the studio.",
    "GET /v1/package-links/{token}/{name}": "The address itself is signed.",
    "GET /v1/tasks/{task_id}/reports/{attempt}": "Jobs show the token of their attempt.",
    "POST /v1/runners/{runner_id}/next": "Runners show a token of their own.",
    "POST /v1/sessions": "A browser shows a code or a key.",
    "POST /v1/tasks/{task_id}/reports": "Jobs show the token of their attempt.",
}
"""Routes that ask for something else than a key, with why. What they ask for, an API key never is."""
OPEN = {
    "/healthz",
    "/livez",
    "/readyz",
    "/v1/sign-in",
    "/v1/sign-in/oidc",
    "/v1/sign-in/oidc/callback",
    "/v1/sign-in/oidc/sign-out",
    "/v1/sign-in/oidc/signed-out",
}
"""What answers everybody."""
ABOUT_ONESELF = {
    "DELETE /v1/keys/{key_id}": "Revokes a key of one's own.",
    "DELETE /v1/sessions/current": "Signs out.",
    "POST /v1/sessions:link": "Signs a browser in as oneself.",
    "POST /v1/tasks/{task_id}/evaluation:recompute": "Computes, and stores nothing.",
}
"""What changes something and a viewer may all the same, with why."""
FOR_ADMINISTRATORS = {
    "DELETE /v1/projects/{project}/members/{name}",
    "DELETE /v1/webhooks/{webhook_id}",
    "GET /v1/audit",
    "GET /v1/deliveries",
    "GET /v1/webhooks",
    "POST /v1/projects",
    "POST /v1/quota/{project}/grants",
    "POST /v1/system/mlflow-link",
    "POST /v1/webhooks",
    "POST /v1/webhooks/{receiver}:test",
    "PUT /v1/projects/{project}/members/{name}",
    "PUT /v1/quota/{project}",
}
FOR_WHO_SEES_ALL = {"GET /metrics"}
ENDLESS = {"GET /v1/stream"}
"""What answers whoever may until they leave: its first words are read below."""
_SECRET = re.compile(r"\b[a-z]+-a\b(?!-)")


@pytest.fixture(scope="module")
def described(tmp_path_factory: pytest.TempPathFactory) -> list[Route]:
    return described_routes(tmp_path_factory.mktemp("home"))


class Team:
    """A project of somebody else, full of everything; and the keys of those who may not."""

    def __init__(self, plane: Plane, client: TestClient) -> None:
        self.client, self.plane = client, plane
        with plane.services.database.write() as session:
            for row in rows_of("a", NUMBERS["a"]):
                session.add(row)
                session.flush()
            session.add(ProjectRow(project="project-b", description="", created_by="b", created_at=now()))
        self.other = self.key("member", "b", ["project-b"])
        self.viewer = self.key("viewer", "v", ["project-a"])
        self.expired = self.key("member", "late", ["project-a"], expires_at=now() + dt.timedelta(hours=1))
        self.revoked = self.key("member", "gone", ["project-a"])
        made = next(key for key in self.listed() if key["name"] == "gone")
        assert client.delete(f"/v1/keys/{made['id']}").status_code == 200
        with plane.services.database.write() as session:
            late = update(ApiKeyRow).where(ApiKeyRow.name == "late")
            session.execute(late.values(expires_at=now() - dt.timedelta(seconds=1)))

    def key(self, role: str, name: str, projects: list[str], **more: Any) -> str:
        return self.plane.key(name, Role(role), projects=projects, **more)

    def listed(self) -> list[dict[str, Any]]:
        return list(self.client.get("/v1/keys").json()["data"])


@pytest.fixture
def team(plane: Plane, client: TestClient) -> Team:
    return Team(plane, client)


def test_no_route_answers_who_shows_no_key_or_one_that_does_not_count(
    team: Team, described: list[Route]
) -> None:
    answered = []
    with TestClient(team.plane.app, raise_server_exceptions=False) as stranger:
        for route in described:
            for who, key in (("nobody", None), ("expired", team.expired), ("revoked", team.revoked)):
                reply = route.ask(stranger, key)
                if reply.status_code != 401 and route.path not in OPEN:
                    answered.append(f"{route.name} answers {who}: {reply.status_code}")
    assert answered == []
    assert {route.name for route in described} >= KEYLESS.keys(), "an exception that is none any more"


def test_a_viewer_changes_nothing(team: Team, described: list[Route]) -> None:
    changing = [route for route in described if route.method != "GET"]
    allowed = {
        route.name
        for route in changing
        if route.name not in KEYLESS and route.ask(team.client, team.viewer).status_code != 403
    }
    assert allowed == ABOUT_ONESELF.keys()


def test_what_is_for_administrators_is_refused_to_members(team: Team, described: list[Route]) -> None:
    refused = set()
    for route in described:
        if route.name in KEYLESS or route.name in ENDLESS:
            continue
        reply = route.ask(team.client, team.other)
        if reply.status_code == 403 and "administrators" in reply.text:
            refused.add(route.name)
    assert refused == FOR_ADMINISTRATORS


def test_no_route_says_or_changes_what_another_project_has(team: Team, described: list[Route]) -> None:
    told, shown = [], 0
    for route in described:
        if route.name in KEYLESS or route.name in FOR_ADMINISTRATORS | FOR_WHO_SEES_ALL | ENDLESS:
            continue
        reply = route.ask(team.client, team.other)
        if route.method == "GET" and not route.path.endswith("/stream"):
            shown += bool(_SECRET.search(route.ask(team.client, team.viewer).text))
        if reply.status_code >= 500:
            told.append(f"{route.name} fails: {reply.status_code} {reply.text[:200]}")
        elif reply.status_code < 300:
            if "{" in route.path and not {"kind", "project"} & set(re.findall(r"\{(\w+)\}", route.path)):
                told.append(f"{route.name} answers {reply.status_code} {reply.text[:200]}")
            if _SECRET.search(reply.text.replace("project-a", "")):
                told.append(f"{route.name} says {_SECRET.findall(reply.text)[:3]}")
        elif reply.status_code not in (401, 403, 404, 409, 413, 422):
            told.append(f"{route.name} answers {reply.status_code}")
    assert told == []
    assert shown > 20, "who works there is shown it: there was something to see"


def test_the_live_list_has_ones_own_projects_tasks_alone(team: Team) -> None:
    found = {}
    for name, key in (("other", team.other), ("viewer", team.viewer)):
        scope = team.plane.services.keys.identity(key).scope()
        reader = WorkspaceReader(team.plane.services.following.of(scope), None)

        async def first(reader: WorkspaceReader = reader) -> bytes:
            reader.attach(lambda: None)
            try:
                while True:
                    chunk = await reader.next()
                    if chunk is None or chunk.plain:
                        return chunk.plain if chunk else b""
                    await asyncio.sleep(0.05)
            finally:
                reader.detach()

        found[name] = asyncio.run(first())
    assert b"task-a" in found["viewer"]
    assert b"task-a" not in found["other"]
