"""What tasks report, as `tunesmith tasks events|metrics|rows|checkpoints|logs` show it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from tunesmith.cli.arguments import ForceFlag, JsonFlag, TaskArgument, connect
from tunesmith.cli.format import local_time, measured, number, plain, sentence, size
from tunesmith.cli.output import out, say, show_json, show_json_lines, show_table, signs_fit, table
from tunesmith.errors import InvalidInput
from tunesmith.language import tr

if TYPE_CHECKING:
    from tunesmith import views
    from tunesmith.client import Client

_LEVEL_STYLES = {"debug": "dim", "warning": "#d08a00", "error": "#d64545"}


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


def metrics(
    task: TaskArgument,
    name: Annotated[list[str] | None, typer.Option(help="Only this metric; may be given again.")] = None,
    export: Annotated[
        Path | None,
        typer.Option("--export", help="Write every measurement into this file: `.csv` or `.parquet`."),
    ] = None,
    force: ForceFlag = False,
    as_json: JsonFlag = False,
) -> None:
    """Draw a task's curves, and list its measurements; or write all of them into a file."""
    from tunesmith.cli.watching import curve

    with connect() as client:
        view = client.task(task)
        if export is not None:
            file = client.series.export(view.id, export, name, overwrite=force)
            if as_json:
                show_json({"file": str(file)})
            else:
                say(f"All that `{view.name}` measured is in `{file}`.")
            return
        found = client.metrics(view.id, name)
    if as_json:
        show_json(found)
        return
    series = {key: points for key, points in found.series.items() if points}
    if not series:
        wanted = " or ".join(name or ())
        say(
            f"Task `{view.name}` has not measured {wanted} yet."
            if name
            else f"Task `{view.name}` has not measured anything yet."
        )
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
    show_table(shown, console)


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
    shown.columns[4].no_wrap, shown.columns[4].overflow = False, "fold"
    for item in found:
        scores = ", ".join(f"{key} {number(value)}" for key, value in item.metrics.items())
        shown.add_row(
            str(item.step),
            " ".join(
                tr(word)
                for word, holds in (
                    ("best", item.is_best),
                    ("recommended", item.is_recommended),
                    ("pinned", item.is_pinned),
                )
                if holds
            ),
            size(item.bytes),
            str(item.files),
            Text(plain(scores)),
            local_time(item.created_at),
        )
    console = out()
    show_table(shown, console)
    newest = max(found, key=lambda item: item.step)
    console.print(tr(f"newest: {newest.uri}"), soft_wrap=True)


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
    force: ForceFlag = False,
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
            size_saved = client.monitoring.save_log(
                view.id, save, overwrite=force, text=find, level=level, source=source
            )
            if as_json:
                show_json({"file": str(save), "bytes": size_saved})
            else:
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
    from tunesmith import views

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


def add_to(tasks: typer.Typer) -> None:
    """Add the commands to those of tasks."""
    for command in (events, metrics, rows, checkpoints, logs):
        tasks.command()(command)
