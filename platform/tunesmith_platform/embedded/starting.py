"""What `tunesmith up` does: the state folder, the allowed folders, the supervisor, the wait until all is healthy."""

import fcntl
import json
import os
import shutil
import sys
import time
from pathlib import Path
from typing import NoReturn

from tunesmith.cli.output import say, state_word, talk, warn
from tunesmith.client import Client
from tunesmith.errors import InvalidInput, TunesmithError, Unavailable
from tunesmith.home import Home
from tunesmith.language import tr
from tunesmith_platform.embedded.environment import PASS, stays_behind
from tunesmith_platform.embedded.processes import running_supervisor
from tunesmith_platform.embedded.record import read_record
from tunesmith_platform.embedded.watching import supervisor_command, supervisor_environment

_READY_SECONDS = 120.0
_LEAST_FREE_BYTES = 500 * 2**20


def make_home(home: Home) -> None:
    """Make the state folder where it is not there yet.

    Raises:
        Unavailable: It cannot be written, or its disk is full.
    """
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


def allow_folders(home: Home, folders: list[Path]) -> list[str]:
    """Add folders to the allowed roots; all of them.

    Raises:
        InvalidInput: One of them is no folder.
    """
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


def become_supervisor(home: Home, ray_cpus: int | None) -> NoReturn:
    """Go on as the supervisor, in this very process: whoever started it waits for it."""
    command = [*supervisor_command(ray_cpus), "--foreground"]
    os.chdir(home.root)
    sys.stdout.flush()
    os.execve(command[0], command, supervisor_environment(home, os.environ))  # noqa: S606  (our own words)


def tell_what_stays_behind() -> None:
    """Say which variables of this shell a tracker would want, and will not have."""
    for name in stays_behind(os.environ):
        warn(f"`{name}` stays in this shell: `{PASS}='[\"{name}\"]'` passes it to workers.")


def await_ready(home: Home) -> None:
    """Wait until every part is healthy, and say what is waited for.

    Raises:
        Unavailable: A part does not come up; with the last lines of its log.
    """
    started = time.monotonic()
    with talk().status(tr("Starting...")) as spinner:
        while True:
            record = read_record(home)
            parts = record.parts
            alive = running_supervisor(home) is not None
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
    say(f"Ready after {time.monotonic() - started:.0f} s.")


def _tail(file: Path, lines: int = 15) -> str:
    try:
        return "\n".join(file.read_text(errors="replace").splitlines()[-lines:])
    except OSError:
        return "(no log)"


def tell_tasks() -> None:
    """Say which tasks go on; a start is a good moment to hear it."""
    try:
        live = list(Client().tasks(state=["running", "stopping", "pending"]))
    except TunesmithError:
        return
    if live:
        say(f"{len(live)} unfinished tasks are taken up again:")
        for task in live[:10]:
            say(f"  {task.id}  {state_word(task.state)}  {task.name}  {tr(task.message)}")
