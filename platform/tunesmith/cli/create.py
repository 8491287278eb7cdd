"""`tunesmith tasks create KIND`: a task of any installed kind. `train` and `data run` have commands of their own."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tunesmith.cli import completion
from tunesmith.cli.arguments import JsonFlag, WatchFlag, absolute_paths, connect, is_followed, pairs
from tunesmith.cli.output import out, say, show_json, show_notices
from tunesmith.language import Language, current

if TYPE_CHECKING:
    from tunesmith.spec.base import Spec
    from tunesmith.spec.parameter import Parameter


def create(
    kind: Annotated[
        str | None, typer.Argument(metavar="[KIND]", help="What it does; without it the kinds are listed.")
    ] = None,
    *,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", "-s", metavar="NAME=VALUE", help="A parameter; may be given again."),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option("--config", metavar="<file>", help="YAML or JSON of parameters; those of `--set` win."),
    ] = None,
    template: Annotated[
        str | None,
        typer.Option(
            "--template",
            help="A template whose parameters lie under those given here.",
            autocompletion=completion.templates,
        ),
    ] = None,
    name: Annotated[str | None, typer.Option("--name", help="Shown name; made if not given.")] = None,
    project: Annotated[
        str | None, typer.Option("--project", help="The project, and MLflow experiment, it belongs to.")
    ] = None,
    watch: WatchFlag = None,
    as_json: JsonFlag = False,
) -> None:
    """Submit a task of any kind: `tunesmith tasks create evaluate --set task_id=TASK --set eval_file=held-out`."""
    from tunesmith.cli.watching import followed
    from tunesmith.other_tools.reading import read_config
    from tunesmith.spec.kinds import kind_of, kinds

    if kind is None:
        if as_json:
            show_json([{"kind": known.name, "label": known.label} for known in kinds().values()])
            return
        for known in kinds().values():
            out().print(f"{known.name:<12}{known.label[current() is Language.ZH]}")
        return
    spec = kind_of(kind).spec
    parameters = spec.merged(read_config(config) if config else {}, pairs(settings))
    body: dict[str, Any] = {
        "kind": kind,
        "spec": absolute_paths(parameters, partial(_about, spec)),
    }
    envelope = {"name": name, "project": project, "template": template}
    body |= {key: value for key, value in envelope.items() if value is not None}
    with connect() as client:
        if isinstance(body["spec"].get("task_id"), str):
            body["spec"]["task_id"] = client.task(body["spec"]["task_id"]).id  # its name will do here
        view = client.create_task(body)
        show_notices(view.notices)
        if as_json:
            show_json(view)
            return
        say(f"Task `{view.name}` is {view.state}: {view.id}")
        if is_followed(watch):
            raise typer.Exit(followed(client, view.id))
    sys.stdout.write(view.id + "\n")


def _about(spec: type[Spec], name: str) -> Parameter | None:
    """What is known of the parameter that a name or an alias stands for."""
    from tunesmith.spec.parameter import about

    known = (
        about(info) for field, info in spec.model_fields.items() if name in (field, *about(info).aliases)
    )
    return next(known, None)
