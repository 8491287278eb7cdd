"""What several commands take alike, and how they find the server."""

import sys
from typing import Annotated

import typer

from tunesmith.client import Client

RETRY_SECONDS = 2.0
"""A command repeats a call no longer than somebody at a terminal likes to wait."""

TaskArgument = Annotated[str, typer.Argument(metavar="TASK", help="The task's id, or its name if unique.")]
TaskArguments = Annotated[
    list[str], typer.Argument(metavar="TASK...", help="Ids of tasks, or their names if unique.")
]
WatchFlag = Annotated[
    bool | None,
    typer.Option("--watch/--detach", help="Follow it until it ends. By default, if this is a terminal."),
]
JsonFlag = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
ForceFlag = Annotated[bool, typer.Option("--force", help="Replace a file that is there.")]


def is_followed(watch: bool | None) -> bool:
    """What `WatchFlag` asks for."""
    return sys.stdout.isatty() if watch is None else watch


def connect() -> Client:
    """The client of the platform that `TUNESMITH_URL` or the state folder names."""
    return Client(retry_seconds=RETRY_SECONDS)
