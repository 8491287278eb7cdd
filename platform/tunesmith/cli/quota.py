"""`tunesmith quota ...`: what a project may save, and the ledger of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from tunesmith.cli import completion
from tunesmith.cli.arguments import JsonFlag, connect
from tunesmith.cli.format import local_time, plain
from tunesmith.cli.output import facts, out, say, show_json, show_table, table
from tunesmith.language import tr

if TYPE_CHECKING:
    from tunesmith import views

DEFAULT_PROJECT = "default"

quota = typer.Typer(
    name="quota", help="Training quotas: each saved checkpoint consumes one.", no_args_is_help=True
)

ProjectArgument = Annotated[
    str, typer.Argument(metavar="[PROJECT]", help="The project.", autocompletion=completion.projects)
]
LowOption = Annotated[
    int | None, typer.Option("--low", min=0, help="Warn a task when no more than this is available.")
]


@quota.command("list")
def list_quotas(as_json: JsonFlag = False) -> None:
    """List the projects that have a quota."""
    with connect() as client:
        found = list(client.quota.list())
    if as_json:
        show_json(found)
        return
    if not found:
        say("No project has a quota. Switch one on with `tunesmith quota enable PROJECT`.")
        return
    numbers = ("available", "reserved", "charged", "granted")
    shown = table("project", "quota", *numbers, numbers=numbers)
    for item in found:
        counts = (str(getattr(item, name)) for name in numbers)
        shown.add_row(Text(plain(item.project)), _switch(item), *counts)
    show_table(shown)


@quota.command()
def show(project: ProjectArgument = DEFAULT_PROJECT, as_json: JsonFlag = False) -> None:
    """Show what a project has been granted, has saved, holds for its tasks, and has available."""
    with connect() as client:
        view = client.quota.show(project)
    _show(view, as_json)


@quota.command(context_settings={"ignore_unknown_options": True})  # so that -5 is a number
def grant(
    amount: Annotated[int, typer.Argument(help="Checkpoints; negative takes away.")],
    project: ProjectArgument = DEFAULT_PROJECT,
    note: Annotated[str, typer.Option(help="What for.")] = "",
    as_json: JsonFlag = False,
) -> None:
    """Grant a project so many checkpoints. For administrators.

    Taking away stops no task at once: a task that is no longer covered saves, then stops, at its next checkpoint.
    """
    with connect() as client:
        entry = client.quota.grant(amount, project, note=note)
        view = client.quota.show(project)
    if as_json:
        show_json(entry)
        return
    say(f"Project `{project}` has {entry.available} available now.")
    if not view.enabled:
        say(f"note: its quota is off. Switch it on with `tunesmith quota enable {project}`.")


@quota.command()
def history(
    project: ProjectArgument = DEFAULT_PROJECT,
    task: Annotated[
        str | None, typer.Option(help="Only this task's entries: its id.", autocompletion=completion.tasks)
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="Entries at the most.")] = 50,
    as_json: JsonFlag = False,
) -> None:
    """Show a project's ledger, newest first."""
    with connect() as client:
        page = client.quota.history_page(project, limit, task=task)
    if as_json:
        show_json(page.data)
        return
    if not page.data:
        say("Nothing was granted or saved yet.")
        return
    numbers = ("amount", "reserved", "available")
    shown = table("time", "kind", *numbers, "what", numbers=numbers)
    shown.columns[-1].no_wrap, shown.columns[-1].overflow = False, "fold"
    for entry in page.data:
        shown.add_row(
            local_time(entry.time),
            tr(entry.kind),
            _change(entry.amount),
            _change(entry.reserved),
            str(entry.available),
            Text(plain(_what(entry))),
        )
    show_table(shown)
    if page.has_more:
        say(f"There are more; `--limit {min(limit * 2, 1000)}` shows them.")


@quota.command()
def enable(
    project: ProjectArgument = DEFAULT_PROJECT, low: LowOption = None, as_json: JsonFlag = False
) -> None:
    """Switch a project's quota on, for the tasks that are submitted from now on. For administrators."""
    with connect() as client:
        view = client.quota.change(project, enabled=True, low_threshold=low)
    _show(view, as_json)


@quota.command()
def disable(project: ProjectArgument = DEFAULT_PROJECT, as_json: JsonFlag = False) -> None:
    """Switch a project's quota off: nothing more is charged. For administrators."""
    with connect() as client:
        view = client.quota.change(project, enabled=False)
    _show(view, as_json)


def _show(view: views.QuotaView, as_json: bool) -> None:
    if as_json:
        show_json(view)
        return
    out().print(
        facts(
            (
                ("project", view.project),
                ("quota", _switch(view)),
                ("available", str(view.available)),
                ("reserved", tr(f"{view.reserved}  held for what tasks plan to save")),
                ("charged", tr(f"{view.charged}  checkpoints and packages saved")),
                ("granted", str(view.granted)),
                ("warns at", str(view.low_threshold)),
                ("packages", tr(f"{view.packages}  there, {view.package_bytes / 1e9:.2f} GB")),
            )
        )
    )


def _switch(view: views.QuotaView) -> str:
    return tr("on" if view.enabled else "off")


def _change(value: int) -> str:
    return f"{value:+}" if value else ""


def _what(entry: views.QuotaEntryView) -> str:
    step = tr(f"step {entry.step}") if entry.step is not None else None
    by = entry.by if entry.kind == "grant" else None
    return "  ".join(word for word in (entry.task_id, step, by, entry.note) if word)


def add_to(app: typer.Typer) -> None:
    """Add the commands to an app."""
    app.add_typer(quota)
