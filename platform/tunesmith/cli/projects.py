"""`tunesmith projects ...`: what is kept apart, and who works where."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from tunesmith.cli import completion
from tunesmith.cli.arguments import JsonFlag, connect
from tunesmith.cli.format import plain
from tunesmith.cli.output import say, show_json, show_table, table

if TYPE_CHECKING:
    from tunesmith.access import ProjectView

projects = typer.Typer(
    name="projects",
    help="Projects: what is made in one is seen by those who work in it.",
    no_args_is_help=True,
)

ProjectArgument = Annotated[
    str, typer.Argument(metavar="PROJECT", help="The project.", autocompletion=completion.projects)
]
NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="Whose keys: the name that they have.")]


@projects.command()
def create(
    name: Annotated[str, typer.Argument(metavar="PROJECT", help="Its name.")],
    description: Annotated[str, typer.Option(help="What it is for.")] = "",
    as_json: JsonFlag = False,
) -> None:
    """Make a project. For administrators."""
    with connect() as client:
        view = client.projects.make(name, description=description)
    if as_json:
        show_json(view)
        return
    say(f"Project `{plain(view.name)}` is made. Let somebody in: `tunesmith projects add {view.name} NAME`.")


@projects.command("list")
def list_projects(as_json: JsonFlag = False) -> None:
    """List the projects that you work in."""
    with connect() as client:
        found = list(client.projects.list())
    _show(found, as_json)


@projects.command()
def members(project: ProjectArgument, as_json: JsonFlag = False) -> None:
    """Show who works in a project; those who work in every project are not listed."""
    with connect() as client:
        view = client.projects.show(project)
    if as_json:
        show_json(view.members)
        return
    shown = table("name", "role")
    for member in view.members:
        shown.add_row(Text(plain(member.name)), member.role)
    show_table(shown)


@projects.command()
def add(project: ProjectArgument, name: NameArgument, as_json: JsonFlag = False) -> None:
    """Let the keys of a name work in a project too. For administrators."""
    with connect() as client:
        view = client.projects.add(project, name)
    if as_json:
        show_json(view)
        return
    say(f"`{plain(name)}` works in `{plain(project)}` now.")


@projects.command()
def remove(project: ProjectArgument, name: NameArgument, as_json: JsonFlag = False) -> None:
    """Let the keys of a name work in a project no more; what they made there stays. For administrators."""
    with connect() as client:
        view = client.projects.remove(project, name)
    if as_json:
        show_json(view)
        return
    say(f"`{plain(name)}` works in `{plain(project)}` no more.")


def _show(found: list[ProjectView], as_json: bool) -> None:
    if as_json:
        show_json(found)
        return
    shown = table("project", "members", "what for")
    for view in found:
        names = ", ".join(member.name for member in view.members)
        shown.add_row(Text(plain(view.name)), Text(plain(names)), Text(plain(view.description)))
    show_table(shown)


def add_to(app: typer.Typer) -> None:
    """Add the commands to an app."""
    app.add_typer(projects)
