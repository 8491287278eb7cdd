"""`tunesmith templates ...`: parameters under a name."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from tunesmith.cli import completion
from tunesmith.cli.arguments import ForceFlag, JsonFlag, YesFlag, connect
from tunesmith.cli.derive import SetOption, changes
from tunesmith.cli.format import plain
from tunesmith.cli.output import ask, facts, out, say, show_json, show_notices, show_table, table
from tunesmith.errors import InvalidInput
from tunesmith.language import Language, current, tr

if TYPE_CHECKING:
    from tunesmith.templates import TemplateView

templates = typer.Typer(
    name="templates", help="Keep parameters under a name, for the tasks to come.", no_args_is_help=True
)
TemplateArgument = Annotated[
    str,
    typer.Argument(metavar="TEMPLATE", help="The template's name.", autocompletion=completion.templates),
]


@templates.command("list")
def list_templates(as_json: JsonFlag = False) -> None:
    """List templates: those that came with the platform, then your own."""
    with connect() as client:
        found = list(client.templates.list())
    if as_json:
        show_json(found)
        return
    grid = table("template", "parameters", "", "what it is for", numbers=("parameters",))
    grid.columns[3].no_wrap, grid.columns[3].overflow = False, "fold"
    for item in found:
        built_in = Text(tr("built in") if item.builtin else "", style="dim")
        grid.add_row(Text(plain(item.name)), str(len(item.parameters)), built_in, Text(plain(_said(item))))
    show_table(grid)


def _said(template: TemplateView) -> str:
    """What a template is for, in the user's language where somebody has written that."""
    chinese = template.description_zh if current() is Language.ZH else ""
    return chinese or template.description


@templates.command()
def show(template: TemplateArgument, as_json: JsonFlag = False) -> None:
    """Show what a template holds."""
    with connect() as client:
        found = client.templates.get(template)
    if as_json:
        show_json(found)
        return
    from tunesmith.cli.parameters import shown

    console = out()
    console.print(
        facts(
            [
                ("template", found.name),
                ("what it is for", _said(found)),
                ("hides", ", ".join(found.hides)),
                ("built in", tr("yes: it can be read, not changed") if found.builtin else None),
            ]
        )
    )
    console.print()
    console.print(facts((name, shown(value)) for name, value in found.parameters.items()))


@templates.command()
def save(
    template: TemplateArgument,
    *,
    task: Annotated[
        str | None,
        typer.Option(
            "--task",
            help="Take the parameters of this task (id or unique name).",
            autocompletion=completion.tasks,
        ),
    ] = None,
    config: Annotated[
        Path | None, typer.Option("--config", metavar="<file>", help="YAML or JSON of parameters.")
    ] = None,
    settings: SetOption = None,
    description: Annotated[str, typer.Option("--description", help="What it is for.")] = "",
    with_places: Annotated[
        bool, typer.Option("--with-places", help="Keep the task's model, data and output folder too.")
    ] = False,
    as_json: JsonFlag = False,
) -> None:
    """Save parameters as a new template: those of a task, of a file, or given by `--set`."""
    from tunesmith.other_tools.reading import ConfigFile, read_file
    from tunesmith.spec.training import TrainSpec

    said = read_file(config) if config else ConfigFile()
    show_notices(said.notices)
    parameters = TrainSpec.merged(TrainSpec.merged(said.assumed, said.parameters), changes(settings))
    if not parameters and task is None:
        raise InvalidInput("Nothing to save.", hint="Give `--task`, `--config` or `--set`.")
    with connect() as client:
        found = client.templates.save(
            template,
            parameters,
            from_task=client.task(task).id if task is not None else None,
            with_places=with_places,
            description=description,
        )
    _done(found, f"Template `{found.name}` is saved. Use it with `tunesmith train --template`.", as_json)


def _done(found: TemplateView, message: str, as_json: bool) -> None:
    show_notices(found.notices)
    if as_json:
        show_json(found)
    else:
        say(message)


@templates.command()
def rename(
    template: TemplateArgument,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Its new name.")],
    as_json: JsonFlag = False,
) -> None:
    """Give a template another name."""
    with connect() as client:
        found = client.templates.rename(template, name)
    _done(found, f"Template `{template}` is `{found.name}` now.", as_json)


@templates.command()
def delete(
    template: Annotated[
        list[str],
        typer.Argument(
            metavar="TEMPLATE...", help="Names of templates.", autocompletion=completion.templates
        ),
    ],
    yes: YesFlag = False,
    as_json: JsonFlag = False,
) -> None:
    """Delete templates. Tasks made from them keep their parameters."""
    with connect() as client:
        if not yes:
            names = ", ".join(f"`{plain(name)}`" for name in template)
            if not ask(f"Delete {names} for good?"):
                raise typer.Exit(1)
        for name in template:
            client.templates.delete(name)
            if not as_json:
                say(f"Template `{name}` is deleted.")
    if as_json:
        show_json({"deleted": template})


@templates.command("export")
def export_template(
    template: TemplateArgument,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="<file>", help="Write it there, not to stdout.")
    ] = None,
    force: ForceFlag = False,
    as_json: JsonFlag = False,
) -> None:
    """Print a template as YAML."""
    from tunesmith.removal import new_file

    with connect() as client:
        if as_json:
            show_json(client.templates.get(template))
            return
        text = client.templates.export_yaml(template)
    if output is None:
        sys.stdout.write(text)
        return
    try:
        with new_file(output, overwrite=force) as stream:
            stream.write(text.encode())
    except OSError as error:
        raise InvalidInput(f"`{output}` cannot be written: {error}.", field="--output") from error
    say(f"Written to `{output}`.")


@templates.command("import")
def import_template(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="YAML that `export` wrote; `-` reads stdin.")],
    name: Annotated[
        str | None, typer.Option("--name", help="Its name here; the one in the file if not given.")
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Save a template from YAML."""
    try:
        text = sys.stdin.read() if str(file) == "-" else file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"`{file}` cannot be read: {error}.", field="FILE") from error
    with connect() as client:
        found = client.templates.import_yaml(text, name=name)
    _done(found, f"Template `{found.name}` is saved.", as_json)


def add_to(app: typer.Typer) -> None:
    """Add the commands to an app."""
    app.add_typer(templates)
