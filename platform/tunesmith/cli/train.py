"""`tunesmith train`: its flags derive from `TrainSpec`, one a parameter and a hidden one an alias.

Knows how a flag becomes a value of the spec; what the value may be, the spec knows.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from tunesmith.cli import completion
from tunesmith.cli.arguments import JsonFlag, WatchFlag, absolute_paths, connect, is_followed
from tunesmith.cli.output import out, say, show_json, show_notices
from tunesmith.cli.parameters import group_title, help_of, shown
from tunesmith.errors import InvalidInput, Problem
from tunesmith.language import current, tr
from tunesmith.schema import ParameterRow, rows
from tunesmith.spec.compat import FOREIGN
from tunesmith.spec.parameter import Parameter
from tunesmith.spec.training import TrainSpec

_ROWS = {row.name: row for row in rows(TrainSpec)}
_CANONICAL = {name: name for name in _ROWS} | {
    alias: row.name for row in _ROWS.values() for alias in row.about.aliases
}
FILES = ("train_file", "eval_file")
"""Parameters that may name several data sets, each with a weight."""
_OBJECTS = ("lora", "lr_scheduler_kwargs")
_OFFERED = {
    "model_name_or_path": completion.models,
    "train_file": completion.datasets,
    "eval_file": completion.datasets,
}
"""What a shell offers for a parameter that names something of the platform."""
_BOOLEANS = {"true", "yes", "on", "1", "false", "no", "off", "0", "t", "f", "y", "n"}
"""What pydantic reads as a boolean."""


def flag(name: str) -> str:
    """A parameter's flag: `learning_rate` is `--learning-rate`."""
    return "--" + name.replace("_", "-")


class _SpecCommand(TyperCommand):
    """A command whose switches may stand alone or carry a value."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        return super().parse_args(ctx, switches(args))


def switches(args: Sequence[str]) -> list[str]:
    """Arguments in which every boolean flag carries its value.

    `--use-lora` becomes `--use-lora=true` and `--no-use-lora` becomes `--use-lora=false`; `--use_lora True`, as
    Hugging Face's scripts take it, is understood too.
    """
    booleans = {flag(spelling) for spelling, name in _CANONICAL.items() if _ROWS[name].type == "boolean"}
    booleans |= {flag(name) for name, foreign in FOREIGN.items() if foreign.is_switch}
    found: list[str] = []
    for i, word in enumerate(args):
        name = word.replace("_", "-")
        after = args[i + 1].lower() if i + 1 < len(args) else ""
        if name in booleans and after not in _BOOLEANS:
            found.append(f"{name}=true")
        elif name.startswith("--no-") and f"--{name[5:]}" in booleans:
            found.append(f"--{name[5:]}=false")
        else:
            found.append(word)
    return found


def _help(row: ParameterRow) -> str:
    default = tr("required") if row.required else f"{tr('default')}: {shown(row.default) or tr('empty')}"
    off = f"{tr('off')}: --no-{flag(row.name)[2:]}" if row.type == "boolean" else ""
    known = (default, row.bounds, row.about.unit, " | ".join(row.choices or ()), off)
    return _escaped(f"{help_of(row, current())} [{'; '.join(part for part in known if part)}]")


def _escaped(text: str) -> str:
    """A text in which a terminal's markup is none."""
    return text.replace("[", "\\[")


def _option(spelling: str, row: ParameterRow) -> inspect.Parameter:
    """The function parameter from which typer makes the flag."""
    choices = row.choices or []
    option = typer.Option(
        flag(spelling),
        metavar=f"<{row.type}>",
        help=_help(row),
        hidden=spelling != row.name,
        rich_help_panel=group_title(row.about.group, current()),
        show_default=False,
        autocompletion=_OFFERED.get(row.name, lambda: choices),
    )
    annotation: Any = Annotated[list[str] | None if row.name in FILES else str | None, option]
    return inspect.Parameter(spelling, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)


def _foreign_option(name: str) -> inspect.Parameter:
    """As `_option`, for another tool's name that is no spelling of one parameter."""
    option = typer.Option(flag(name), help=_escaped(FOREIGN[name].help), hidden=True, show_default=False)
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[str | None, option]
    )


def read_flag(name: str, given: Any) -> Any:
    """A flag's text as the spec takes it: lists by comma or as JSON, objects as JSON; the rest as it is.

    Raises:
        InvalidInput: Text that should be JSON and is not.
    """
    kind = "object" if name in _OBJECTS else _ROWS[_CANONICAL[name]].type if name in _CANONICAL else "string"
    if isinstance(given, list) and _CANONICAL.get(name) in FILES:
        return given[0] if len(given) == 1 else given
    if not isinstance(given, str) or kind not in {"list", "object"}:
        return given
    if kind == "list" and not given.lstrip().startswith("["):
        return [part.strip() for part in given.split(",") if part.strip()]
    try:
        return json.loads(given)
    except ValueError as error:
        example = '["q_proj"]' if kind == "list" else '{"CPU": 2}'
        raise InvalidInput(
            f"`{given}` is not JSON: {error}.", field=name, hint=f"Write it as '{example}', in single quotes."
        ) from error


def absolute(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """A training's parameters with absolute paths; see `absolute_paths`."""

    def about_of(name: str) -> Parameter | None:
        meant = _CANONICAL.get(name, FOREIGN[name].stands_for[0] if name in FOREIGN else name)
        return _ROWS[meant].about if meant in _ROWS else None

    return absolute_paths(parameters, about_of)


def check(parameters: Mapping[str, Any]) -> None:
    """Refuse at once, in terms of flags, what the server would refuse.

    Raises:
        InvalidInput: With every problem found.
    """
    try:
        TrainSpec.read(parameters)
    except InvalidInput as error:
        for problem in error.problems:
            if problem.field in _ROWS and problem.message.startswith("Field required"):
                problem.message, problem.hint = "It must be given.", f"Give `{flag(problem.field)}`."
        if len(error.problems) + error.more_problems == 1:
            only: Problem = error.problems[0]
            error.message = f"{only.field}: {only.message}" if only.field else only.message
            error.hint = only.hint
        raise


def _train(
    file: Annotated[
        Path | None,
        typer.Argument(
            metavar="[FILE]",
            help="YAML or JSON of parameters: ours, LLaMA-Factory's, Axolotl's, model-compose's or SimpleFoundation's.",
        ),
    ] = None,
    *,
    config: Annotated[
        Path | None,
        typer.Option(
            "--config",
            metavar="<file>",
            help="The same as `FILE`; flags win.",
        ),
    ] = None,
    template: Annotated[
        str | None,
        typer.Option(
            "--template",
            help="A template whose parameters lie under those given here.",
            autocompletion=completion.templates,
        ),
    ] = None,
    name: Annotated[
        str | None, typer.Option("--name", help="Shown name; made from the time if not given.")
    ] = None,
    project: Annotated[
        str | None,
        typer.Option("--project", help="The MLflow experiment it belongs to; `default` if not given."),
    ] = None,
    priority: Annotated[
        int | None, typer.Option("--priority", help="Higher starts first; 0 if not given.")
    ] = None,
    tag: Annotated[list[str] | None, typer.Option("--tag", help="A tag; may be given again.")] = None,
    notes: Annotated[str | None, typer.Option("--notes", help="Free text.")] = None,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", help="Print every parameter and where it comes from, check it, start nothing."
        ),
    ] = False,
    watch: WatchFlag = None,
    as_json: JsonFlag = False,
    **flags: Any,
) -> None:
    """Train a model.

    Every parameter has a flag, with `-` or `_`; `tunesmith parameters` explains them. Paths are made absolute.
    `--train-file` may be given again, each with a weight: `--train-file a.jsonl:0.7 --train-file org/name:0.3`.
    """
    from tunesmith.cli.given import given_training
    from tunesmith.cli.watching import followed

    given = given_training(file, config, flags, template)
    task, parameters = given.task, given.parameters
    said = {"name": name, "project": project, "priority": priority, "tags": tag, "notes": notes}
    body = task | {"template": template} | said | {"spec": parameters}
    body = {key: value if value is not None else task.get(key) for key, value in body.items()}
    body = {key: value for key, value in body.items() if value is not None}
    if "template" not in body:
        check(parameters)
    if dry_run:
        from tunesmith.cli.dry_run import show_dry_run

        show_dry_run(given, body, as_json)
        return
    show_notices(given.notices)
    with connect() as client:
        body["spec"] = given.ready(client)
        view = client.create_task(body)
        show_notices(view.notices)
        if as_json:
            show_json(view)
            return
        if not is_followed(watch):
            say(f"Task `{view.name}` is {view.state}. Follow it with `tunesmith watch {view.id}`.")
            out().print(view.id)
            return
        say(f"Task `{view.name}` is {view.state}: {view.id}")
        raise typer.Exit(followed(client, view.id))


def add_command(app: typer.Typer, name: str, function: Callable[..., None]) -> None:
    """Add a command that takes a flag for every parameter besides its own; they arrive as keywords."""

    def command(**given: Any) -> None:
        function(**given)

    signature = inspect.signature(function, eval_str=True)
    own = [item for item in signature.parameters.values() if item.kind is not inspect.Parameter.VAR_KEYWORD]
    taken = {item.name for item in own}
    derived = [
        _option(spelling, _ROWS[name]) for spelling, name in _CANONICAL.items() if spelling not in taken
    ]
    derived += [_foreign_option(name) for name in FOREIGN]
    command.__signature__ = signature.replace(parameters=own + derived)  # type: ignore[attr-defined]
    settings = {"token_normalize_func": lambda name: name.replace("_", "-")}
    app.command(name, cls=_SpecCommand, context_settings=settings, help=inspect.getdoc(function))(command)


def add_to(app: typer.Typer) -> None:
    """Add the command to an app."""
    add_command(app, "train", _train)
