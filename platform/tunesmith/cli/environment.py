"""`tunesmith environment`: whether a task could start now, and what to do where it could not."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer
from rich.text import Text

from tunesmith.cli.arguments import JsonFlag, connect
from tunesmith.cli.format import plain
from tunesmith.cli.output import COLOURS, out, show_json
from tunesmith.environment import CheckStatus
from tunesmith.language import Language, choose, current, tr
from tunesmith.lifecycle import State

_STYLES = {
    CheckStatus.OK: COLOURS[State.RUNNING],
    CheckStatus.WARNING: COLOURS[State.STOPPING],
    CheckStatus.FAILED: COLOURS[State.FAILED],
}


class Device(StrEnum):
    """What a task would train on."""

    AUTO = "auto"
    CPU = "cpu"
    GPU = "gpu"


def environment(
    device: Annotated[Device, typer.Option(help="What the task would train on.")] = Device.AUTO,
    disk_bytes: Annotated[
        int | None, typer.Option(min=0, help="What it would write, as `tunesmith estimate` says.")
    ] = None,
    language: Annotated[
        Language | None,
        typer.Option("--lang", "--language", help="The language of texts, if not yours by `TUNESMITH_LANG`."),
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Check the running platform: Ray, packages, GPU, storage, MLflow, disk, memory. Exits with 1 when one fails.

    `tunesmith doctor` checks this machine, before any platform runs.
    """
    choose(language)
    with connect() as client:
        found = client.environment(device=device, disk_bytes=disk_bytes)
    if as_json:
        show_json(found)
    else:
        console = out()
        for check in found.checks:
            label, cure = getattr(check.label, current()), check.cure and getattr(check.cure, current())
            head = Text(f"{tr(check.status):<8}", style=_STYLES[check.status])
            console.print(head + Text(plain(f"{label}: {tr(check.found)}")), soft_wrap=True)
            if cure:
                console.print(Text(plain(f"        {cure}"), style="dim"), soft_wrap=True)
    if not found.ok:
        raise typer.Exit(1)


def add_to(app: typer.Typer) -> None:
    """Add the command to an app."""
    app.command()(environment)
