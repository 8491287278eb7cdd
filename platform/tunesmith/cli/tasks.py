"""`tunesmith tasks ...`, and the short forms `tunesmith watch` and `tunesmith stop`."""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from tunesmith import views
from tunesmith.cli import autopsy, verbs
from tunesmith.cli.arguments import JsonFlag, TaskArgument, TaskArguments, connect
from tunesmith.cli.output import (
    facts,
    out,
    progress_words,
    say,
    show_json,
    show_json_lines,
    show_notices,
    signs_fit,
    state_text,
    table,
)
from tunesmith.cli.watching import curve, outcome, watch_task, watched
from tunesmith.cli.watching_many import watch_tasks
from tunesmith.cli.words import age, duration, local_time, measured, number, plain, sentence, size
from tunesmith.client import Client
from tunesmith.errors import InvalidInput, NotFound
from tunesmith.lifecycle import State
from tunesmith.spec.training import TrainSpec

tasks = typer.Typer(name="tasks", help="Look at tasks, stop and delete them.", no_args_is_help=True)
verbs.add_to(tasks)
autopsy.add_to(tasks)
_LIVE = (State.PENDING, State.RUNNING, State.STOPPING)
_LEVEL_STYLES = {"debug": "dim", "warning": "#d08a00", "error": "#d64545"}


@tasks.command("list")
def list_tasks(
    *,
    state: Annotated[list[State] | None, typer.Option(help="Only this state; may be given again.")] = None,
    project: Annotated[str | None, typer.Option(help="Only this project.")] = None,
    name: Annotated[str | None, typer.Option(help="Only names that hold this.")] = None,
    tag: Annotated[str | None, typer.Option(help="Only with this tag.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=500, help="Tasks at the most.")] = 20,
    as_json: JsonFlag = False,
) -> None:
    """List tasks, newest first."""
    with connect() as client:
        page = client.tasks_page(limit, state=state, project=project, name=name, tag=tag)
    if as_json:
        show_json(page.data)
        return
    if not page.data:
        say(
            "No tasks yet. Start one with `tunesmith train`."
            if not (state or project or name or tag)
            else "None."
        )
        return
    console = out()
    console.print(_list(page.data, console.width))
    if page.has_more:
        say(f"There are more; `--limit {min(limit * 2, 500)}` shows them.")


def _list(found: Sequence[views.TaskView], width: int) -> Table:
    """Tasks one a line. Where there is no room, names are cut, never ids or states."""
    shown = table("task", "name", "state", "done", "loss", "age", numbers=("done", "loss", "age"))
    rows = [
        (
            Text(task.id),
            Text(plain(task.name)),
            state_text(task.state),
            Text(f"{task.progress.percent:.0f}%" if task.progress.total_steps else ""),
            Text(number(task.progress.loss) if task.progress.loss is not None else ""),
            Text(age(task.created_at)),
        )
        for task in found
    ]
    taken = sum(2 + max(4, *(row[i].cell_len for row in rows)) for i in (0, 2, 3, 4, 5))
    shown.columns[1].max_width = max(8, width - taken - 2)
    shown.columns[1].overflow = "ellipsis"
    for row in rows:
        shown.add_row(*row)
    return shown


@tasks.command()
def show(task: TaskArgument, as_json: JsonFlag = False) -> None:
    """Show one task: how far it is, why it ended, where its files lie, what to do next."""
    with connect() as client:
        view = client.task(task)
    if as_json:
        show_json(view)
        return
    console = out()
    head = outcome(view) if view.state.is_terminal else _standing(view)
    console.print(facts([*head, *_details(view)]))
    changed = _changed(view)
    if changed:
        console.print()
        console.print(Text("parameters that were chosen", style="bold"))
        console.print(facts((name, _value(value)) for name, value in changed.items()))
    show_notices(view.notices)


def _standing(view: views.TaskView) -> Iterator[tuple[str, str | Text | None]]:
    yield "task", f"{view.name}  {view.id}"
    yield "state", state_text(view.state)
    yield "waits for", str(view.waits_for) if view.waits_for else None
    yield "health", str(view.health) if view.health else None
    yield "message", view.message
    yield "progress", progress_words(view.progress)
    left = view.progress.seconds_left
    yield "time left", duration(left) if left is not None else None
    yield "mlflow", view.mlflow_url


def _details(view: views.TaskView) -> Iterator[tuple[str, str | Text | None]]:
    progress = view.progress
    yield "progress", progress_words(progress) if view.state.is_terminal else None
    yield "loss", number(progress.loss) if progress.loss is not None else None
    yield (
        "speed",
        measured("tokens_per_second", progress.tokens_per_second) if progress.tokens_per_second else None,
    )
    yield "project", view.project
    yield "tags", ", ".join(view.tags)
    yield "notes", view.notes
    yield "priority", str(view.priority) if view.priority else None
    yield "template", view.template
    at = f", checkpoint-{view.parent_step}" if view.parent_step is not None else ""
    yield "made from", f"{view.parent_id}{at}" if view.parent_id else None
    yield "attempt", str(view.attempt) if view.attempt > 1 else None
    yield "created", local_time(view.created_at)
    yield "started", local_time(view.started_at) if view.started_at else None
    yield "ended", local_time(view.ended_at) if view.ended_at else None
    yield "files", view.artifact_uri


def _changed(view: views.TaskView) -> dict[str, object]:
    """The parameters that differ from their defaults."""
    return {
        name: value
        for name, value in view.spec.items()
        if name not in TrainSpec.model_fields
        or value != TrainSpec.model_fields[name].get_default(call_default_factory=True)
    }


def _value(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


@tasks.command()
def stop(
    task: TaskArguments,
    wait: Annotated[bool, typer.Option("--wait", help="Return only when it has stopped.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Stop tasks. A running one saves a checkpoint first."""
    stopped = []
    with connect() as client:
        for name in task:
            before = client.task(name)
            view = client.stop_task(before.id)
            if wait:
                view = client.wait(view.id)
            stopped.append(view)
            over = " It had ended before." if before.state.is_terminal else ""
            say(f"Task `{view.name}` is {view.state}.{over}")
    if as_json:
        show_json(stopped)


@tasks.command()
def delete(
    task: TaskArguments,
    files: Annotated[bool, typer.Option("--files", help="Its checkpoints and final model too.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Delete tasks that are over. The base model is never touched."""
    with connect() as client:
        found = [client.task(name) for name in task]
        if not yes:
            if not sys.stdin.isatty():
                raise typer.BadParameter("nobody is here to be asked; give `--yes`.", param_hint="--yes")
            what = "and its files " if files else ""
            names = ", ".join(f"`{plain(view.name)}`" for view in found)
            if not typer.confirm(f"Delete {names} {what}for good?", err=True):
                raise typer.Exit(1)
        for view in found:
            client.delete_task(view.id, files=files)
            say(f"Task `{view.name}` is deleted.")


@tasks.command()
def events(
    task: TaskArgument,
    kind: Annotated[list[str] | None, typer.Option(help="Only this kind; may be given again.")] = None,
    after: Annotated[int, typer.Option(min=0, help="Only events after this number.")] = 0,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the task has ended.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object a line.")] = False,
) -> None:
    """Show a task's event log, oldest first."""
    with connect() as client:
        found = _events(client, client.task(task).id, after, kind, follow)
        if as_json:
            show_json_lines(found)
            return
        console = out()
        for event in found:
            head = Text(f"{event.n:>5}  {local_time(event.time)}  ", style="dim")
            console.print(head + Text(f"{event.payload.kind:<16}  {sentence(event.payload)}"), soft_wrap=True)


def _events(
    client: Client, task_id: str, after: int, kinds: list[str] | None, follow: bool
) -> Iterator[views.EventView]:
    last = after
    if not follow:
        yield from client.events(task_id, after, kinds)
        return
    for event in client.stream(task_id, last):
        if not kinds or event.payload.kind in kinds:
            yield event


@tasks.command()
def metrics(
    task: TaskArgument,
    name: Annotated[list[str] | None, typer.Option(help="Only this metric; may be given again.")] = None,
    export: Annotated[
        Path | None,
        typer.Option("--export", help="Write every measurement into this file: `.csv` or `.parquet`."),
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Draw a task's curves, and list its measurements; or write all of them into a file."""
    with connect() as client:
        view = client.task(task)
        if export is not None:
            say(f"All that `{view.name}` measured is in `{client.series.export(view.id, export, name)}`.")
            return
        found = client.metrics(view.id, name)
    if as_json:
        show_json(found)
        return
    series = {key: points for key, points in found.series.items() if points}
    if not series:
        say(f"Task `{view.name}` has not measured {' or '.join(name) if name else 'anything'} yet.")
        return
    console = out()
    for key in name or [key for key in ("loss", "eval_loss") if key in series]:
        if key in series:
            console.print(curve(found, key, width=min(console.width, 100), ascii_only=not signs_fit(console)))
    columns = ("last", "lowest", "highest", "points")
    shown = table("metric", *columns, numbers=columns)
    for key, points in series.items():
        values = [point.value for point in points]
        bare = size if key == "memory_bytes" else number  # the unit stands behind the last value
        low, high = bare(min(values)), bare(max(values))
        shown.add_row(Text(plain(key)), measured(key, values[-1]), low, high, str(len(values)))
    console.print(shown)


@tasks.command()
def rows(
    task: TaskArgument,
    step: Annotated[int, typer.Option("--step", min=1, help="The optimizer step.")],
    as_json: JsonFlag = False,
) -> None:
    """Which rows of the training file a step took: what was trained when the loss jumped."""
    with connect() as client:
        found = client.rows_of_step(client.task(task).id, step)
    if as_json:
        show_json(found)
        return
    out().print(" ".join(map(str, found.rows)), soft_wrap=True, highlight=False)
    say(f"Step {step} (epoch {found.epoch + 1}) takes {len(found.rows)} rows of `{found.file}`.")


@tasks.command()
def checkpoints(task: TaskArgument, as_json: JsonFlag = False) -> None:
    """List a task's checkpoints that are complete and verified."""
    with connect() as client:
        view = client.task(task)
        found = client.checkpoints(view.id)
    if as_json:
        show_json(found)
        return
    if not found:
        say(f"Task `{view.name}` has no checkpoint yet.")
        return
    shown = table("step", "", "size", "files", "metrics", "saved", numbers=("step", "size", "files"))
    shown.columns[4].no_wrap = False
    for item in found:
        scores = ", ".join(f"{key} {number(value)}" for key, value in item.metrics.items())
        shown.add_row(
            str(item.step),
            " ".join(word for word, holds in (("best", item.is_best), ("pinned", item.is_pinned)) if holds),
            size(item.bytes),
            str(item.files),
            Text(plain(scores)),
            local_time(item.created_at),
        )
    console = out()
    console.print(shown)
    newest = max(found, key=lambda item: item.step)
    console.print(f"newest: {newest.uri}", soft_wrap=True)


@tasks.command()
def logs(
    task: TaskArgument,
    *,
    tail: Annotated[int, typer.Option(min=1, max=5000, help="The last so many lines.")] = 200,
    level: Annotated[list[str] | None, typer.Option(help="Only this level; may be given again.")] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the task has ended.")] = False,
    find: Annotated[
        str | None, typer.Option(help="Only lines that hold this, from the whole log.", metavar="TEXT")
    ] = None,
    source: Annotated[
        list[str] | None,
        typer.Option(help="Only this speaker (worker-0, driver), from the whole log; may be given again."),
    ] = None,
    save: Annotated[
        Path | None, typer.Option(help="Write the whole log, or what is found, to this file.", dir_okay=False)
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object a line.")] = False,
) -> None:
    """Show a task's log: its last lines, or what is found in all of it."""
    if follow and (find or source or save):
        raise InvalidInput(
            "`--follow` shows what is to come; `--find`, `--source` and `--save` read what is there."
        )
    console = out()
    with connect() as client:
        view = client.task(task)
        if save is not None:
            size_saved = client.monitoring.save_log(view.id, save, text=find, level=level, source=source)
            say(f"`{save}` holds {size(size_saved)}.")
            return
        wanted = (
            client.monitoring.search_logs(view.id, text=find, level=level, source=source)
            if find or source
            else _log_lines(client, view, tail, level, follow)
        )
        for line in wanted:
            if as_json:
                show_json_lines([line])
                continue
            head = Text(f"{line.time.astimezone():%H:%M:%S} {line.level:<7} {line.source}  ", style="dim")
            style = _LEVEL_STYLES.get(line.level, "")
            console.print(head + Text(plain(line.message), style=style), soft_wrap=True)


def _log_lines(
    client: Client, view: views.TaskView, tail: int, level: list[str] | None, follow: bool
) -> Iterator[views.LogView]:
    lines = client.logs(view.id, tail, level)
    yield from lines
    if not follow:
        return
    for event in client.stream(view.id, lines[-1].n if lines else 0):
        if event.payload.kind == "log" and (not level or event.payload.level in level):
            payload = event.payload
            yield views.LogView(
                n=event.n,
                time=event.time,
                level=payload.level,
                source=payload.source,
                message=payload.message,
            )


@tasks.command()
def update(
    task: TaskArgument,
    *,
    name: Annotated[str | None, typer.Option(help="Its new name.")] = None,
    notes: Annotated[str | None, typer.Option(help="Its new notes.")] = None,
    tag: Annotated[list[str] | None, typer.Option(help="Its tags from now on; may be given again.")] = None,
    priority: Annotated[int | None, typer.Option(help="Higher starts first.")] = None,
    as_json: JsonFlag = False,
) -> None:
    """Change a task's name, notes or tags, and its priority while it waits. Its parameters are frozen."""
    if name is None and notes is None and tag is None and priority is None:
        raise InvalidInput("Nothing to change.", hint="Give `--name`, `--notes`, `--tag` or `--priority`.")
    with connect() as client:
        view = client.update_task(client.task(task).id, name=name, notes=notes, tags=tag, priority=priority)
    if as_json:
        show_json(view)
    else:
        say(f"Task `{view.name}` is changed.")


def watch(
    task: Annotated[
        str | None,
        typer.Argument(metavar="[TASK]", help="Its id or unique name; all live tasks if not given."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print each event as a line of JSON.")] = False,
) -> None:
    """Follow a task until it has ended, or all live ones. Ctrl-C leaves them running.

    Without a name: several live tasks are shown together; a single one, or the newest where none is live, is followed.
    Exits with 0 when the task completed, 1 when it failed, 3 when it was stopped.
    """
    with connect() as client:
        if task is None:
            live = client.tasks_page(2, state=_LIVE).data
            if len(live) > 1:
                _watch_all(client, as_json)
                return
            view = live[0] if live else _newest(client)
        else:
            view = client.task(task)

        def follow() -> State:
            if not as_json:
                return watch_task(client, view.id, out()).state
            show_json_lines(client.stream(view.id))
            return client.task(view.id).state

        raise typer.Exit(watched(follow, view.id))


def _watch_all(client: Client, as_json: bool) -> None:
    try:
        if as_json:
            show_json_lines(client.monitoring.tasks())
        else:
            watch_tasks(client.monitoring.tasks(), out())
    except KeyboardInterrupt:
        say("Detached: the tasks go on.")
        raise typer.Exit(130) from None


def _newest(client: Client) -> views.TaskView:
    found = client.tasks_page(1).data
    if not found:
        raise NotFound("There are no tasks yet.", hint="Start one with `tunesmith train`.")
    return found[0]


def add_to(app: typer.Typer) -> None:
    """Add the commands to an app."""
    app.add_typer(tasks)
    app.command("watch")(watch)
    app.command("stop")(stop)
