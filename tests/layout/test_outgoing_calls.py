"""Every HTTP client of ours says whether it reads the environment: a proxy there would see the tokens it sends."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MAKES_A_CLIENT = frozenset({"Client", "AsyncClient"})
CALLS = frozenset({"get", "post", "put", "patch", "delete", "head", "options", "request", "stream"})
READ_PROXIES = frozenset({"requests", "urllib.request", "urllib3", "aiohttp"})
"""Libraries whose clients take the environment's proxies, or may be told to, in ways that no one argument shows."""


def without_a_word(source: str) -> Iterator[int]:
    """The lines of calls that do not say `trust_env`, and of imports of other clients."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call):
            name = node.func
            is_httpx = (
                isinstance(name, ast.Attribute)
                and isinstance(name.value, ast.Name)
                and name.value.id == "httpx"
                and name.attr in MAKES_A_CLIENT | CALLS
            )
            if is_httpx and "trust_env" not in {keyword.arg for keyword in node.keywords}:
                yield node.lineno
        elif isinstance(node, ast.Import):
            if any(alias.name in READ_PROXIES for alias in node.names):
                yield node.lineno
        elif isinstance(node, ast.ImportFrom):
            names = {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
            hides_httpx = node.module == "httpx" and any(
                alias.name in MAKES_A_CLIENT | CALLS for alias in node.names
            )
            if names & READ_PROXIES or hides_httpx:
                yield node.lineno


@pytest.mark.parametrize(
    "source",
    [
        "import httpx\nhttpx.Client(base_url='x')",
        "import httpx\nhttpx.get('x')",
        "import requests",
        "from urllib.request import urlopen",
        "from urllib import request",
        "from httpx import Client",
    ],
)
def test_the_search_finds_what_it_looks_for(source: str) -> None:
    assert list(without_a_word(source))


def test_every_client_says_whether_it_reads_the_environment() -> None:
    folders = ("platform", "jobs", "serve", "infra")
    found = [
        f"{file.relative_to(ROOT)}:{line}"
        for folder in folders
        for file in sorted((ROOT / folder).rglob("*.py"))
        for line in without_a_word(file.read_text())
    ]
    assert found == []
