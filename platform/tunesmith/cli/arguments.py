"""What several commands take alike, and how they find the server."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tunesmith.cli import completion
from tunesmith.errors import InvalidInput
from tunesmith.language import Language

if TYPE_CHECKING:
    from tunesmith.client import Client
    from tunesmith.spec.parameter import Parameter

RETRY_SECONDS = 2.0
"""A command repeats a call no longer than somebody at a terminal likes to wait."""

TaskArgument = Annotated[
    str,
    typer.Argument(
        metavar="TASK", help="The task's id, or its name if unique.", autocompletion=completion.tasks
    ),
]
TaskArguments = Annotated[
    list[str],
    typer.Argument(
        metavar="TASK...", help="Ids of tasks, or their names if unique.", autocompletion=completion.tasks
    ),
]
WatchFlag = Annotated[
    bool | None,
    typer.Option("--watch/--detach", help="Follow it until it ends. By default, if this is a terminal."),
]
LanguageOption = Annotated[
    Language | None, typer.Option("--lang", help="The language of texts, if not yours by `TUNESMITH_LANG`.")
]
JsonFlag = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
YesFlag = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
SettingsOption = Annotated[
    list[str] | None,
    typer.Option("--set", "-s", metavar="NAME=VALUE", help="Any other parameter; may be given again."),
]
OutputOption = Annotated[
    Path | None, typer.Option("--output", "-o", help="Where it goes; its own name here if not given.")
]
ForceFlag = Annotated[bool, typer.Option("--force", help="Replace a file that is there.")]


def is_followed(watch: bool | None) -> bool:
    """What `WatchFlag` asks for."""
    return sys.stdout.isatty() if watch is None else watch


def connect() -> Client:
    """The client of the platform that `TUNESMITH_URL` or the state folder names."""
    from tunesmith.client import Client

    return Client(retry_seconds=RETRY_SECONDS)


def absolute_paths(
    parameters: Mapping[str, Any], about_of: Callable[[str], Parameter | None]
) -> dict[str, Any]:
    """The same parameters with paths that do not depend on this process's folder.

    A model that is no folder here is the name of a pulled one, and stays; so does a data set's name.

    Args:
        parameters: As they were given, under any spelling.
        about_of: What is known of the parameter that a spelling stands for.
    """
    found = dict(parameters)
    for name, value in parameters.items():
        known = about_of(name)
        if known is None or known.path is None or not isinstance(value, str) or not value or "://" in value:
            continue
        path = Path(value).expanduser()
        if known.path == "output":
            found[name] = str(path)  # a relative one lies below the platform's own folder
            continue
        is_no_name = known.path == "unless_name" and ("." in value or "/" in value)
        if known.path == "always" or is_no_name or path.exists():
            found[name] = str(path.absolute())
    return found


_ENTRY = re.compile(r"\s*([^\s:={},]+)\s*[:=]\s*([^\s:={},]+)\s*")
"""A name and a number of a mapping; `{{ templates }}` and JSON of any depth are no such thing, and stay text."""


def _mapping(text: str) -> Any:
    """A flat mapping of names to numbers (`{a=1, b: 2}`); the text itself where it is something else."""
    inner = text.strip()
    if not (inner.startswith("{") and inner.endswith("}")):
        return text
    found: dict[str, float] = {}
    for part in inner[1:-1].split(","):
        entry = _ENTRY.fullmatch(part)
        try:
            if entry is None or (name := entry[1].strip("\"'")) in found:
                return text
            found[name] = float(entry[2])
        except ValueError:
            return text
    return found


def pairs(words: Iterable[str] | None, option: str = "--set", example: str = "seed=1") -> dict[str, Any]:
    """Names and values, each given as `name=value`, which reads as in YAML (numbers, booleans, lists, mappings).

    `{similarity=0.5, format=0.5}` is a mapping, as is `{similarity: 0.5}`; other words in braces are text.

    Raises:
        InvalidInput: One sets nothing, or a name is given twice.
    """
    import yaml

    found: dict[str, Any] = {}
    for word in words or ():
        name, sign, text = word.partition("=")
        name = name.strip()
        if not sign or not name:
            raise InvalidInput(f"`{word}` sets nothing.", field=option, hint=f"As in `{option} {example}`.")
        if name in found:
            raise InvalidInput(f"`{name}` is given twice.", field=option, hint="Give it once.")
        try:
            value = yaml.safe_load(text) if text[:1] not in ("{", "*", "&", "!") else _mapping(text)
        except yaml.YAMLError:
            value = text
        is_plain = isinstance(value, str | int | float | bool | list | dict) or text == "null"
        found[name] = value if is_plain else text
    return found
