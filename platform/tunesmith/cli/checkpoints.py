"""`tunesmith checkpoints ...`, and the short form `tunesmith checkpoint TASK`, which asks a running task for one."""

from __future__ import annotations

from typing import Annotated

import typer

from tunesmith.cli.arguments import JsonFlag, TaskArgument, connect
from tunesmith.cli.output import say, show_json
from tunesmith.cli.reports import checkpoints as list_checkpoints

checkpoints = typer.Typer(name="checkpoints", help="List, pin and unpin checkpoints.", no_args_is_help=True)
checkpoints.command("list")(list_checkpoints)
StepArgument = Annotated[int, typer.Argument(metavar="STEP", min=0, help="The checkpoint's step.")]


@checkpoints.command()
def pin(task: TaskArgument, step: StepArgument, as_json: JsonFlag = False) -> None:
    """Keep a checkpoint whatever `save_total_limit` says."""
    _pin(task, step, True, as_json)


@checkpoints.command()
def unpin(task: TaskArgument, step: StepArgument, as_json: JsonFlag = False) -> None:
    """Let a pinned checkpoint go: its task may remove it again."""
    _pin(task, step, False, as_json)


def _pin(task: str, step: int, pinned: bool, as_json: bool) -> None:
    with connect() as client:
        view = client.pin_checkpoint(client.task(task).id, step, pinned=pinned)
    if as_json:
        show_json(view)
    else:
        say(f"`{view.name}` is pinned." if view.is_pinned else f"`{view.name}` is no longer pinned.")


def checkpoint(task: TaskArgument, as_json: JsonFlag = False) -> None:
    """Ask a running task for a checkpoint after its next step."""
    with connect() as client:
        view = client.task(task)
        asked = client.save_checkpoint(view.id)
    if as_json:
        show_json(asked)
    else:
        say(f"Task `{view.name}` saves a checkpoint after its next step.")


def add_to(app: typer.Typer) -> None:
    """Add the commands to an app."""
    app.add_typer(checkpoints)
    app.command("checkpoint")(checkpoint)
