"""`tunesmith run FILE` and `tunesmith pipelines ...`: components and workflows from YAML."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from tunesmith.cli import completion
from tunesmith.cli.arguments import JsonFlag, WatchFlag, YesFlag, connect, is_followed, pairs
from tunesmith.cli.format import age, plain
from tunesmith.cli.output import (
    EXIT_CODES,
    ask,
    facts,
    out,
    say,
    show_json,
    show_notices,
    show_table,
    state_text,
    table,
)
from tunesmith.errors import InvalidInput
from tunesmith.language import tr
from tunesmith.lifecycle import State

if TYPE_CHECKING:
    from tunesmith.pipelines import PipelineView

pipelines = typer.Typer(name="pipelines", help="Pipelines: what `tunesmith run` began.", no_args_is_help=True)
PipelineArgument = Annotated[
    str,
    typer.Argument(metavar="PIPELINE", help="The pipeline's id.", autocompletion=completion.pipelines),
]


def run(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The pipeline's YAML.")],
    *,
    workflow: Annotated[
        str | None, typer.Option("--workflow", help="Which workflow; not needed if there is only one.")
    ] = None,
    inputs: Annotated[
        list[str] | None,
        typer.Option("--input", metavar="<name=value>", help="One `${input.name}`; may be given again."),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="<component.name=value>", help="A component's parameter; may be given again."
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            help="The base model of trainers that name none.",
            autocompletion=completion.models,
        ),
    ] = None,
    name: Annotated[str | None, typer.Option("--name", help="Its shown name.")] = None,
    project: Annotated[str | None, typer.Option("--project", help="The project of its tasks.")] = None,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Do every step anew, even where an identical one was done before.")
    ] = False,
    check: Annotated[bool, typer.Option("--check", help="Only check the file and show its steps.")] = False,
    watch: WatchFlag = None,
    as_json: JsonFlag = False,
) -> None:
    """Run a pipeline: data sets and trainers, tied together in YAML as model-compose writes it.

    Relative paths are relative to the folder of FILE.
    """
    from tunesmith.pipelines import NewPipeline
    from tunesmith.spec.pipeline import plan
    from tunesmith.spec.pipeline_file import read_pipeline

    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"`{file}` cannot be read: {error}.", field="FILE") from error
    given = pairs(inputs, "--input", "dataset=train.jsonl")
    overrides = _overrides(settings or [])
    steps = plan(read_pipeline(text), workflow=workflow, inputs=given, overrides=overrides, model=model)
    if check:
        show_notices(notice for step in steps for notice in step.notices)
        if as_json:
            show_json(steps)
            return
        grid = table("step", "what", "component", "after")
        for step in steps:
            grid.add_row(step.id, step.method, step.component, ", ".join(step.needs))
        show_table(grid)
        return
    new = NewPipeline(
        yaml=text,
        workflow=workflow,
        input=given,
        overrides=overrides,
        model=model,
        name=name,
        project=project,
        folder=str(file.absolute().parent),
        reuse=not fresh,
    )
    with connect() as client:
        view = client.pipelines.run(new)
    say(f"Pipeline `{view.name}` has begun: {view.id}.")
    show_notices(view.notices)
    _follow(view, watch, as_json)


@pipelines.command("list")
def list_pipelines(as_json: JsonFlag = False) -> None:
    """List pipelines, the newest first."""
    with connect() as client:
        found = list(client.pipelines.list())
    if as_json:
        show_json(found)
        return
    grid = table("id", "name", "state", "steps", "age")
    for view in found:
        done = sum(step.state is State.COMPLETED for step in view.steps)
        grid.add_row(
            view.id,
            Text(plain(view.name)),
            state_text(view.state),
            f"{done}/{len(view.steps)}",
            age(view.created_at),
        )
    show_table(grid)


@pipelines.command()
def show(pipeline: PipelineArgument, as_json: JsonFlag = False) -> None:
    """Show a pipeline and its steps."""
    with connect() as client:
        _show(client.pipelines.get(pipeline), as_json)


@pipelines.command()
def watch(pipeline: PipelineArgument, as_json: JsonFlag = False) -> None:
    """Follow a pipeline until it ends."""
    with connect() as client:
        view = client.pipelines.get(pipeline)
    _follow(view, True, as_json)


@pipelines.command()
def stop(pipeline: PipelineArgument, as_json: JsonFlag = False) -> None:
    """Stop a pipeline and what runs of it."""
    with connect() as client:
        view = client.pipelines.stop(pipeline)
    if as_json:
        show_json(view)
    else:
        say(f"Pipeline `{view.name}` is {view.state}.")


@pipelines.command("continue")
def carry_on(pipeline: PipelineArgument, watch: WatchFlag = None, as_json: JsonFlag = False) -> None:
    """Continue a pipeline from the step that failed or was stopped."""
    with connect() as client:
        view = client.pipelines.carry_on(pipeline)
    _follow(view, watch, as_json)


@pipelines.command()
def delete(
    pipeline: PipelineArgument,
    with_files: Annotated[bool, typer.Option("--with-files", help="The rows that it made too.")] = False,
    yes: YesFlag = False,
    as_json: JsonFlag = False,
) -> None:
    """Delete a pipeline that is over. Its tasks stay."""
    if not yes and not ask(f"Delete `{plain(pipeline)}` for good?"):
        raise typer.Exit(1)
    with connect() as client:
        client.pipelines.delete(pipeline, with_files=with_files)
    if as_json:
        show_json({"deleted": pipeline})
    else:
        say(f"Pipeline `{pipeline}` is deleted.")


def _follow(view: PipelineView, watch: bool | None, as_json: bool) -> None:
    """Say what becomes of each step until the pipeline is over; its end is the exit code."""
    if not is_followed(watch):
        if as_json:
            show_json(view)
        else:
            sys.stdout.write(view.id + "\n")
        return
    known: dict[str, State] = {}

    def tell(seen: PipelineView) -> None:
        for step in seen.steps:
            if known.get(step.id, State.PENDING) is step.state:
                continue
            known[step.id] = step.state
            if step.task_id and step.state is State.RUNNING:
                say(f"Step `{step.id}` is {step.state} ({step.task_id}).")
            elif step.is_reused:
                say(f"Step `{step.id}` is {step.state}: taken from an identical step.")
            elif step.state is State.FAILED:
                say(f"Step `{step.id}` is {step.state}: {step.message}")
            else:
                say(f"Step `{step.id}` is {step.state}.")

    with connect() as client:
        view = client.pipelines.wait(view.id, tell)
    _show(view, as_json)
    if code := EXIT_CODES[view.state]:
        raise typer.Exit(code)


def _show(view: PipelineView, as_json: bool) -> None:
    if as_json:
        show_json(view)
        return
    console = out()
    console.print(
        facts(
            [
                ("pipeline", view.id),
                ("name", view.name),
                ("state", state_text(view.state)),
                ("message", tr(view.message)),
            ]
        )
    )
    console.print()
    grid = table("step", "what", "state", "rows", "", numbers=("rows",))
    grid.columns[4].no_wrap = False
    for step in view.steps:
        rows = ", ".join(str(output.rows) for output in step.outputs.values())
        note = tr(step.message) or step.task_id or (tr("as before") if step.is_reused else "")
        grid.add_row(step.id, step.method, state_text(step.state), rows, Text(plain(note)))
    show_table(grid, console)


def _overrides(words: list[str]) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for path, value in pairs(words, "--set", "trainer.num_epochs=1").items():
        component, dot, name = path.partition(".")
        if not dot or not name:
            raise InvalidInput(
                f"`{path}` names no component.", field="--set", hint="As in `--set trainer.num_epochs=1`."
            )
        found.setdefault(component, {})[name] = value
    return found


def add_to(app: typer.Typer) -> None:
    """Add the commands to an app."""
    app.command("run")(run)
    app.add_typer(pipelines)
