"""`tunesmith models ...`: the registry of base models. `models pull` joins from the package that fetches them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from tunesmith.cli import completion
from tunesmith.cli.arguments import JsonFlag, YesFlag, connect
from tunesmith.cli.format import local_time, plain, size
from tunesmith.cli.output import COLOURS, ask, facts, out, say, show_json, show_table, table
from tunesmith.language import tr
from tunesmith.lifecycle import State

if TYPE_CHECKING:
    from tunesmith.model_views import ModelView

ModelArgument = Annotated[
    str, typer.Argument(metavar="MODEL", help="The model's id or name.", autocompletion=completion.models)
]
_STYLES = {
    "ready": COLOURS[State.COMPLETED],
    "refused": COLOURS[State.FAILED],
    "missing": COLOURS[State.STOPPED],
}


def list_models(as_json: JsonFlag = False) -> None:
    """List base models: those in the models folder, and those that were added."""
    with connect() as client:
        found = client.models.list()
    if as_json:
        show_json(found)
        return
    if not found:
        say("No models yet. `tunesmith models pull HuggingFaceTB/SmolLM2-135M-Instruct` fetches one.")
        return
    columns = ("parameters", "context", "disk", "tasks")
    shown = table("model", "state", "type", *columns, numbers=columns)
    for model in found:
        about = model.facts
        shown.add_row(
            Text(plain(model.name)),
            Text(tr(model.state), style=_STYLES[model.state]),
            Text(plain(about.model_type if about else "")),
            _count(about.parameters) if about else "",
            str(about.context_length or "") if about else "",
            size(model.disk_bytes),
            str(model.task_count),
        )
    show_table(shown)
    for model in found:
        if model.problem:
            say(f"{model.name}: {tr(model.problem.message)} {tr(model.problem.hint or '')}".rstrip())


def show(model: ModelArgument, as_json: JsonFlag = False) -> None:
    """Show one model: what its files say, its license, the tasks that start from it."""
    with connect() as client:
        view = client.models.show(model)
    _print(view, as_json)


def add(
    source: Annotated[
        str,
        typer.Argument(metavar="SOURCE", help="A model's folder, or the hub id of one that was pulled."),
    ],
    name: Annotated[str | None, typer.Option(help="What tasks may call it by.")] = None,
    as_json: JsonFlag = False,
) -> None:
    """Register a model's folder. It stays where it is."""
    folder = Path(source).expanduser()
    # A hub id looks like a relative path: it is one where such a folder is there.
    given = str(folder.absolute()) if folder.is_dir() or source.startswith((".", "~")) else source
    with connect() as client:
        view = client.models.register(given, name)
    _print(view, as_json)


def check(model: ModelArgument, as_json: JsonFlag = False) -> None:
    """Read all files of a model again, and compare its ids with transformers'. Exits with 1 when it is refused."""
    with connect() as client:
        view = client.models.check(model)
    _print(view, as_json)
    if view.facts and view.facts.other_ids is None and not as_json:
        say(
            "note: Its ids were not compared with transformers', which does not lie beside the platform: a training "
            "compares them before its first step, and takes the library's."
        )
    if view.state != "ready":
        raise typer.Exit(1)


def rename(
    model: ModelArgument,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Its new name.")],
    as_json: JsonFlag = False,
) -> None:
    """Give a model another name."""
    with connect() as client:
        view = client.models.rename(model, name)
    if as_json:
        show_json(view)
    else:
        say(f"The model is named `{view.name}` now.")


def remove(
    model: ModelArgument,
    yes: YesFlag = False,
    as_json: JsonFlag = False,
) -> None:
    """Take a model from the registry. Its files stay."""
    with connect() as client:
        view = client.models.show(model)
        if not yes and not ask(f"Forget `{plain(view.name)}`? Its files stay."):
            raise typer.Exit(1)
        client.models.forget(view.id)
    if as_json:
        show_json({"removed": view.id})
        return
    say(f"Model `{view.name}` is forgotten; its files are where they were: `{view.path}`.")


def _print(view: ModelView, as_json: bool) -> None:
    if as_json:
        show_json(view)
        return
    out().print(facts(_facts(view)))
    if view.facts and view.facts.other_ids:
        say(f"note: {plain(view.facts.other_ids)}")
    if view.facts and not view.facts.has_chat_template:
        say("note: It has no chat template: to train conversations, give it one, or choose its chat version.")


def _facts(view: ModelView) -> Iterator[tuple[str, str | Text | None]]:
    yield "model", f"{view.name}  {view.id}"
    yield "state", Text(tr(view.state), style=_STYLES[view.state])
    if view.problem:
        yield "problem", tr(view.problem.message)
        yield "next step", view.problem.hint and tr(view.problem.hint)
    yield "folder", view.path
    yield "hub id", view.hub_id
    about = view.facts
    if about:
        yield "architecture", about.architecture
        yield "parameters", f"{_count(about.parameters)}, {about.dtype}"
        yield "context", tr(f"{about.context_length} tokens") if about.context_length else None
        head = tr("tied to the embedding" if about.is_head_tied else "of its own")
        yield "vocabulary", tr(f"{about.vocab_size} tokens, {about.tokenizer}; output head {head}")
        yield "chat template", tr("yes" if about.has_chat_template else "none")
        layers = about.linear_layers
        yield "LoRA targets", ", ".join(f"{x.name} {x.shape[0]}x{x.shape[1]} ({x.count})" for x in layers)
        yield "license", about.license
    yield "disk", size(view.disk_bytes)
    yield "sha256", view.sha256 or (tr("being computed") if about else None)
    yield "checked", local_time(view.checked_at)
    more = tr(f", and {view.task_count - len(view.tasks)} more") if view.task_count > len(view.tasks) else ""
    names = ", ".join(f"{use.name} ({tr(use.state)})" for use in view.tasks)
    yield "tasks", f"{names}{more}" if names else None


def _count(parameters: int) -> str:
    return f"{parameters / 1e9:.1f} B" if parameters >= 1e9 else f"{parameters / 1e6:.1f} M"


def add_to(app: typer.Typer) -> None:
    """Add the commands to an app."""
    # Made anew each time: a sibling's commands of the same group join it.
    models = typer.Typer(name="models", help="Base models: list, check, add, pull.", no_args_is_help=True)
    models.command("list")(list_models)
    for command in (show, add, check, rename, remove):
        models.command()(command)
    app.add_typer(models)
