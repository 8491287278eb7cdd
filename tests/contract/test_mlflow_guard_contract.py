"""A real MLflow behind the check: nothing without the token, all of it with one, and browsers by a one-time link."""

import os
import stat
import subprocess
import sys

import httpx
import pytest
from conftest_platform import Plane
from mlflow_server import MlflowServer, Proxy

from tunesmith.home import Home
from tunesmith_platform.backends.mlflow import MlflowTracking
from tunesmith_platform.mlflow_link import ENTRANCE

PATHS = (
    ("GET", "/"),
    ("GET", "/version"),
    ("GET", "/static-files/index.html"),
    ("POST", "/graphql"),
    ("GET", "/api/2.0/mlflow/experiments/get?experiment_id=0"),
    ("POST", "/api/2.0/mlflow/runs/search"),
    ("POST", "/ajax-api/2.0/mlflow/runs/search"),
    ("POST", "/ajax-api/2.0/mlflow/upload-artifact"),
    ("GET", "/ajax-api/2.0/mlflow/logged-models/m-1/artifacts/files?artifact_file_path=x"),
    ("GET", "/get-artifact?path=x&run_id=y"),
    ("GET", "/model-versions/get-artifact?path=x&name=y&version=1"),
    ("GET", "/api/2.0/mlflow-artifacts/artifacts"),
    ("PUT", "/api/2.0/mlflow-artifacts/artifacts/x"),
    ("POST", "/gateway/x/mlflow/invocations"),
    ("POST", "/ajax-api/3.0/mlflow/assistant/message"),
    ("POST", "/v1/traces"),
    ("GET", "/ajax-api/3.0/mlflow/server-info"),
    ("GET", "/metrics"),
)

pytestmark = pytest.mark.slow


@pytest.fixture
def server(mlflow: tuple[MlflowServer, Proxy]) -> MlflowServer:
    return mlflow[0]


def weights_in(server: MlflowServer) -> str:
    """A run with an artifact; its id."""
    run = MlflowTracking(server.url, server.token_file).ensure_run("guarded", "task-guarded", "n", 1)
    artifacts = server.root / "artifacts" / run.experiment_id / run.run_id / "artifacts"
    artifacts.mkdir(parents=True, exist_ok=True)
    (artifacts / "model.safetensors").write_bytes(b"the weights")
    return run.run_id


@pytest.mark.parametrize(
    "headers", [{}, {"Authorization": "Bearer another"}, {"Cookie": "tunesmith_mlflow=1.2"}]
)
def test_mlflow_answers_nobody_without_the_token(server: MlflowServer, headers: dict[str, str]) -> None:
    with httpx.Client(base_url=server.url, headers=headers, trust_env=False) as client:
        found = {f"{method} {path}": client.request(method, path).status_code for method, path in PATHS}
    assert found == dict.fromkeys(found, 401)


def test_the_token_opens_all_of_it(server: MlflowServer) -> None:
    run_id = weights_in(server)
    with httpx.Client(base_url=server.url, headers=server.headers, trust_env=False) as client:
        assert client.get("/version").text == "3.17.2"
        artifact = client.get("/get-artifact", params={"run_id": run_id, "path": "model.safetensors"})
        assert artifact.content == b"the weights"
        assert "<div id=" in client.get("/").text
        assert 401 not in {client.request(method, path).status_code for method, path in PATHS}
        other = client.get(
            "/api/2.0/mlflow/experiments/get?experiment_id=0", headers={"Host": "evil.example"}
        )
        assert other.status_code == 403, "MLflow's own check of the name stays"


def test_a_browser_comes_in_by_a_link_to_a_run(server: MlflowServer, plane: Plane) -> None:
    plane.settings.mlflow_url = plane.settings.mlflow_public_url = server.url
    plane.settings.mlflow_token_file = server.token_file
    task = plane.running(name="ember")
    plane.mirror.tick()
    shown = plane.task(task.id)
    link = plane.services.system.mlflow_link(shown)
    assert link.url.startswith(f"{server.url}{ENTRANCE}?code=")
    with httpx.Client(trust_env=False) as browser:
        entered = browser.get(link.url)
        assert entered.status_code == 200
        place = (shown.mlflow_url or "").removeprefix(server.url)
        assert f"url={place}" in entered.text
        assert "<div id=" in browser.get(f"{server.url}/").text
        run_id = weights_in(server)
        artifact = browser.get(
            f"{server.url}/get-artifact", params={"run_id": run_id, "path": "model.safetensors"}
        )
        assert artifact.content == b"the weights"
        search = f"{server.url}/ajax-api/2.0/mlflow/experiments/search"
        body = {"max_results": 5}
        assert browser.post(search, json=body).status_code == 401, "a page must say whose it is"
        assert browser.post(search, json=body, headers={"Origin": server.url}).status_code == 200
        public = {"Origin": "https://mlflow.example", "Sec-Fetch-Site": "same-origin"}
        assert browser.post(search, json=body, headers=public).status_code == 200, "by its public name"
    with httpx.Client(trust_env=False) as another:
        assert another.get(link.url).status_code == 401, "a second time"
        assert another.get(f"{server.url}/").status_code == 401


def test_mlflows_own_client_takes_the_token_from_its_variable(server: MlflowServer) -> None:
    run_id = weights_in(server)
    code = (
        "import mlflow, sys; client = mlflow.MlflowClient(); "
        "print(client.get_run(sys.argv[1]).info.run_id); print(client.list_artifacts(sys.argv[1])[0].path)"
    )
    environment = {**os.environ, "MLFLOW_TRACKING_URI": server.url, "MLFLOW_TRACKING_TOKEN": server.token}
    done = subprocess.run(
        [sys.executable, "-c", code, run_id], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == [run_id, "model.safetensors"]


def test_the_token_is_its_owners_alone(home: Home) -> None:
    assert stat.S_IMODE(home.mlflow_token_file.stat().st_mode) == 0o600
    assert len(home.mlflow_token_file.read_text()) >= 40
