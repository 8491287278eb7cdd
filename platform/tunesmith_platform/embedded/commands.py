"""`tunesmith up | down | status | logs | doctor`: the embedded platform from the command line."""

import fcntl
import json
import os
import shutil
import sys
import time
from collections import deque
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console
from rich.table import Table

from tunesmith.errors import Conflict, InvalidInput, TunesmithError, Unavailable
from tunesmith.home import Home

app = typer.Typer(add_completion=False)
talk = Console(stderr=True)

_READY_SECONDS = 120.0
_MIGRATE_SECONDS = 600.0
"""How long to wait for another process that migrates."""
_COLOURS = {"healthy": "green", "starting": "yellow", "restarting": "red", "unwell": "red", "stopped": "dim"}
_NOTHING_RUNS = 3
_LEAST_FREE_BYTES = 500 * 2**20


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
) -> None:
    """Start the platform on this machine: Ray, MLflow and the API. Again: finds the one that runs."""
    from tunesmith_platform.embedded.record import note_ended, read_record

    home = Home()
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
        talk.print(f"The platform of `{home.root}` is up already (supervisor {found.pid}).")
        if ray_cpus is not None and ray_cpus != read_record(home).ray_cpus:
            talk.print("[yellow]`--ray-cpus` counts at the next start: `tunesmith down`, then `up`.[/yellow]")
    _tell_what_stays_behind()
    _await_ready(home)
    connection = home.connection()
    talk.print(f"API docs  {connection.api_url}/docs")
    talk.print(f"MLflow    {connection.mlflow_url} (`tunesmith mlflow` lets a browser in)")
    talk.print(f"State     {home.root}")
    talk.print(f"Allowed   {', '.join(roots)}", soft_wrap=True)
    _tell_tasks()


@app.command()
def down() -> None:
    """End the platform: exactly what `up` started, and nothing else."""
    import psutil

    from tunesmith_platform.embedded.processes import end, ours
    from tunesmith_platform.embedded.record import note_ended

    home = Home()
    supervisor = _supervisor(home)
    if home.root.is_dir():
        note_ended(home, True)
    if supervisor is not None:
        talk.print("Ending the platform...")
        try:
            supervisor.terminate()
            supervisor.wait(60)
        except psutil.TimeoutExpired:
            talk.print("[yellow]The supervisor takes long; ending everything without it.[/yellow]")
        except psutil.NoSuchProcess:
            pass
    left = end(home)
    if supervisor is None and not left:
        talk.print(f"Nothing runs in `{home.root}`.")
        return
    still = ours(home)
    if still:
        raise Conflict(
            f"{len(still)} processes did not end: {', '.join(str(process.pid) for process in still)}.",
            hint="They wait for a device or a disk; look at them with `ps`.",
        )
    talk.print("Ended.")


@app.command()
def status(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Show the platform's parts and what it counts. Exit code 0: all well; 1: something is not; 3: nothing runs."""
    from tunesmith_platform.embedded.processes import ours

    home = Home()
    supervisor = _supervisor(home)
    facts = _facts(home, supervisor is not None)
    if as_json:
        typer.echo(json.dumps(facts, indent=1))
    else:
        _show_status(facts)
    if supervisor is None and not ours(home):
        raise typer.Exit(_NOTHING_RUNS)
    well = supervisor is not None and all(part["state"] == "healthy" for part in facts["parts"])
    raise typer.Exit(0 if well else 1)


@app.command()
def logs(
    part: Annotated[PartName, typer.Argument(help="Whose log.")],
    lines: Annotated[int, typer.Option("--lines", "-n", min=1, help="Lines from the end.")] = 100,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on as it grows.")] = False,
) -> None:
    """Print a part's log."""
    from tunesmith_platform.embedded.parts import ray_folder

    home = Home()
    file = home.logs / f"{part}.log"
    if not file.exists():
        raise Unavailable(f"`{part}` has no log yet.", hint="Start the platform with `tunesmith up`.")
    if part is PartName.RAY:
        talk.print(f"[dim]Ray's own logs: {ray_folder(home)}/session_latest/logs[/dim]")
    with file.open(errors="replace") as stream:
        typer.echo("".join(deque(stream, maxlen=lines)), nl=False)
        while follow:
            typer.echo(stream.read(), nl=False)
            time.sleep(0.3)


@app.command()
def doctor(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Check this machine and name each cure. Exit code 1 when there is a problem."""
    from tunesmith_platform.embedded.doctor import examine
    from tunesmith_platform.packages import Verdict

    findings = examine(Home())
    if as_json:
        typer.echo(json.dumps([finding.model_dump() for finding in findings], indent=1))
    else:
        marks = {Verdict.OK: "[green]ok     [/green]", Verdict.WARNING: "[yellow]warning[/yellow]"}
        out = Console()
        for finding in findings:
            out.print(f"{marks.get(finding.verdict, '[red]problem[/red]')}  {finding.what}: {finding.found}")
            if finding.cure:
                out.print(f"         [dim]{finding.cure}[/dim]")
    if any(finding.verdict is Verdict.PROBLEM for finding in findings):
        raise typer.Exit(1)


@app.command()
def migrate() -> None:
    """Bring the database's schema up to date. One process at a time; again: finds nothing to do."""
    from tunesmith_platform.db import schema
    from tunesmith_platform.db.engine import Database
    from tunesmith_platform.settings import Settings

    settings = Settings()
    if settings.database_url.startswith("sqlite"):
        _make(Home(settings.home))
    database = Database(settings.database_url)
    try:
        is_done = schema.migrate(database, _MIGRATE_SECONDS)
    finally:
        database.close()
    talk.print(
        f"The schema is {schema.newest()} now." if is_done else f"The schema is {schema.newest()} already."
    )


@app.command()
def controller() -> None:
    """Run the background loops in a process of their own, beside servers with `TUNESMITH_RUN_LOOPS=false`."""
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, "-m", "tunesmith_platform.controller"])  # noqa: S606  (our own words)


def _make(home: Home) -> None:
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
        talk.print(
            f"[yellow]`{name}` stays in this shell: `{PASS}='[\"{name}\"]'` passes it to workers.[/yellow]"
        )


def _await_ready(home: Home) -> None:
    from tunesmith_platform.embedded.record import read_record

    started = time.monotonic()
    with talk.status("Starting...") as spinner:
        while True:
            record = read_record(home)
            parts = record.parts
            alive = _supervisor(home) is not None
            if alive and parts and all(part.state == "healthy" for part in parts.values()):
                break
            waited = time.monotonic() - started
            words = (
                ", ".join(f"{name} {part.state}" for name, part in parts.items())
                if alive
                else "the supervisor"
            )
            spinner.update(f"Starting: {words} ({waited:.0f} s)")
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
    talk.print(f"Ready after {time.monotonic() - started:.0f} s.")


def _tail(file: Path, lines: int = 15) -> str:
    try:
        return "\n".join(file.read_text(errors="replace").splitlines()[-lines:])
    except OSError:
        return "(no log)"


def _tell_tasks() -> None:
    """Say which tasks go on; a start is a good moment to hear it."""
    from tunesmith.client import Client

    try:
        live = list(Client().tasks(state=["running", "stopping", "pending"]))
    except TunesmithError:
        return
    if live:
        talk.print(f"{len(live)} unfinished tasks are taken up again:")
        for task in live[:10]:
            talk.print(f"  {task.id}  {task.state}  {task.name}  {task.message}")


def _facts(home: Home, is_up: bool) -> dict[str, Any]:
    import psutil

    from tunesmith.client import Client
    from tunesmith_platform.embedded.processes import ours
    from tunesmith_platform.embedded.record import read_record

    record = read_record(home)
    addresses: dict[str, str | None] = {}
    if record.ports:
        from tunesmith_platform.embedded.parts import connection

        where = connection(record.ports)
        addresses = {"api": where.api_url, "mlflow": where.mlflow_url, "ray": where.ray_url}
    parts = []
    for name, part in record.parts.items():
        memory = 0
        for process in ours(home, name):
            try:
                memory += process.memory_info().rss
            except psutil.Error:
                continue
        parts.append(
            {
                "name": name,
                "state": part.state if is_up else ("unsupervised" if memory else "stopped"),
                "message": part.message,
                "pid": part.pid,
                "address": addresses.get(name),
                "uptime_seconds": round(time.time() - part.started_at) if part.pid and memory else 0,
                "restarts": part.restarts,
                "memory_bytes": memory,
            }
        )
    facts: dict[str, Any] = {
        "home": str(home.root),
        "supervised": is_up,
        "parts": parts,
        "tasks_by_state": None,
        "warm_runners": 0,
    }
    if is_up:
        try:
            system = Client().system()
            facts |= {"tasks_by_state": system.tasks_by_state, "warm_runners": system.warm_runners}
        except TunesmithError as error:
            facts["message"] = error.message
    return facts


def _show_status(facts: dict[str, Any]) -> None:
    if not facts["parts"]:
        talk.print(f"Nothing was started in `{facts['home']}`. Start it with `tunesmith up`.")
        return
    table = Table(box=None, pad_edge=False)
    for column in ("part", "state", "pid", "up", "restarts", "memory", "address"):
        table.add_column(column, justify="right" if column in ("pid", "up", "restarts", "memory") else "left")
    for part in facts["parts"]:
        colour = _COLOURS.get(part["state"], "red")
        table.add_row(
            part["name"],
            f"[{colour}]{part['state']}[/{colour}]",
            str(part["pid"] or ""),
            f"{part['uptime_seconds'] // 60}m{part['uptime_seconds'] % 60:02}s"
            if part["uptime_seconds"]
            else "",
            str(part["restarts"]),
            f"{part['memory_bytes'] / 2**20:.0f} MiB" if part["memory_bytes"] else "",
            part["address"] or "",
        )
    Console().print(table)
    counts = facts["tasks_by_state"]
    if counts is not None:
        words = ", ".join(f"{number} {state}" for state, number in sorted(counts.items())) or "none yet"
        runners = facts["warm_runners"]
        ready = f"; {runners} warm runner{'s'[: runners - 1]} ready" if runners else ""
        Console().print(f"Tasks: {words}{ready}")
    elif facts["supervised"]:
        talk.print(f"[yellow]The API does not answer: {facts.get('message', '')}[/yellow]")
