"""The command line as a whole: plugins, help, exit codes, errors in words."""

import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

import tunesmith
from tunesmith.cli import plugins
from tunesmith.cli.chart import draw
from tunesmith.cli.format import age, duration, number, plain, size
from tunesmith.cli.main import build_app, run
from tunesmith.errors import NotInstalled, Unavailable
from tunesmith.schema import rows
from tunesmith.spec.training import TrainSpec


def test_version(cli: Callable[..., Any]) -> None:
    assert cli("--version").out == f"tunesmith {tunesmith.__version__}\n"


def test_nothing_at_all_shows_the_help(cli: Callable[..., Any]) -> None:
    said = cli()
    assert said.code == 2
    for command in ("train", "tasks", "watch", "stop", "parameters"):
        assert command in said.out + said.err


def test_a_misspelt_command_is_guessed(cli: Callable[..., Any]) -> None:
    said = cli("trian")
    assert said.code == 2
    assert "Did you mean 'train'?" in said.err


def test_the_command_line_loads_nothing_heavy() -> None:
    """With the siblings' commands in it: a command that needs a heavy library imports it when it runs."""
    heavy = {"torch", "ray", "mlflow", "transformers", "fastapi", "sqlalchemy", "pyarrow"}
    code = f"import sys; from tunesmith.cli.main import build_app; build_app(); print({heavy} & set(sys.modules))"
    said = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert said.stdout == "set()\n"


# --- plugins


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], EntryPoint]:
    """Makes a module whose text is given, and its entry point."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def make(name: str, text: str) -> EntryPoint:
        (tmp_path / f"{name}.py").write_text(text)
        return EntryPoint(name.removeprefix("plugin_"), f"{name}:app", plugins.GROUP)

    return make


GOOD = """
import typer
app = typer.Typer()
inner = typer.Typer()
app.add_typer(inner, name="models")
@app.callback()
def _root(): ...
@app.command()
def up():
    "Start it."
    typer.echo("started")
@inner.command()
def pull():
    typer.echo("pulled")
@inner.command()
def other(): ...
"""


def with_plugin(point: EntryPoint) -> typer.Typer:
    app = build_app(with_plugins=False)
    plugins.add_to(app, [point])
    return app


def test_a_plugins_commands_and_groups_join_the_top_level(package: Callable[[str, str], EntryPoint]) -> None:
    app = with_plugin(package("plugin_good", GOOD))
    assert CliRunner().invoke(app, ["up"]).stdout == "started\n"
    assert CliRunner().invoke(app, ["models", "pull"]).stdout == "pulled\n"
    assert CliRunner().invoke(app, ["parameters", "--json"]).exit_code == 0


@pytest.mark.parametrize("text", ["import not_there_at_all", "app = 1 / 0", "app ="])
def test_a_plugin_that_does_not_load_breaks_nothing_else(
    package: Callable[[str, str], EntryPoint], text: str
) -> None:
    app = with_plugin(package(f"plugin_bad{len(text)}", text))
    assert CliRunner().invoke(app, ["parameters", "--json"]).exit_code == 0
    assert "Not available" in CliRunner().invoke(app, ["--help"]).stdout
    result = CliRunner().invoke(app, [f"bad{len(text)}", "--any", "thing"])
    assert isinstance(result.exception, NotInstalled)


def test_what_to_install_is_named() -> None:
    error = plugins.not_installed("tunesmith_jobs", ImportError("no", name="torch"))
    assert "`torch` is not installed" in error.message
    assert "pip install 'tunesmith[jobs]'" in str(error.hint)


def test_an_import_that_fails_while_a_command_runs_names_the_extra(
    cli: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    inside: dict[str, Any] = {"__name__": "tunesmith_platform.local.commands"}
    exec("def broken(app, found=None):\n    import not_there_at_all", inside)
    monkeypatch.setattr(plugins, "add_to", inside["broken"])
    said = cli("up")
    assert said.code == 1
    assert "`not_there_at_all` is not installed" in said.err
    assert "tunesmith[platform]" in said.err


# --- failures


@pytest.mark.parametrize(
    ("failure", "code", "words"),
    [
        (KeyboardInterrupt(), 130, ""),
        (Unavailable("It is away.", hint="Wait."), 1, "fault: infrastructure. Trying again may help."),
        (RuntimeError("odd"), 1, "RuntimeError: odd"),
    ],
)
def test_every_failure_has_words_and_a_code(
    cli: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, failure: BaseException, code: int, words: str
) -> None:
    def fail() -> None:
        raise failure

    monkeypatch.setattr("tunesmith.cli.tasks.connect", fail)
    said = cli("tasks", "list")
    assert said.code == code
    assert words in said.err
    assert "Traceback" not in said.err


def test_a_traceback_is_there_for_those_who_ask(
    cli: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TUNESMITH_DEBUG", "1")
    monkeypatch.setattr("tunesmith.cli.tasks.connect", lambda: 1 / 0)
    assert "Traceback" in cli("tasks", "list").err


def test_a_reader_that_leaves_is_no_failure() -> None:
    command = [sys.executable, "-c", "from tunesmith.cli.main import main; main()", "parameters", "--json"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.close()
    assert process.stderr is not None
    assert process.stderr.read() == b""
    process.wait(timeout=20)


# --- parameters


def test_parameters_are_all_explained(cli: Callable[..., Any]) -> None:
    english, chinese = cli("parameters").out, cli("parameters", "--lang", "zh").out
    for row in rows(TrainSpec):
        assert row.name in english
        assert row.name in chinese
    page = cli("parameters", "--markdown", "--lang", "zh").out
    assert all(f"| `{row.name}` |" in page and row.about.label_zh in page for row in rows(TrainSpec))


def test_one_parameter_is_found_by_any_of_its_names(cli: Callable[..., Any]) -> None:
    for name in ("r", "lora_rank", "lora-r"):
        assert "Rank of the added matrices" in cli("parameters", name).out
    said = cli("parameters", "learnin_rate")
    assert said.code == 1
    assert "Did you mean `learning_rate`?" in said.err


# --- words


def test_words() -> None:
    import datetime as dt

    assert [duration(s) for s in (0.4, 59, 60, 200, 7500, 356_400)] == [
        "0s",
        "59s",
        "1m 00s",
        "3m 20s",
        "2h 05m",
        "4d 3h",
    ]
    now = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
    assert age(now - dt.timedelta(minutes=5), now) == "5m"
    assert age(now + dt.timedelta(minutes=5), now) == "0s", "a clock that is behind"
    assert [size(n) for n in (0, 1023, 1536, 5 * 2**40)] == ["0 B", "1023 B", "1.5 KiB", "5.0 TiB"]
    assert [number(v) for v in (0, 2.34567, 1e-5, 123456, -0.5)] == [
        "0",
        "2.346",
        "1.00e-05",
        "123,456",
        "-0.5",
    ]
    assert plain("a\x1b[1mb\n\tc\x00") == "a�[1mb\n\tc�"


def test_a_chart_has_the_shape_of_its_points() -> None:
    lines = draw([(0, 1), (1, 0)], width=21, height=3, title="t", ascii_only=True).splitlines()
    assert [line[11:] for line in lines[1:4]] == ["****", "   ****", "      ****"]
    assert lines[1].startswith("        1 |")
    assert lines[3].startswith("        0 |")
    assert "no points yet" in draw([])
    flat = draw([(0, 2), (9, 2)], width=21, height=3, ascii_only=True).splitlines()
    assert flat[1].startswith("        2 |**********")


def test_run_never_raises() -> None:
    assert run(["--no-such-option"]) == 2
