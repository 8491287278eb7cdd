"""`tunesmith up | down | status | logs | doctor`: the embedded platform from the command line."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import sys
import time
from collections import deque
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

if TYPE_CHECKING:
    from tunesmith.home import Home
    from tunesmith_platform.packages import Finding

app = typer.Typer(add_completion=False)

_READY_SECONDS = 120.0
_MIGRATE_SECONDS = 600.0
"""How long to wait for another process that migrates."""
_VERDICTS = {"ok": "green", "warning": "yellow", "problem": "red"}
_NOTHING_RUNS = 3
_JSON = typer.Option("--json", help="Print JSON instead of text.")
_JsonFlag = Annotated[bool, _JSON]
_LEAST_FREE_BYTES = 500 * 2**20


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
    from tunesmith_platform.embedded.opening import open_studio
    from tunesmith_platform.embedded.record import note_ended, read_record

    home = _home()
    _make(home)
    if spare_cpus is not None:
        os.environ["TUNESMITH_SPARE_CPUS"] = f"{spare_cpus:g}"  # a setting of the API, which inherits it
    roots = _allow(home, allow or [Path.cwd()])
    note_ended(home, False)
    if foreground:
        _become_supervisor(home, ray_cpus)
    found = _supervisor(home)
    if found is None:
        _start_supervisor(home, ray_cpus)
    else:
        _say(f"The platform of `{home.root}` is up already (supervisor {found.pid}).")
        if ray_cpus is not None and ray_cpus != read_record(home).ray_cpus:
            _warn("`--ray-cpus` counts at the next start: `tunesmith down`, then `up`.")
    _tell_what_stays_behind()
    _await_ready(home)
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
        _tell_tasks()


@app.command()
def down(as_json: _JsonFlag = False) -> None:
    """End the platform: exactly what `up` started, and nothing else."""
    import psutil

    from tunesmith_platform.embedded.processes import end, ours
    from tunesmith_platform.embedded.record import note_ended

    home = _home()
    supervisor = _supervisor(home)
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
    from tunesmith_platform.embedded.processes import ours
    from tunesmith_platform.embedded.status import facts_of, show

    home = _home()
    supervisor = _supervisor(home)
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

        _make(Home(settings.home))
    database = Database(settings.database_url)
    try:
        schema.require_place(database, is_made=True)
        is_done = schema.migrate(database, _MIGRATE_SECONDS)
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


def _make(home: Home) -> None:
    from tunesmith.errors import Unavailable

    try:
        home.create()
    except OSError as error:
        raise Unavailable(
            f"The state folder `{home.root}` cannot be written: {error.strerror}.",
            hint="Free space on its disk, or set `TUNESMITH_HOME` to another folder.",
        ) from error
    free = shutil.disk_usage(home.root).free
    if free < _LEAST_FREE_BYTES:
        raise Unavailable(
            f"Only {free / 2**20:.0f} MiB are free for the state folder `{home.root}`.",
            hint="Free space on its disk, or set `TUNESMITH_HOME` to another folder.",
        )


def _allow(home: Home, folders: list[Path]) -> list[str]:
    """Add folders to the allowed roots; all of them."""
    from tunesmith.errors import InvalidInput

    for folder in folders:
        if not folder.is_dir():
            raise InvalidInput(f"There is no folder `{folder}` to allow.", hint="Make it first.")
    with home.allowed_roots_file.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two `up` at once must not lose each other's folders
        try:
            roots = [str(root) for root in json.loads(home.allowed_roots_file.read_text())]
        except (OSError, ValueError):
            roots = []
        roots += [str(folder.absolute()) for folder in folders if str(folder.absolute()) not in roots]
        part = home.allowed_roots_file.with_suffix(".part")
        part.write_text(json.dumps(roots))
        part.replace(home.allowed_roots_file)
    return roots


def _supervisor(home: Home) -> Any:
    from tunesmith_platform.embedded.processes import same_process
    from tunesmith_platform.embedded.record import read_record

    record = read_record(home).supervisor
    return same_process(record.pid, record.ticks)


def _start_supervisor(home: Home, ray_cpus: int | None) -> None:
    from tunesmith_platform.embedded.watching import start_supervisor

    start_supervisor(home, os.environ, ray_cpus)


def _become_supervisor(home: Home, ray_cpus: int | None) -> NoReturn:
    """Go on as the supervisor, in this very process: whoever started it waits for it."""
    from tunesmith_platform.embedded.watching import supervisor_command, supervisor_environment

    command = [*supervisor_command(ray_cpus), "--foreground"]
    os.chdir(home.root)
    sys.stdout.flush()
    os.execve(command[0], command, supervisor_environment(home, os.environ))  # noqa: S606  (our own words)


def _tell_what_stays_behind() -> None:
    """Say which variables of this shell a tracker would want, and will not have."""
    from tunesmith_platform.embedded.environment import PASS, stays_behind

    for name in stays_behind(os.environ):
        _warn(f"`{name}` stays in this shell: `{PASS}='[\"{name}\"]'` passes it to workers.")


def _await_ready(home: Home) -> None:
    from tunesmith.cli.output import talk
    from tunesmith.errors import Unavailable
    from tunesmith.language import tr
    from tunesmith_platform.embedded.record import read_record

    started = time.monotonic()
    with talk().status(tr("Starting...")) as spinner:
        while True:
            record = read_record(home)
            parts = record.parts
            alive = _supervisor(home) is not None
            if alive and parts and all(part.state == "healthy" for part in parts.values()):
                break
            waited = time.monotonic() - started
            words = (
                ", ".join(f"{name} {tr(part.state)}" for name, part in parts.items())
                if alive
                else tr("the supervisor")
            )
            spinner.update(tr(f"Starting: {words} ({waited:.0f} s)"))
            failing = [
                name for name, part in parts.items() if alive and part.state != "healthy" and part.falls >= 3
            ]
            if failing or waited > _READY_SECONDS or (not alive and waited > 20):
                name = (
                    failing
                    or [name for name, part in parts.items() if part.state != "healthy"]
                    or ["supervisor"]
                )[0]
                name = name if alive else "supervisor"
                raise Unavailable(
                    f"`{name}` does not come up. Its last words:\n{_tail(home.logs / f'{name}.log')}",
                    hint=f"`tunesmith logs {name}` has more; `tunesmith doctor` checks this machine.",
                )
            time.sleep(0.2)
    _say(f"Ready after {time.monotonic() - started:.0f} s.")


def _tail(file: Path, lines: int = 15) -> str:
    try:
        return "\n".join(file.read_text(errors="replace").splitlines()[-lines:])
    except OSError:
        return "(no log)"


def _tell_tasks() -> None:
    """Say which tasks go on; a start is a good moment to hear it."""
    from tunesmith.cli.output import state_word
    from tunesmith.client import Client
    from tunesmith.errors import TunesmithError
    from tunesmith.language import tr

    try:
        live = list(Client().tasks(state=["running", "stopping", "pending"]))
    except TunesmithError:
        return
    if live:
        _say(f"{len(live)} unfinished tasks are taken up again:")
        for task in live[:10]:
            _say(f"  {task.id}  {state_word(task.state)}  {task.name}  {tr(task.message)}")
