"""`tunesmith mlflow`: a link that lets a browser in, against the real control plane; what MLflow's own clients need."""

import json
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from conftest_platform import Plane, home
from served import served

from tunesmith.home import Connection, Home
from tunesmith.job import read_secret
from tunesmith_platform.mlflow_link import ENTRANCE, Admissions

__all__ = ["home"]
PUBLIC = "https://mlflow.example/lab"


@pytest.fixture
def plane(home: Home, monkeypatch: pytest.MonkeyPatch) -> Iterator[Plane]:
    options = {"mlflow_url": "http://127.0.0.1:5000", "mlflow_public_url": PUBLIC}
    plane = Plane(home, **options, mlflow_token_file=home.mlflow_token_file)
    with served(plane.app, plane.api_key, monkeypatch):
        yield plane


def code_of(url: str) -> str:
    return parse_qs(urlsplit(url).query)["code"][0]


def test_a_link_leads_to_the_run(plane: Plane, cli: Callable[..., Any]) -> None:
    admissions = Admissions(read_secret(plane.home.mlflow_token_file))
    task = plane.running(name="ember")
    plane.mirror.tick()
    said = cli("mlflow", "ember")
    assert said.code == 0
    (url,) = said.out.split()
    assert url.startswith(f"{PUBLIC}{ENTRANCE}?code=")
    assert "once" in said.err
    shown = plane.task(task.id).mlflow_url or ""
    assert admissions.take(code_of(url)) == shown.removeprefix("https://mlflow.example")
    assert admissions.take(code_of(url)) is None
    first = json.loads(cli("mlflow", "--json").out)
    assert first["valid_seconds"] == 60
    assert admissions.take(code_of(first["url"])) == "/lab/"
    assert read_secret(plane.home.mlflow_token_file) not in said.out + said.err + first["url"]


def test_a_task_without_a_run_has_no_link(plane: Plane, cli: Callable[..., Any]) -> None:
    plane.submit(name="waits")
    said = cli("mlflow", "waits")
    assert (said.code, said.out) == (1, "")
    assert "no run in MLflow" in said.err
    assert cli("mlflow", "nobody").code == 1


def test_an_mlflow_of_somebody_elses_gets_a_plain_link(plane: Plane, cli: Callable[..., Any]) -> None:
    plane.settings.mlflow_token_file = None
    assert cli("mlflow").out.split() == [f"{PUBLIC}/"]
    plane.settings.mlflow_public_url = ""
    assert "writes no MLflow" in cli("mlflow").err


def test_a_link_is_made_for_those_with_a_key(
    plane: Plane, cli: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TUNESMITH_API_KEY", "ts-nobodys")
    assert cli("mlflow").code == 1


def test_it_opens_the_browser_when_it_is_asked_to(
    plane: Plane, cli: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []
    monkeypatch.setattr("webbrowser.open", opened.append)
    cli("mlflow")
    assert opened == []
    assert cli("mlflow", "--open").out.split() == opened


def test_mlflows_own_clients_get_what_they_need(
    home: Home, cli: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TUNESMITH_HOME", str(home.root))
    home.write_connection(Connection(api_url="http://127.0.0.1:1", mlflow_url="http://127.0.0.1:5000"))
    assert cli("mlflow", "--export").out.splitlines() == [
        "export MLFLOW_TRACKING_URI=http://127.0.0.1:5000",
        f"export MLFLOW_TRACKING_TOKEN={read_secret(home.mlflow_token_file)}",
    ]
    home.mlflow_token_file.unlink()
    assert cli("mlflow", "--export").code == 1
