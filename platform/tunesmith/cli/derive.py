"""`tunesmith tasks clone|new-stage|continue|diff`: what is made from tasks that are there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from tunesmith.cli import completion
from tunesmith.cli.arguments import JsonFlag, LanguageOption, TaskArgument, connect
from tunesmith.cli.format import label, plain
from tunesmith.cli.output import out, say, show_json, show_notices, show_table, table
from tunesmith.errors import InvalidInput
from tunesmith.language import choose

if TYPE_CHECKING:
    from tunesmith import views
    from tunesmith.client.tasks import CopyEnvelope

SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="<name=value>",
        help="A parameter that is different; may be given again. `null` sets nothing.",
    ),
]
NameOption = Annotated[str | None, typer.Option("--name", help="The new task's name.")]
NotesOption = Annotated[str | None, typer.Option("--notes", help="Its notes; the same if not given.")]
TagOption = Annotated[
    list[str] | None, typer.Option("--tag", help="Its tags, instead of the same; may be given again.")
]


def changes(settings: list[str] | None) -> dict[str, Any]:
    """Parameters from `name=value` words. What a value may be, the server says.

    Raises:
        InvalidInput: A word without `=`.
    """
    from tunesmith.cli.train import absolute, read_flag
    from tunesmith.spec.parameter import about
    from tunesmith.spec.training import TrainSpec

    found: dict[str, Any] = {}
    known = set(TrainSpec.model_fields)
    for info in TrainSpec.model_fields.values():
        known |= set(about(info).aliases)
    for word in settings or []:
        name, sign, value = word.partition("=")
        name = name.strip().lstrip("-").replace("-", "_")
        if not sign or not name:
            raise InvalidInput(
                f"`{word}` sets nothing.", field="--set", hint="As in `--set learning_rate=0.0005`."
            )
        found[name] = None if value == "null" else read_flag(name, value) if name in known else value
    return absolute(found)


def _envelope(name: str | None, notes: str | None, tag: list[str] | None) -> CopyEnvelope:
    given: CopyEnvelope = {}
    if name is not None:
        given["name"] = name
    if notes is not None:
        given["notes"] = notes
    if tag is not None:
        given["tags"] = tag
    return given


def _submitted(view: views.TaskView, as_json: bool) -> None:
    show_notices(view.notices)
    if as_json:
        show_json(view)
        return
    say(f"Task `{view.name}` is {view.state}. Follow it with `tunesmith watch {view.id}`.")
    out().print(view.id)


def clone(
    task: TaskArgument,
    *,
    settings: SetOption = None,
    name: NameOption = None,
    notes: NotesOption = None,
    tag: TagOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Submit a new task with the parameters of another."""
    with connect() as client:
        source = client.task(task)
        view = client.clone_task(source.id, changes(settings), **_envelope(name, notes, tag))
    _submitted(view, as_json)


def new_stage(
    task: TaskArgument,
    *,
    step: Annotated[
        int | None, typer.Option("--step", min=0, help="The checkpoint's step; the newest if not given.")
    ] = None,
    settings: SetOption = None,
    name: NameOption = None,
    notes: NotesOption = None,
    tag: TagOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Submit a new task that starts from the weights of another's checkpoint, at step 0."""
    with connect() as client:
        source = client.task(task)
        view = client.new_stage(source.id, changes(settings), step=step, **_envelope(name, notes, tag))
    _submitted(view, as_json)


def continue_task(
    task: TaskArgument,
    *,
    num_train_epochs: Annotated[
        float | None, typer.Option("--num-train-epochs", "--epochs", help="More epochs than it had.")
    ] = None,
    max_steps: Annotated[int | None, typer.Option("--max-steps", help="More steps than it had.")] = None,
    as_json: JsonFlag = False,
) -> None:
    """Let a task that is over go on at its newest checkpoint; a completed one needs more steps.

    It stays the same task, and its step count goes on.
    """
    with connect() as client:
        view = client.continue_task(
            client.task(task).id, num_train_epochs=num_train_epochs, max_steps=max_steps
        )
    if as_json:
        show_json(view)
        return
    say(f"Task `{view.name}` is {view.state}: {view.message} Follow it with `tunesmith watch {view.id}`.")


def diff(
    a: Annotated[
        str,
        typer.Argument(
            metavar="TASK", help="The first task's id or unique name.", autocompletion=completion.tasks
        ),
    ],
    b: Annotated[
        str,
        typer.Argument(
            metavar="TASK", help="The second task's id or unique name.", autocompletion=completion.tasks
        ),
    ],
    lang: LanguageOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Show in which parameters two tasks differ."""
    choose(lang)
    with connect() as client:
        found = client.diff_tasks(client.task(a).id, client.task(b).id)
    if as_json:
        show_json(found)
        return
    if not found.differences:
        say("Their parameters are the same.")
        return
    grid = table("parameter", "label", plain(found.a.name), plain(found.b.name))
    for column in grid.columns[1:]:
        column.no_wrap, column.overflow = False, "fold"
    for item in found.differences:
        grid.add_row(item.name, label(item), Text(plain(_value(item.a))), Text(plain(_value(item.b))))
    show_table(grid)


def _value(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return str(value).lower()
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def add_to(tasks: typer.Typer) -> None:
    """Add the commands to those of tasks."""
    tasks.command("clone")(clone)
    tasks.command("new-stage")(new_stage)
    tasks.command("continue")(continue_task)
    tasks.command("diff")(diff)
