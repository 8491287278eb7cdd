"""What the platform's parts are told by others is answered, logged and kept without what they were shown."""

import base64
from pathlib import Path
from typing import Any

import httpx
import pytest
import sqlalchemy as sa
from canaries import canary, leaks, tell_tale
from conftest_platform import LOCAL, Plane
from fastapi.testclient import TestClient

from tunesmith.access import Role
from tunesmith.errors import TunesmithError, Unavailable
from tunesmith.storage_away import StorageAway
from tunesmith_platform.app import create_app
from tunesmith_platform.backends.mlflow import MlflowTracking
from tunesmith_platform.backends.ray_jobs import RayJobs
from tunesmith_platform.settings import Settings


@pytest.fixture
def secret(monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("AWS_SESSION_TOKEN", value := canary())
    return value


def raiser(error: Exception) -> Any:
    def refuse(*_: Any, **__: Any) -> None:
        raise error

    return refuse


@pytest.mark.parametrize("language", ["en", "zh"])
def test_an_answer_holds_no_secret_of_ours(
    plane: Plane, secret: str, language: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = f"The bucket refuses `{secret}`."
    error = Unavailable(words, details={"body": {"token": secret}}, hint=secret)
    app = create_app(plane.settings, plane.jobs, plane.tracking)
    monkeypatch.setattr(app.state.services.templates, "page", raiser(error))
    with TestClient(app) as client:
        client.headers["Authorization"] = f"Bearer {plane.api_key}"
        client.headers["Accept-Language"] = language
        reply = client.get("/v1/templates")
    assert reply.status_code == 503
    assert leaks({"token": secret}, {"answer": reply.content}) == []
    assert reply.json()["error"]["message"] == "The bucket refuses `***`."
    assert reply.headers["retry-after"] == "1"
    assert reply.headers["content-type"].startswith("application/json")


def test_a_storage_that_is_away_is_no_fault_of_ours(
    plane: Plane, secret: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = create_app(plane.settings, plane.jobs, plane.tracking)
    monkeypatch.setattr(app.state.services.templates, "page", raiser(StorageAway(f"403: {secret}")))
    with TestClient(app, raise_server_exceptions=False) as client:
        client.headers["Authorization"] = f"Bearer {plane.api_key}"
        reply = client.get("/v1/templates")
    assert (reply.status_code, reply.headers["retry-after"]) == (503, "1")
    assert reply.json()["error"]["message"] == "The storage does not answer."
    assert leaks({"token": secret}, {"answer": reply.content}) == []


def test_what_ray_says_of_a_job_holds_none(
    secret: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    said = {
        "status": "FAILED",
        "message": f"it was {secret}",
        "job_id": None,
        "logs": f"a line with {secret}\n",
    }
    jobs = RayJobs("http://127.0.0.1:9", tmp_path / "none")
    monkeypatch.setattr(jobs, "_call", lambda *_, **__: httpx.Response(200, json=said))
    assert jobs.observe("task-1-1").message == "it was ***"
    assert jobs.log_tail("task-1-1", 5) == "a line with ***"


def test_why_a_task_waits_is_kept_without_it(
    plane: Plane, secret: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A task's row keeps what a storage or Ray says as long as they do not take the task."""
    task = plane.submit()
    monkeypatch.setattr(plane.jobs, "submit", raiser(OSError(f"403: {secret} is wrong")))
    plane.tick()
    assert plane.task(task.id).message == "Waiting: 403: *** is wrong"
    with plane.services.database.read() as session:
        rows = str([dict(row) for row in session.execute(sa.text("SELECT * FROM tasks")).mappings()])
    assert leaks({"token": secret}, {"rows": rows.encode()}) == []


def test_what_is_looked_at_is_told_without_it(
    plane: Plane, secret: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Everybody who works here may ask whether all is well."""
    monkeypatch.setattr(plane.tracking, "version", raiser(ValueError(f"403: {secret}")))
    monkeypatch.setattr(plane.jobs, "cluster", raiser(Unavailable(f"403: {secret}")))
    app = create_app(plane.settings, plane.jobs, plane.tracking)
    with TestClient(app) as client:
        client.headers["Authorization"] = f"Bearer {plane.key('vera', Role.VIEWER)}"
        reply = client.get("/v1/system/environment")
    assert reply.text.count("403: ***") == 2
    assert leaks({"token": secret}, {"answer": reply.content}) == []


@pytest.mark.parametrize(
    ("held", "shown"),
    [
        ("a-token", "Bearer a-token"),
        ("ann:pa:ss", f"Basic {base64.b64encode(b'ann:pa:ss').decode()}"),
    ],
)
def test_mlflow_is_shown_what_a_file_holds(tmp_path: Path, held: str, shown: str) -> None:
    file = tmp_path / "mlflow"
    file.write_text(held + "\n")
    with tell_tale() as outside:
        with pytest.raises(TunesmithError):
            MlflowTracking(outside.url, file).version()
        assert any(f"'{shown}'" in heard for heard in outside.heard)


def test_a_browser_goes_to_an_mlflow_with_a_sign_in_by_its_own_address(plane: Plane, tmp_path: Path) -> None:
    file = tmp_path / "mlflow"
    file.write_text("ann:password-of-ann")
    settings = Settings(
        home=plane.home.root, run_loops=False, mlflow_url="http://mlflow.example", mlflow_token_file=file
    )
    system = create_app(settings, plane.jobs, plane.tracking).state.services.system
    link = system.mlflow_link(None)
    assert (link.url, link.valid_seconds) == ("http://mlflow.example/", None)
    assert system.view(LOCAL).mlflow_url == "http://mlflow.example"
