"""What others read of the command line: a pipe gets whole lines, a program gets JSON, a shell gets names, and soon."""

import io
import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fake_api import KEY, FakeApi
from rich.console import Console
from rich.text import Text
from typer.main import get_command

from tunesmith.cli import completion, output, shell
from tunesmith.cli.main import COMMANDS, build_app, command_line
from tunesmith.home import Connection, Home
from tunesmith.lifecycle import State

LONG = "一个很长的名字-" * 12 + "and a name that goes on and on past every terminal" + "x" * 150
HEAVY = {"torch", "ray", "mlflow", "transformers", "fastapi", "sqlalchemy", "pyarrow", "httpx", "pydantic"}
"""What the list of commands and a completion must not wait for."""
NO_JSON = {("controller",)}
"""Commands that never end."""


def commands(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    below = getattr(command, "commands", {})
    if path and not below:
        yield path, command
    for name, inner in below.items():
        yield from commands(inner, (*path, name))


# --- pipes


def test_every_command_has_json() -> None:
    found = dict(commands(get_command(build_app())))
    assert len(found) > 60
    without = {
        path for path, command in found.items() if not any("--json" in item.opts for item in command.params)
    }
    assert without == NO_JSON


def test_names_are_whole_in_a_pipe(api: FakeApi, cli: Callable[..., Any]) -> None:
    task = api.add_task(LONG)
    for words in (["tasks", "list"], ["tasks"], ["tasks", "show", task.id]):
        assert LONG in cli(*words).out, words
    assert any(f"  {LONG}  " in line for line in cli("tasks", "list").out.splitlines())


@pytest.mark.parametrize("columns", [("name", "state"), ("a", "b", "c")])
def test_no_table_is_wrapped_or_cut_in_a_pipe(
    columns: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    shown = output.table(*columns)
    shown.columns[0].no_wrap, shown.columns[0].overflow = False, "fold"
    shown.add_row(*[LONG] * len(columns))
    output.show_table(shown)
    output.out().print(output.facts([("name", LONG)]))
    said = capsys.readouterr().out.splitlines()
    assert len(said) == 3
    assert said[1].count(LONG) == len(columns)
    assert LONG in said[2]


@pytest.mark.parametrize("where", [output.out, output.talk])
def test_no_fact_is_cut_in_a_pipe(where: Callable[[], Console], capsys: pytest.CaptureFixture[str]) -> None:
    where().print(output.facts([("model", f"/{LONG}/model"), ("a longer name", "x")]))
    said = "".join(capsys.readouterr()).splitlines()
    assert said == [f"model          /{LONG}/model", "a longer name  x"]


def test_no_line_is_padded_in_a_pipe(api: FakeApi, cli: Callable[..., Any]) -> None:
    """What reads the lines would take the spaces for text."""
    task = api.add_task(LONG)
    api.add_task("short")
    for words in (["tasks", "list"], ["tasks", "show", task.id]):
        lines = cli(*words).out.splitlines()
        assert len(lines) > 1
        assert [line for line in lines if line != line.rstrip()] == [], words


def test_every_table_is_made_where_its_lines_are_ended() -> None:
    """`output.table` and `output.facts`; the bars of `watch` are drawn on terminals alone."""
    made = {
        file.name
        for file in Path(output.__file__).parent.rglob("*.py")
        for line in file.read_text("utf-8").splitlines()
        if "Table(" in line.replace("_Lines(Table)", "") or "Table.grid(" in line
    }
    assert made == {"watching.py"}


@pytest.mark.parametrize("width", [20, 40, 80])
def test_a_table_on_a_terminal_folds_what_it_may_and_cuts_nothing(width: int) -> None:
    screen = Console(file=io.StringIO(), width=width, force_terminal=True, color_system=None)
    shown = output.table("task", "name", "age")
    shown.columns[1].no_wrap, shown.columns[1].overflow = False, "fold"
    shown.add_row("task-000000000000000001", Text(LONG), "3m")
    output.show_table(shown, screen)
    text = screen.file.getvalue()  # type: ignore[attr-defined]
    assert "…" not in text
    assert "task-000000000000000001" in text
    in_the_column = "".join(line[25:-4].strip() for line in text.splitlines()[1:] if line.strip())
    assert LONG.replace(" ", "") in in_the_column.replace(" ", "").replace("3m", "")


def test_help_in_a_pipe_has_a_line_for_each_option(cli: Callable[..., Any], monkeypatch: Any) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    said = cli("train", "--help").out
    line = next(line for line in said.splitlines() if "--per-device-train-batch-size" in line)
    assert "default: " in line
    assert "─" not in said
    assert "\\[" not in said


def test_a_sign_that_a_terminal_lacks_is_replaced() -> None:
    said = subprocess.run(
        [sys.executable, "-c", "from tunesmith.cli.main import main; main()", "parameters", "r"],
        env=os.environ | {"TUNESMITH_LANG": "zh", "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (said.returncode, said.stderr) == (0, "")


# --- soon


def test_the_list_of_commands_says_what_the_commands_say() -> None:
    full, quick = get_command(build_app()), command_line()
    assert list(quick.commands) == [*COMMANDS, *(name for name in full.commands if name not in COMMANDS)]
    for name, command in full.commands.items():
        first = " ".join((command.help or "").split("\n\n")[0].split())
        assert first == " ".join((quick.commands[name].help or "").split("\n\n")[0].split()), name


def loaded_by(**environment: str) -> tuple[set[str], str]:
    """Which heavy modules a run of the command line imports, and what it prints."""
    code = (
        "import sys; from tunesmith.cli.main import run; code = run(sys.argv[1:]); "
        f"sys.stderr.write(' '.join(sorted({HEAVY} & set(sys.modules))))"
    )
    arguments = environment.pop("arguments", "").split()
    said = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env=os.environ | {"TUNESMITH_LANG": "en"} | environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    return set(said.stderr.split()), said.stdout


@pytest.mark.parametrize("arguments", ["--help", "--version", ""])
def test_the_list_of_commands_waits_for_nothing_heavy(arguments: str) -> None:
    heavy, said = loaded_by(arguments=arguments)
    assert heavy == set()
    assert "unesmith" in said


def complete(words: str, **environment: str) -> tuple[set[str], list[str]]:
    """What bash is offered behind some words, the last of which is begun."""
    parts = words.split(" ")
    heavy, said = loaded_by_shell(
        COMP_WORDS=words, COMP_CWORD=str(len(parts) - 1), _TUNESMITH_COMPLETE="complete_bash", **environment
    )
    return heavy, said.split()


def loaded_by_shell(**environment: str) -> tuple[set[str], str]:
    # A completion leaves the process when it is done: what was imported is said on the way out.
    code = (
        "import atexit, sys; "
        f"atexit.register(lambda: sys.stderr.write(' '.join(sorted({HEAVY} & set(sys.modules))))); "
        "from tunesmith.cli.main import main; main()"
    )
    said = subprocess.run(
        [sys.executable, "-c", code],
        env={name: value for name, value in os.environ.items() if not name.startswith("TUNESMITH_")}
        | environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    return set(said.stderr.split()), said.stdout


def test_completion_of_commands_waits_for_nothing_heavy(tmp_path: Path) -> None:
    heavy, offered = complete("tunesmith te", TUNESMITH_HOME=str(tmp_path))
    assert (heavy, offered) == (set(), ["templates"])


def test_completion_offers_the_running_platforms_tasks(api: FakeApi, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(completion, "SECONDS", 30.0)  # a busy machine answers in its own time
    first, second = api.add_task("ember").id, api.add_task("emerald").id
    index = json.loads(shell.INDEX.read_bytes())

    def offered(words: str) -> list[str]:
        *before, begun = words.split(" ")
        return sorted(word for word, _ in shell.offered(before, begun, index))

    assert offered("tasks show em") == ["ember", "emerald"]
    assert offered(f"watch {second}") == [second]
    assert offered(f"tasks delete ember {first[:-1]}") == [first, second]


def test_completion_is_quiet_where_no_platform_runs(tmp_path: Path) -> None:
    heavy, offered = complete("tunesmith tasks show ", TUNESMITH_HOME=str(tmp_path))
    assert (heavy, offered) == (set(), [])


@pytest.mark.parametrize(
    ("words", "offers"),
    [
        ("tasks show", ["@tasks"]), ("tasks delete", ["@tasks"]), ("compare", ["@tasks"]), ("mlflow", ["@tasks"]),
        ("models show", ["@models"]), ("templates show", ["@templates"]), ("data show", ["@datasets"]),
        ("pipelines show", ["@pipelines"]), ("webhooks remove", ["@webhooks"]), ("quota show", ["@projects"]),
        ("train --template", ["@templates"]), ("train --model-name-or-path", ["@models"]),
        ("estimate --train-file", ["@datasets"]), ("data preview rows.jsonl --model", ["@models"]),
        ("train --lr-scheduler-type", ["cosine", "linear"]), ("tasks list --state", [str(state) for state in State]),
        ("logs", ["supervisor", "ray", "mlflow", "api", "@tasks"]),
    ],
)  # fmt: skip
def test_every_name_is_offered(words: str, offers: list[str]) -> None:
    index = json.loads(shell.INDEX.read_bytes())
    with completion.named():
        found = [word for word, _ in shell.offered(words.split(), "", index)]
    assert set(offers) <= set(found)
    assert found[0] == offers[0]


@pytest.mark.parametrize("kind", ["bash", "zsh", "fish"])
def test_every_shell_is_answered_in_its_way(kind: str, tmp_path: Path) -> None:
    asked = {"COMP_WORDS": "tunesmith qu", "COMP_CWORD": "1", "_TYPER_COMPLETE_ARGS": "tunesmith qu"}
    asked |= {"_TUNESMITH_COMPLETE": f"complete_{kind}", "_TYPER_COMPLETE_FISH_ACTION": "get-args"}
    heavy, said = loaded_by_shell(TUNESMITH_HOME=str(tmp_path), TUNESMITH_LANG="zh", **asked)
    assert heavy == set()
    assert "quota" in said
    assert kind == "bash" or "训练配额" in said


def test_the_index_offers_what_the_library_would() -> None:
    """For each group and command: the same names of commands and options."""
    index = json.loads(shell.INDEX.read_bytes())
    for path, command in commands(get_command(build_app())):
        known = index
        for name in path:
            assert name in {word for word, _ in shell.offered(list(path[: path.index(name)]), "", index)}
            known = known["commands"][name]
        visible = {
            name
            for item in command.params
            if not getattr(item, "hidden", False) and item.param_type_name == "option"
            for name in (*item.opts, *item.secondary_opts)
            if name.startswith("--")
        }
        assert {name for option in known["options"] for name in option["names"]} == visible


def test_the_folders_key_goes_to_its_own_server_alone(
    api: FakeApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = Home(tmp_path / "home")
    home.create()
    home.write_connection(Connection(api_url=api.url))
    home.api_key_file.write_text(KEY)
    api.add_task("ember")
    monkeypatch.setattr(completion, "SECONDS", 30.0)
    for name in ("TUNESMITH_URL", "TUNESMITH_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TUNESMITH_HOME", str(home.root))
    assert completion.tasks("em") == ["ember"]
    heard: list[dict[str, str]] = []
    monkeypatch.setattr(
        "http.client.HTTPConnection.request", lambda *_, headers, **__: heard.append(headers) or 1 / 0
    )
    monkeypatch.setenv("TUNESMITH_URL", "http://127.0.0.1:9")
    with pytest.raises(ZeroDivisionError):
        completion.tasks("em")
    assert heard == [{"Authorization": "Bearer "}]


def test_a_server_that_is_silent_offers_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(completion, "SECONDS", 0.05)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        monkeypatch.setenv("TUNESMITH_URL", f"http://127.0.0.1:{listener.getsockname()[1]}")
        assert completion.tasks("") == []


@pytest.mark.parametrize(
    "answer", [b"", b"nonsense", b"HTTP/1.1 200 OK\r\n\r\n{", b"HTTP/1.1 200 OK\r\n\r\n[1]"]
)
def test_a_server_that_talks_nonsense_offers_nothing(answer: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    import threading

    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        monkeypatch.setenv("TUNESMITH_URL", f"http://127.0.0.1:{listener.getsockname()[1]}")

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(answer)

        server = threading.Thread(target=serve)
        server.start()
        assert completion.tasks("") == []
        server.join(timeout=5)


def test_json_of_a_list_is_json(api: FakeApi, cli: Callable[..., Any]) -> None:
    api.add_task(LONG)
    assert json.loads(cli("tasks", "--json").out)[0]["name"] == LONG
