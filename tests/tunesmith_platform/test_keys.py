"""Keys: what they may, where they work, when they end; and what stands for them ends with them."""

import datetime as dt
from pathlib import Path
from typing import Any

import pytest
from conftest_platform import Plane
from fastapi.testclient import TestClient
from given import MODEL, ROWS
from model_files import make_model_folder

from tunesmith_platform import auth
from tunesmith_platform.clock import now
from tunesmith_platform.keys import service

TASK = {"spec": {"model_name_or_path": MODEL, "train_file": ROWS}}


def make(client: TestClient, key: str | None = None, **body: Any) -> Any:
    headers = {} if key is None else {"Authorization": f"Bearer {key}"}
    return client.post("/v1/keys", json=body, headers=headers)


def secret(client: TestClient, **body: Any) -> str:
    reply = make(client, **body)
    assert reply.status_code == 201, reply.text
    return str(reply.json()["secret"])


def shown(key: str) -> dict[str, dict[str, str]]:
    return {"headers": {"Authorization": f"Bearer {key}"}}


@pytest.fixture
def projects(client: TestClient) -> None:
    for name in ("search", "speech"):
        assert client.post("/v1/projects", json={"name": name}).status_code == 201


def test_a_secret_is_told_once_and_kept_nowhere(client: TestClient, plane: Plane) -> None:
    reply = make(client, name="ann")
    told = reply.json()["secret"]
    assert reply.headers["cache-control"] == "no-store"
    assert told not in client.get("/v1/keys").text
    stored = Path(plane.settings.database_url.removeprefix("sqlite:///"))
    assert not any(told.encode() in file.read_bytes() for file in stored.parent.glob(f"{stored.name}*"))
    (key,) = (key for key in client.get("/v1/keys").json()["data"] if key["name"] == "ann")
    assert (key["role"], key["projects"], key["created_by"]) == ("member", ["default"], "local")
    assert key["used_at"] is None
    assert client.get("/v1/tasks", **shown(told)).status_code == 200
    (key,) = (key for key in client.get("/v1/keys").json()["data"] if key["name"] == "ann")
    assert key["used_at"] is not None


def test_a_revoked_key_is_out_at_once_with_its_browsers_and_its_links(
    client: TestClient, plane: Plane
) -> None:
    made = make(client, name="ann").json()
    key = made["secret"]
    own = {"X-Tunesmith-Studio": "1", "Sec-Fetch-Site": "same-origin"}
    with TestClient(plane.app) as browser:
        assert browser.post("/v1/sessions", headers=shown(key)["headers"] | own).status_code == 201
        assert browser.get("/v1/tasks", headers=own).status_code == 200
        assert client.delete(f"/v1/keys/{made['key']['id']}").json()["revoked_at"]
        assert browser.get("/v1/tasks", headers=own).status_code == 401
        assert browser.post("/v1/sessions", headers=shown(key)["headers"] | own).status_code == 401
    refused = client.get("/v1/tasks", **shown(key))
    assert (refused.status_code, "revoked" in refused.json()["error"]["message"]) == (401, True)
    assert plane.services.keys.made_by(lambda sha256: sha256 == auth.digest_of(key)) is None
    assert client.delete(f"/v1/keys/{made['key']['id']}").status_code == 200, "a second click"


def test_a_key_ends_by_itself_also_while_it_is_trusted(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    soon = now() + dt.timedelta(seconds=5)
    key = secret(client, name="ann", expires_at=soon.isoformat())
    assert client.get("/v1/tasks", **shown(key)).status_code == 200
    monkeypatch.setattr(auth, "now", lambda: soon)
    refused = client.get("/v1/tasks", **shown(key))
    assert (refused.status_code, "expired" in refused.json()["error"]["message"]) == (401, True)
    assert make(client, name="ann", expires_at="2020-01-01T00:00:00Z").status_code == 422


@pytest.mark.usefixtures("projects")
def test_who_is_no_administrator_makes_keys_for_itself_that_may_no_more(client: TestClient) -> None:
    until = (now() + dt.timedelta(days=2)).isoformat()
    ann = secret(client, name="ann", projects=["search"], expires_at=until)
    own = make(client, ann).json()["key"]
    assert (own["name"], own["role"], own["projects"]) == ("ann", "member", ["search"])
    assert dt.datetime.fromisoformat(own["expires_at"]) <= dt.datetime.fromisoformat(until)
    for more in (
        {"name": "bob"},
        {"role": "admin"},
        {"projects": ["speech"]},
        {"all_projects": True},
    ):
        assert make(client, ann, **more).status_code == 403, more
    reader = make(client, ann, role="viewer").json()
    assert make(client, reader["secret"], role="member").status_code == 403
    bob = make(client, name="bob").json()["key"]["id"]
    assert client.delete(f"/v1/keys/{bob}", **shown(ann)).status_code == 404
    assert {key["name"] for key in client.get("/v1/keys", **shown(ann)).json()["data"]} == {"ann"}
    assert make(client, name="ann", projects=["nowhere"]).status_code == 422


def test_the_last_administrators_key_stays(client: TestClient) -> None:
    (local,) = client.get("/v1/keys").json()["data"]
    assert client.delete(f"/v1/keys/{local['id']}").status_code == 409
    ending = secret(client, name="eve", role="admin", expires_at=(now() + dt.timedelta(days=1)).isoformat())
    assert client.delete(f"/v1/keys/{local['id']}", **shown(ending)).status_code == 409, "nobody after a day"
    other = secret(client, name="ann", role="admin")
    assert client.delete(f"/v1/keys/{local['id']}", **shown(other)).status_code == 200
    assert client.get("/v1/tasks").status_code == 401


@pytest.mark.usefixtures("projects")
def test_a_member_works_where_its_key_does(client: TestClient, plane: Plane) -> None:
    ann, bob = (
        secret(client, name="ann", projects=["search"]),
        secret(client, name="bob", projects=["speech"]),
    )
    made = client.post("/v1/tasks", json=TASK, **shown(ann))
    assert (made.status_code, made.json()["project"]) == (201, "search")
    task = f"/v1/tasks/{made.json()['id']}"
    assert client.post("/v1/tasks", json=TASK | {"project": "speech"}, **shown(ann)).status_code == 403
    assert client.get(task, **shown(bob)).status_code == 404
    assert client.post(f"{task}:stop", **shown(bob)).status_code == 404
    assert client.get("/v1/tasks", **shown(bob)).json()["data"] == []
    assert client.get(task).status_code == 200, "an administrator sees all"
    assert client.put("/v1/projects/search/members/bob").status_code == 200
    assert client.get(task, **shown(bob)).status_code == 200, "at once"
    view = client.get("/v1/projects/search", **shown(bob)).json()
    assert [one["name"] for one in view["members"]] == ["ann", "bob"]
    assert client.delete("/v1/projects/search/members/ann").status_code == 200
    nowhere = client.get(task, **shown(ann))
    assert (nowhere.status_code, "no project" in nowhere.json()["error"]["message"]) == (403, True)
    assert client.get("/v1/sessions/current", **shown(ann)).json()["projects"] == []
    assert client.put("/v1/projects/search/members/nobody").status_code == 404
    assert client.put("/v1/projects/nowhere/members/ann").status_code == 404


@pytest.mark.usefixtures("projects")
def test_models_that_were_found_are_everybodys_and_changed_by_nobody_else(
    client: TestClient, plane: Plane
) -> None:
    make_model_folder(plane.settings.models_dir / "small")
    ann = secret(client, name="ann", projects=["search"])
    assert [model["name"] for model in client.get("/v1/models", **shown(ann)).json()["data"]] == ["small"]
    assert client.get("/v1/models/small", **shown(ann)).status_code == 200
    assert client.patch("/v1/models/small", json={"name": "mine"}, **shown(ann)).status_code == 403
    assert client.delete("/v1/models/small", **shown(ann)).status_code == 403
    assert client.patch("/v1/models/small", json={"name": "ours"}).status_code == 200


def test_gauges_of_all_need_a_key_that_works_everywhere(client: TestClient) -> None:
    assert client.get("/metrics", **shown(secret(client, name="ann"))).status_code == 403
    prometheus = secret(client, name="prometheus", role="viewer", all_projects=True)
    assert client.get("/metrics", **shown(prometheus)).status_code == 200


def test_nobody_takes_the_platforms_name(client: TestClient) -> None:
    assert make(client, name=service.PLATFORM).status_code == 422
