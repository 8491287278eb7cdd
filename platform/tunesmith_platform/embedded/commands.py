"""`tunesmith up | down | status | logs | doctor`: the embedded platform from the command line."""

from __future__ import annotations

import json
import os
import sys
import time
from collections import deque
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tunesmith_platform.embedded.admin import admin

if TYPE_CHECKING:
    from tunesmith.home import Home
    from tunesmith_platform.packages import Finding

app = typer.Typer(add_completion=False)
app.add_typer(admin)

_VERDICTS = {"ok": "green", "warning": "yellow", "problem": "red"}
_NOTHING_RUNS = 3
_JSON = typer.Option("--json", help="Print JSON instead of text.")
_JsonFlag = Annotated[bool, _JSON]


def _home() -> Home:
    from tunesmith.home import Home

    return Home()


def _say(message: str) -> None:
    from tunesmith.cli.output import say

    say(message)


def _warn(message: str) -> None:
    from tunesmith.cli.output import warn

    warn(message)


def _show_json(value: Any) -> None:
    from tunesmith.cli.output import show_json

    show_json(value)


class PartName(StrEnum):
    """What has a log."""

    SUPERVISOR = "supervisor"
    RAY = "ray"
    MLFLOW = "mlflow"
    API = "api"


@app.command()
def up(
    allow: Annotated[
        list[Path] | None,
        typer.Option(
            help="A folder that tasks may read from and write to; the current one when none is given."
        ),
    ] = None,
    ray_cpus: Annotated[
        int | None, typer.Option(min=1, help="CPUs that Ray may use; all when not given.")
    ] = None,
    spare_cpus: Annotated[
        float | None,
        typer.Option(
            min=0,
            help="CPUs that a training leaves to tasks that use a model, which then run beside it; 0 when not given.",
        ),
    ] = None,
    foreground: Annotated[
        bool,
        typer.Option(
            "--foreground",
            help="Stay, and look after the platform: for systemd, or a container's first process.",
        ),
    ] = False,
    browser: Annotated[
        bool, typer.Option("--open", help="Sign a browser in to the studio, and open it where there is one.")
    ] = False,
    as_json: _JsonFlag = False,
) -> None:
    """Start the platform on this machine: Ray, MLflow and the API. Again: finds the one that runs."""
    from tunesmith_platform.embedded import watching
    from tunesmith_platform.embedded.opening import open_studio
    from tunesmith_platform.embedded.processes import running_supervisor
    from tunesmith_platform.embedded.record import note_ended, read_record
    from tunesmith_platform.embedded.starting import (
        allow_folders,
        await_ready,
        become_supervisor,
        make_home,
        tell_tasks,
        tell_what_stays_behind,
    )

    home = _home()
    make_home(home)
    if spare_cpus is not None:
        os.environ["TUNESMITH_SPARE_CPUS"] = f"{spare_cpus:g}"  # a setting of the API, which inherits it
    roots = allow_folders(home, allow or [Path.cwd()])
    note_ended(home, False)
    if foreground:
        become_supervisor(home, ray_cpus)
    found = running_supervisor(home)
    if found is None:
        watching.start_supervisor(home, os.environ, ray_cpus)
    else:
        _say(f"The platform of `{home.root}` is up already (supervisor {found.pid}).")
        if ray_cpus is not None and ray_cpus != read_record(home).ray_cpus:
            _warn("`--ray-cpus` counts at the next start: `tunesmith down`, then `up`.")
    tell_what_stays_behind()
    await_ready(home)
    connection = home.connection()
    studio = open_studio(home) if browser else f"{connection.api_url}/studio/"
    if as_json:
        from tunesmith_platform.embedded.status import facts_of

        _show_json(facts_of(home, True) | {"allowed": roots, "studio": studio})
        return
    _say(f"Studio    {studio}")
    if not browser:
        _say("          `tunesmith up --open` signs a browser in.")
    _say(f"API docs  {connection.api_url}/docs")
    _say(f"MLflow    {connection.mlflow_url} (`tunesmith mlflow` lets a browser in)")
    _say(f"State     {home.root}")
    _say(f"Allowed   {', '.join(roots)}")
    if found is None:  # where it is up already, nothing was interrupted
        tell_tasks()


@app.command()
def down(as_json: _JsonFlag = False) -> None:
    """End the platform: exactly what `up` started, and nothing else."""
    import psutil

    from tunesmith_platform.embedded.processes import end, ours, running_supervisor
    from tunesmith_platform.embedded.record import note_ended

    home = _home()
    supervisor = running_supervisor(home)
    if home.root.is_dir():
        note_ended(home, True)
    if supervisor is not None:
        _say("Ending the platform...")
        try:
            supervisor.terminate()
            supervisor.wait(60)
        except psutil.TimeoutExpired:
            _warn("The supervisor takes long; ending everything without it.")
        except psutil.NoSuchProcess:
            pass
    left = end(home)
    if supervisor is None and not left:
        if as_json:
            _show_json({"home": str(home.root), "ended": False})
        else:
            _say(f"Nothing runs in `{home.root}`.")
        return
    still = ours(home)
    if still:
        from tunesmith.errors import Conflict

        raise Conflict(
            f"{len(still)} processes did not end: {', '.join(str(process.pid) for process in still)}.",
            hint="They wait for a device or a disk; look at them with `ps`.",
        )
    if as_json:
        _show_json({"home": str(home.root), "ended": True})
    else:
        _say("Ended.")


@app.command()
def status(as_json: _JsonFlag = False) -> None:
    """Show the platform's parts and what it counts. Exit code 0: all well; 1: something is not; 3: nothing runs."""
    from tunesmith_platform.embedded.processes import ours, running_supervisor
    from tunesmith_platform.embedded.status import facts_of, show

    home = _home()
    supervisor = running_supervisor(home)
    facts = facts_of(home, supervisor is not None)
    if as_json:
        _show_json(facts)
    else:
        show(facts)
    if supervisor is None and not ours(home):
        raise typer.Exit(_NOTHING_RUNS)
    well = supervisor is not None and all(part["state"] == "healthy" for part in facts["parts"])
    raise typer.Exit(0 if well else 1)


def _offered(incomplete: str) -> list[str]:
    from tunesmith.cli.completion import tasks

    return [part for part in PartName if part.startswith(incomplete)] + tasks(incomplete)


@app.command()
def logs(
    what: Annotated[
        str,
        typer.Argument(
            metavar="PART|TASK",
            help="Whose log: a part's (`supervisor`, `ray`, `mlflow`, `api`), or a task's by its id or unique name.",
            autocompletion=_offered,
        ),
    ],
    lines: Annotated[int, typer.Option("--lines", "-n", min=1, help="Lines from the end.")] = 100,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on as it grows.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object a line.")] = False,
) -> None:
    """Print the log of a part of the platform, or of a task.

    `tunesmith tasks logs` finds lines in a task's log, and saves it.
    """
    if what not in list(PartName):
        from tunesmith.cli.reports import logs as logs_of_task

        logs_of_task(what, tail=lines, follow=follow, as_json=as_json)
        return
    from tunesmith.errors import Unavailable
    from tunesmith_platform.embedded.parts import ray_folder

    home = _home()
    file = home.logs / f"{what}.log"
    if not file.exists():
        raise Unavailable(f"`{what}` has no log yet.", hint="Start the platform with `tunesmith up`.")
    if what == PartName.RAY:
        _say(f"Ray's own logs: {ray_folder(home)}/session_latest/logs")

    def show(line: str) -> None:
        typer.echo(json.dumps({"part": what, "line": line}) if as_json else line)

    with file.open(errors="replace") as stream:
        for line in deque(stream, maxlen=lines):
            show(line.rstrip("\n"))
        while follow:
            for line in stream:
                show(line.rstrip("\n"))
            time.sleep(0.3)


@app.command()
def doctor(as_json: _JsonFlag = False) -> None:
    """Check this machine and name each cure. Exit code 1 when there is a problem."""
    from tunesmith_platform.embedded.doctor import examine
    from tunesmith_platform.packages import Verdict

    findings = examine(_home())
    if as_json:
        _show_json(findings)
    else:
        for finding in findings:
            _show_finding(finding)
    if any(finding.verdict is Verdict.PROBLEM for finding in findings):
        raise typer.Exit(1)


def _show_finding(finding: Finding) -> None:
    from rich.text import Text

    from tunesmith.cli.output import out
    from tunesmith.language import tr

    mark = Text(f"{tr(finding.verdict):<7}", style=_VERDICTS[finding.verdict])
    out().print(mark + Text(f"  {tr(finding.what)}: {tr(finding.found)}"), soft_wrap=True)
    if finding.cure:
        out().print(Text(f"         {tr(finding.cure)}", style="dim"), soft_wrap=True)


@app.command()
def migrate(as_json: _JsonFlag = False) -> None:
    """Bring the database's schema up to date. One process at a time; again: finds nothing to do."""
    from tunesmith_platform.db import schema
    from tunesmith_platform.db.engine import Database
    from tunesmith_platform.settings import Settings

    settings = Settings()
    if settings.database_url.startswith("sqlite"):
        from tunesmith.home import Home
        from tunesmith_platform.embedded.starting import make_home

        make_home(Home(settings.home))
    database = Database(settings.database_url)
    try:
        schema.require_place(database, is_made=True)
        is_done = schema.migrate(database, schema.MIGRATE_SECONDS)
    finally:
        database.close()
    if as_json:
        _show_json({"schema": schema.newest(), "migrated": is_done})
    else:
        _say(
            f"The schema is {schema.newest()} now."
            if is_done
            else f"The schema is {schema.newest()} already."
        )


@app.command()
def controller() -> None:
    """Run the background loops in a process of their own, beside servers with `TUNESMITH_RUN_LOOPS=false`."""
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, "-m", "tunesmith_platform.controller"])  # noqa: S606  (our own words)
