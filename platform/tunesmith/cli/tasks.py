"""`tunesmith tasks ...`, and the short forms `tunesmith watch` and `tunesmith stop`."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table
from rich.text import Text

from tunesmith.cli import autopsy, completion, create, derive, reports
from tunesmith.cli.arguments import JsonFlag, TaskArgument, TaskArguments, YesFlag, connect
from tunesmith.cli.format import age, busy_with, duration, local_time, measured, number, plain
from tunesmith.cli.output import (
    ask,
    facts,
    out,
    progress_words,
    say,
    show_json,
    show_json_lines,
    show_notices,
    show_table,
    state_text,
    table,
)
from tunesmith.errors import InvalidInput, NotFound
from tunesmith.language import tr
from tunesmith.lifecycle import State

if TYPE_CHECKING:
    from tunesmith import views
    from tunesmith.client import Client
    from tunesmith.client.tasks import TaskFilter
    from tunesmith.package_views import PackageSummary

tasks = typer.Typer(
    name="tasks",
    help="Look at tasks, stop and delete them. Without a command: list them.",
    invoke_without_command=True,
)
_LINE_SECONDS = 10.0
_LIVE = (State.PENDING, State.RUNNING, State.STOPPING)


@tasks.callback()
def _first(context: typer.Context, as_json: JsonFlag = False) -> None:
    """Without a command: list them."""
    if context.invoked_subcommand is None:
        list_tasks(as_json=as_json)
    elif as_json:
        raise typer.BadParameter(
            f"give it behind the command, as in `tasks {context.invoked_subcommand} --json`."
        )


@tasks.command("list")
def list_tasks(
    *,
    state: Annotated[list[State] | None, typer.Option(help="Only this state; may be given again.")] = None,
    kind: Annotated[str | None, typer.Option(help="Only this kind.")] = None,
    project: Annotated[str | None, typer.Option(help="Only this project.")] = None,
    name: Annotated[str | None, typer.Option(help="Only names that hold this.")] = None,
    tag: Annotated[str | None, typer.Option(help="Only with this tag.")] = None,
    every: Annotated[
        bool,
        typer.Option(
            "--all",
            help="Also what was made by itself: trainings' evaluations of checkpoints, proofs of chats.",
        ),
    ] = False,
    limit: Annotated[int, typer.Option(min=1, max=500, help="Tasks at the most.")] = 20,
    as_json: JsonFlag = False,
) -> None:
    """List tasks, newest first."""
    from tunesmith.spec.own_tasks import OWN_TAGS

    hidden: dict[str, int] = {}
    with connect() as client:
        wanted: TaskFilter = {"state": state, "kind": kind, "project": project, "name": name, "tag": tag}
        is_whole = every or tag is not None  # who names a tag wants what has it
        if not is_whole:
            wanted["without_tag"] = [*OWN_TAGS]
        page = client.tasks_page(limit, **wanted)
        if not is_whole and not as_json:
            oldest = page.data[-1].id if page.has_more else ""
            for own, words in OWN_TAGS.items():
                found: TaskFilter = {**wanted, "tag": own, "without_tag": None}
                count = sum(one.id > oldest for one in client.tasks_page(500, **found).data)
                hidden |= {words: count} if count else {}
    if as_json:
        show_json(page.data)
        return
    if not page.data and not hidden:
        say(
            "No tasks yet. Start one with `tunesmith train`."
            if not (state or kind or project or name or tag)
            else "None."
        )
        return
    show_table(_list(page.data))
    for words, count in hidden.items():
        say(f"{tr(words)}: {count}; `--all` shows them.")
    if page.has_more:
        say(f"There are more; `--limit {min(limit * 2, 500)}` shows them.")


def _list(found: Sequence[views.TaskView]) -> Table:
    """Tasks one a line. Where there is no room, names are folded, never ids or states; nothing is cut."""
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
    shown.columns[1].no_wrap, shown.columns[1].overflow = False, "fold"
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
    from tunesmith.cli.watching import outcome

    console = out()
    head = outcome(view) if view.state.is_terminal else _standing(view)
    console.print(facts([*head, *_details(view)]))
    changed = _changed(view)
    if changed:
        console.print()
        console.print(Text(tr("parameters that were chosen"), style="bold"))
        console.print(facts((name, _value(value)) for name, value in changed.items()))
    show_notices(view.notices)


def _standing(view: views.TaskView) -> Iterator[tuple[str, str | Text | None]]:
    yield "task", f"{view.name}  {view.id}"
    yield "state", state_text(view.state)
    yield "waits for", tr(str(view.waits_for)) if view.waits_for else None
    yield "place in the queue", str(view.queue_place) if view.queue_place else None
    yield "health", tr(str(view.health)) if view.health else None
    yield "message", tr(view.message)
    yield "busy with", busy_with(view.activity) if view.activity else None
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
    from tunesmith.spec.kinds import kinds

    kind = kinds().get(view.kind)
    known = kind.spec.model_fields if kind else {}
    return {
        name: value
        for name, value in view.spec.items()
        if name not in known or value != known[name].get_default(call_default_factory=True)
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
                view = client.wait(view.id, look=_Busy())
            stopped.append(view)
            say(f"Task `{view.name}` is {view.state}.")
            if view.activity is not None:
                say(busy_with(view.activity))
            elif before.state.is_terminal:
                say("It had ended before.")
    if as_json:
        show_json(stopped)


class _Busy:
    """Says now and then what keeps a task from stopping."""

    def __init__(self) -> None:
        self._said_at = -_LINE_SECONDS
        self._said = ""

    def __call__(self, view: views.TaskView) -> None:
        moment, text = time.monotonic(), busy_with(view.activity) if view.activity else ""
        if text and text != self._said and moment - self._said_at >= _LINE_SECONDS:
            self._said_at, self._said = moment, text
            say(f"Task `{view.name}` is {view.state}. {text}.")


@tasks.command()
def delete(
    task: TaskArguments,
    files: Annotated[bool, typer.Option("--files", help="Its checkpoints and final model too.")] = False,
    yes: YesFlag = False,
    as_json: JsonFlag = False,
) -> None:
    """Delete tasks that are over. The base model is never touched."""
    with connect() as client:
        found = [client.task(name) for name in task]
        if not yes:
            names = ", ".join(f"`{plain(view.name)}`" for view in found)
            if not ask(f"Delete {names} and its files for good?" if files else f"Delete {names} for good?"):
                raise typer.Exit(1)
        for view in found:
            left = [] if as_json else _packages_of(client, view.id)
            client.delete_task(view.id, files=files)
            if not as_json:
                say(f"Task `{view.name}` is deleted.")
            if left:
                names = ", ".join(f"`{plain(one.name)}`" for one in left)
                say(f"Packages of its model stay: {names} ({sum(one.bytes for one in left) / 1e6:.1f} MB).")
    if as_json:
        show_json({"deleted": [view.id for view in found]})


def _packages_of(client: Client, task_id: str) -> list[PackageSummary]:
    """The packages of a task's model whose files are there; none from a server that is older."""
    try:
        return [one for one in client.packages(task_id) if one.removed_at is None]
    except NotFound:
        return []


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
        typer.Argument(
            metavar="[TASK]",
            help="Its id or unique name; all live tasks if not given.",
            autocompletion=completion.tasks,
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print each event as a line of JSON.")] = False,
) -> None:
    """Follow a task until it has ended, or all live ones. Ctrl-C leaves them running.

    Without a name: several live tasks are shown together; a single one, or the newest where none is live, is followed.
    Exits with 0 when the task completed, 1 when it failed, 3 when it was stopped.
    """
    from tunesmith.cli.watching import watch_task, watched

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
    from tunesmith.cli.watching_many import watch_tasks

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


tasks.command("create")(create.create)
for further in (derive, reports, autopsy):
    further.add_to(tasks)


def add_to(app: typer.Typer) -> None:
    """Add the commands to an app."""
    app.add_typer(tasks)
    app.command("watch")(watch)
    app.command("stop")(stop)
