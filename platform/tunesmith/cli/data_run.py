"""`tunesmith data run ...`: an operation on data sets as a task."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from tunesmith.cli.arguments import JsonFlag, WatchFlag, connect, is_followed, pairs
from tunesmith.cli.output import say, show_json
from tunesmith.errors import InvalidInput

_SEVERAL = ("concat", "mix")


def _operations() -> list[str]:
    from tunesmith.spec.dataset import OPERATIONS

    return list(OPERATIONS)


def run(
    name: Annotated[
        str,
        typer.Argument(
            metavar="OPERATION",
            help="`load`, `concat`, `select`, `filter`, `map`, `split`, `shuffle`, `dedup`, `mix`.",
            autocompletion=_operations,
        ),
    ],
    sources: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[DATASET]...",
            help="Data sets by name, or files and folders as the server sees them; for `load` also a Hub id "
            "`owner/name` or `s3://bucket/folder`.",
        ),
    ] = None,
    *,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set", "-s", metavar="NAME=VALUE", help="A parameter of the operation; may be given again."
        ),
    ] = None,
    into: Annotated[
        str | None, typer.Option(metavar="NAME", help="The data set whose next version is made.")
    ] = None,
    project: Annotated[str, typer.Option(help="The project of its task.")] = "default",
    watch: WatchFlag = None,
    as_json: JsonFlag = False,
) -> None:
    """Run an operation on data sets as a task: filter, map, split, dedup, mix, ...; or load a folder or the Hub.

    `tunesmith data run filter support --set 'condition=len(response) > 10' --into support-long`
    """
    from tunesmith.cli.watching import followed
    from tunesmith.spec.dataset import operation

    spec = operation(name)
    parameters = pairs(settings)
    parameters |= _sources(name, sources or [])
    for given in parameters:
        if given == "token" and not str(parameters[given]).startswith("${env."):
            raise InvalidInput(
                "A token is never written out.", hint="Write `--set 'token=${env.HF_TOKEN}'`.", field="token"
            )
    if not any("${" in str(value) for value in parameters.values()):
        spec.read(_with_provider(name, parameters))
    with connect() as client:
        view = client.datasets.run(name, parameters, into, project=project)
        say(f"Task `{view.name}` has begun: {view.id}. It makes `{view.spec.get('into')}`.")
        if is_followed(watch):
            raise typer.Exit(followed(client, view.id))
    if as_json:
        show_json(view)
    else:
        sys.stdout.write(view.id + "\n")


def _sources(name: str, given: list[str]) -> dict[str, Any]:
    """What is worked on, under the operation's own name for it."""
    found = [_absolute(source) for source in given]
    if not found:
        return {}
    if name in _SEVERAL:
        return {"datasets": found}
    if name == "load" and len(found) > 1:
        return {"provider": "local", "data_files": found}
    if len(found) > 1:
        raise InvalidInput(f"`{name}` works on one data set.", hint="`concat` puts several together.")
    return {"path" if name == "load" else "dataset": found[0]}


def _absolute(given: str) -> str:
    """As the server is asked: a path does not depend on this process's folder."""
    is_path = given.startswith(("./", "../", "~")) or (Path(given).exists() and not given.startswith("/"))
    return str(Path(given).expanduser().absolute()) if is_path else given


def _with_provider(name: str, parameters: dict[str, Any]) -> dict[str, Any]:
    """As the server fills it in: a path or a URI is local, anything else is the Hub's."""
    path = parameters.get("path")
    is_local = path is None or str(path).startswith("/") or "://" in str(path)
    return parameters | ({"provider": "local"} if name == "load" and is_local else {})
