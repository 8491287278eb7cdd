"""`tunesmith models ...` and `tunesmith environment` against the real control plane."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from model_files import make_model_folder
from served import served
from typer.testing import CliRunner

from tunesmith.cli import plugins
from tunesmith.cli.main import build_app
from tunesmith.client import Client
from tunesmith.errors import InvalidModel, NotFound
from tunesmith.home import Home
from tunesmith.job import read_secret
from tunesmith_platform.app import create_app
from tunesmith_platform.models import service
from tunesmith_platform.sandbox.library import Compared
from tunesmith_platform.settings import Settings
from tunesmith_platform.testing.fakes import FakeJobs

Cli = Callable[..., Any]


@pytest.fixture
def jobs() -> FakeJobs:
    return FakeJobs()


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, jobs: FakeJobs) -> Iterator[Home]:
    """A served control plane that the command line finds, over an allowed folder `mine`."""
    # Asking the library takes seconds; `test_models_api` does.
    monkeypatch.setattr(service, "compare_ids", lambda folder: Compared("First: the text 'a'.", "Write it."))
    home = Home(tmp_path / "home")
    home.create()
    settings = Settings(home=home.root, run_loops=False, allowed_roots=[tmp_path / "mine"])
    with served(create_app(settings, jobs), read_secret(home.api_key_file), monkeypatch):
        yield home


def test_from_adding_to_removing(
    cli: Cli, home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "models pull" in cli("models", "list").err
    folder = make_model_folder(tmp_path / "mine" / "own")
    monkeypatch.chdir(tmp_path / "mine")
    added = cli("models", "add", "own", "--name", "pet", "--json")
    assert added.code == 0, added.err
    assert json.loads(added.out)["path"] == str(folder), "a relative folder is this machine's"
    shown = cli("models", "show", "pet")
    for words in ("LlamaForCausalLM", "q_proj 2x2 (1)", "tied to the embedding", "sha256"):
        assert words in shown.out
    assert cli("models", "rename", "pet", "cat").code == 0
    listed = cli("models", "list")
    assert "cat" in listed.out
    assert [model["name"] for model in json.loads(cli("models", "list", "--json").out)] == ["cat"]
    checked = cli("models", "check", "cat")
    assert (checked.code, "note: First: the text 'a'. Write it." in checked.err) == (0, True)
    (folder / "model.safetensors").unlink()
    spoilt = cli("models", "check", "cat")
    assert (spoilt.code, "holds no weights" in spoilt.out) == (1, True)
    assert "holds no weights" in cli("models", "list").err
    assert cli("models", "remove", "cat").code == 2, "nobody is there to be asked"
    assert cli("models", "remove", "cat", "--yes").code == 0
    assert folder.is_dir()
    assert cli("models", "show", "cat").code == 1


@pytest.mark.parametrize(
    ("source", "hint"),
    [("nobody/none", "tunesmith models pull nobody/none"), ("x.gguf", "safetensors"), ("/etc", "--allow")],
)
def test_what_cannot_be_added_names_the_way_out(cli: Cli, home: Home, source: str, hint: str) -> None:
    said = cli("models", "add", source)
    assert said.code == 1
    assert hint in said.err


def test_the_client(home: Home, tmp_path: Path) -> None:
    folder = make_model_folder(tmp_path / "mine" / "own")
    with Client() as client:
        made = client.models.register(str(folder))
        assert client.models.register(str(folder)).id == made.id
        assert [model.id for model in client.models.list()] == [made.id]
        assert client.models.check("own").sha256 == made.sha256
        assert client.models.rename(made.id, "pet").name == "pet"
        client.models.forget("pet")
        with pytest.raises(NotFound):
            client.models.show("pet")
        with pytest.raises(NotFound):
            client.models.forget("pet")
        with pytest.raises(InvalidModel):
            client.models.register("nobody/none")


def test_environment(cli: Cli, home: Home, jobs: FakeJobs) -> None:
    found = json.loads(cli("environment", "--json").out)
    assert {check["name"] for check in found["checks"]} >= {"ray", "gpu", "storage", "disk"}
    jobs.is_away = True
    said = cli("environment", "--device", "gpu", "--disk-bytes", "1", "--language", "zh")
    assert said.code == 1
    assert "Ray 集群: Ray 没有应答：away。" in said.out
    assert "任务会等待其恢复" in said.out.replace("\n", "")


def test_pull_stands_beside_the_others() -> None:
    for _ in range(2):  # making the app again doubles nothing
        shown = CliRunner().invoke(build_app(), ["models", "--help"]).stdout
        for command in ("list", "show", "add", "check", "rename", "remove", "pull"):
            assert sum(line.strip("│ ").startswith(f"{command} ") for line in shown.splitlines()) == 1, (
                command
            )


def test_a_group_that_is_there_takes_a_plugins_commands(monkeypatch: pytest.MonkeyPatch) -> None:
    def plugin() -> Any:
        app, inner = typer.Typer(), typer.Typer(name="models")
        inner.command("pull")(lambda: typer.echo("pulled"))
        app.add_typer(inner)
        return app

    point = type("Point", (), {"name": "jobs", "module": "m", "load": staticmethod(plugin)})()
    app = build_app(with_plugins=False)
    plugins.add_to(app, [point])
    assert CliRunner().invoke(app, ["models", "pull"]).stdout == "pulled\n"
    assert CliRunner().invoke(app, ["models", "list", "--help"]).exit_code == 0
