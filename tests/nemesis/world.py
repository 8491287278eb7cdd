"""A whole platform to be hurt: started as a user does, on a file system of its own that can be filled.

Knows how to find and hurt each part, and in which phase a task is by what the task itself wrote down (its spool), so
that a dead API hides nothing. Ends only what it started.
"""

import contextlib
import datetime as dt
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import psutil
from nemesis.database import HurtDatabase, Locked
from nemesis.phases import is_in
from nemesis.plan import Cell, Harm, Part, Phase
from real_s3 import S3Server
from short_tasks import find_trainer, write_dialogues
from tiny_model import make_tiny_model
from waiting import wait_until

from tunesmith.client import Client
from tunesmith.errors import TunesmithError
from tunesmith.home import Home
from tunesmith_platform.embedded.processes import ours, same_process
from tunesmith_platform.embedded.record import read_record

_DISK_BYTES = 1600 * 2**20
_HELD_SECONDS = 6.0
"""How long what is suspended, locked or filled stays so."""
_FILL_TRIES = 50
_START_SECONDS = 60.0
_TUNESMITH = Path(sys.executable).parent / "tunesmith"


class NotThere(Exception):
    """The part does not exist at this moment: nothing was hurt."""


class World:
    """One platform.

    Args:
        root: An empty folder; the state folder is a file system of its own below it, where that may be mounted.
        warm: Whether a warm runner waits.
        s3: The server that is the storage; a folder when not given.
        database_url: PostgreSQL's; SQLite's file when not given.
        home: Of a platform that somebody else started, and ends; its disk cannot be filled.
        shell: What the shell that starts the platform has besides.
        model: What its tasks start from; one is made when not given.
    """

    def __init__(
        self,
        root: Path,
        *,
        warm: bool = False,
        s3: S3Server | None = None,
        database_url: str = "",
        home: Home | None = None,
        shell: Mapping[str, str] = MappingProxyType({}),
        model: Path | None = None,
    ) -> None:
        self.root = root
        self._given_model = model
        self.disk = root / "disk"
        self.home = home or Home(self.disk / "home")
        self.is_mounted = False
        self._environment = {
            **os.environ,
            **shell,
            "TUNESMITH_HOME": str(self.home.root),
            "TUNESMITH_WARM_RUNNERS": "1" if warm else "0",
        }
        self.database = HurtDatabase(self.home, database_url)
        if database_url:
            self._environment["TUNESMITH_DATABASE_URL"] = database_url
        self._s3 = s3
        if s3 is not None:
            self._environment |= s3.environment | {"TUNESMITH_STORAGE_URI": f"{s3.uri}/{root.name}"}
        self._read: dict[Path, tuple[int, list[dict[str, Any]]]] = {}
        """Of each spool, what it held when it was read last, and how many bytes that was."""
        self._healers: list[threading.Thread] = []
        self.suspended: list[tuple[dt.datetime, dt.datetime]] = []
        """When workers were held still as a harm, from and to."""
        self._held: psutil.Process | None = None
        """The worker that trains, from the moment that its phase was seen until it is hurt."""

    @contextlib.contextmanager
    def up(self) -> Iterator["World"]:
        """The platform, until the end of the block."""
        self.disk.mkdir(parents=True)
        size = f"size={_DISK_BYTES}"
        mounted = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", size, "tmpfs", self.disk], capture_output=True, check=False
        )
        self.is_mounted = mounted.returncode == 0
        self.prepare()
        try:
            self.start()
            yield self
        finally:
            subprocess.run([_TUNESMITH, "down"], env=self._environment, check=False, timeout=120)
            if self.is_mounted:
                subprocess.run(["umount", "-l", self.disk], check=False)

    def prepare(self) -> None:
        """Make what its tasks are given."""
        self.model = self._given_model or make_tiny_model(self.root / "model")
        self.rows = write_dialogues(self.root / "rows.jsonl")
        self.eval_rows = write_dialogues(self.root / "eval.jsonl", count=12)

    def start(self) -> None:
        """`tunesmith up`, as a user does who finds it dead."""
        command = [_TUNESMITH, "up", "--allow", str(self.root)]
        done = subprocess.run(
            command, env=self._environment, capture_output=True, text=True, timeout=180, check=False
        )
        if done.returncode:
            raise RuntimeError(f"`tunesmith up` failed: {done.stdout[-2000:]}{done.stderr[-2000:]}")

    def client(self, *, patience: float = 120, retry_seconds: float = 60) -> Client:
        """A client that goes on over restarts."""
        where = self.home.connection().api_url
        key = self.home.api_key_file.read_text().strip()
        return Client(url=where, api_key=key, patience=patience, retry_seconds=retry_seconds)

    # --- where a task is

    def spools(self, task_id: str) -> dict[int, list[dict[str, Any]]]:
        """What each attempt's job wrote down, by attempt."""
        found = {}
        for file in sorted((self.home.work / task_id).glob("spool-*.jsonl")):
            size = file.stat().st_size
            if self._read.get(file, (-1, []))[0] != size:  # this is asked a hundred times a second
                self._read[file] = (size, _events_of(file))
            found[int(file.stem.removeprefix("spool-"))] = self._read[file][1]
        return found

    def wait_phase(
        self, task_id: str, phase: Phase, after: int = 0, *, must_live: bool = False, seconds: float = 240
    ) -> None:
        """Wait until a task's job is in a phase, by its spool; the worker that trains is held still from then on.

        It is held until `let_go`, as a phase may be over sooner than the part that is to be hurt is found.

        Args:
            task_id: Whose.
            phase: Which.
            after: Only attempts after this one count.
            must_live: A job that died within the phase does not count: its spool says the same for ever.
            seconds: How long to wait.

        Raises:
            NotThere: It ended without.
        """
        is_held = phase not in (Phase.QUEUED, Phase.STARTING, Phase.ENDED)
        worker: psutil.Process | None = None
        begun = time.monotonic()
        while True:
            if is_held and not (worker and _lives(worker)):
                worker = find_trainer(task_id)
            if is_in(phase, self.spools(task_id), after) and (worker or not is_held or not must_live):
                break
            if phase is not Phase.ENDED and is_in(Phase.ENDED, self.spools(task_id), after):
                raise NotThere(f"it ended before `{phase}` was seen")
            if time.monotonic() - begun > seconds:
                raise TimeoutError(f"`{phase}` was not seen within {seconds:.0f} s")
            time.sleep(0.002)
        if worker:
            self._held = worker
            with contextlib.suppress(psutil.Error):
                worker.suspend()

    def let_go(self) -> None:
        """Let the worker go on that `wait_phase` held."""
        if self._held:
            with contextlib.suppress(psutil.Error):
                self._held.resume()
        self._held = None

    # --- harm

    def hurt(self, cell: Cell, task_id: str, delay: float = 0.0) -> None:
        """Do it; what was suspended, locked or filled heals by itself a moment later.

        Args:
            cell: What, to whom.
            task_id: Whose driver and worker are meant.
            delay: Seconds for which a worker that `wait_phase` held goes on before.

        Raises:
            NotThere: There is no such part right now.
        """
        found = self._processes(cell.part, task_id) if cell.harm in (Harm.KILL, Harm.SUSPEND) else []
        self.let_go()
        time.sleep(delay)
        match cell.harm:
            case Harm.KILL:
                for process in found:
                    with contextlib.suppress(psutil.Error):
                        process.kill()
            case Harm.SUSPEND:
                self._suspend(found, self.suspended if cell.part is Part.WORKER else [])
            case Harm.LOCK:
                self._lock()
            case Harm.FILL:
                self._fill()

    def hurt_starting(self, cell: Cell, task_id: str) -> None:
        """Hurt a part that a start may only be about to make, as soon as it is there.

        Raises:
            NotThere: Training began without it.
        """
        begun = time.monotonic()
        while True:
            try:
                return self.hurt(cell, task_id)
            except NotThere:
                spools = self.spools(task_id)
                newest = spools[max(spools)] if spools else []
                has_begun = any(event["payload"]["kind"] == "training_started" for event in newest)
                if has_begun or time.monotonic() - begun > _START_SECONDS:
                    raise
                time.sleep(0.02)

    def heal(self) -> None:
        """Wait until nothing is held any more."""
        for healer in self._healers:
            healer.join()
        self._healers.clear()

    def _later(self, name: str, heal: Any) -> None:
        def run() -> None:
            time.sleep(_HELD_SECONDS)
            heal()

        healer = threading.Thread(target=run, name=name, daemon=True)
        healer.start()
        self._healers.append(healer)

    def _suspend(self, processes: list[psutil.Process], noted: list[tuple[dt.datetime, dt.datetime]]) -> None:
        begun = dt.datetime.now(dt.UTC)
        for process in processes:
            with contextlib.suppress(psutil.Error):
                process.send_signal(signal.SIGSTOP)

        def go_on() -> None:
            for process in processes:
                with contextlib.suppress(psutil.Error):
                    process.send_signal(signal.SIGCONT)
            noted.append((begun, dt.datetime.now(dt.UTC)))

        self._later("suspended", go_on)

    def _lock(self) -> None:
        try:
            release = self.database.lock()
        except Locked as error:
            raise NotThere(str(error)) from error
        self._later("locked", release)

    def _fill(self) -> None:
        if not self.is_mounted:
            raise NotThere("a file system may not be mounted here")
        for _ in range(_FILL_TRIES):  # what is written meanwhile makes the size one that is refused
            free = os.statvfs(self.disk)
            if self._resize((free.f_blocks - free.f_bfree) * free.f_frsize):
                break
        else:
            raise NotThere("the platform writes faster than its disk can be filled")
        self._later("filled", lambda: self._resize(_DISK_BYTES))

    def _resize(self, size: int) -> bool:
        command = ["mount", "-o", f"remount,size={size}", self.disk]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0

    def _processes(self, part: Part, task_id: str) -> list[psutil.Process]:
        found = self._find(part, task_id)
        if not found:
            raise NotThere(f"no process of `{part}`")
        return found

    def _find(self, part: Part, task_id: str) -> list[psutil.Process]:
        record = read_record(self.home)
        match part:
            case Part.SUPERVISOR:
                process = same_process(record.supervisor.pid, record.supervisor.ticks)
                return [process] if process else []
            case Part.API | Part.MLFLOW:
                known = record.parts.get(part.value)
                process = same_process(known.pid, known.ticks) if known else None
                return [process, *process.children(recursive=True)] if process else []
            case Part.EVERYTHING:
                return ours(self.home)
            case Part.GCS:
                return self._named("gcs_server")
            case Part.RAYLET:
                return self._named("raylet")
            case Part.CONTROLLER:
                return self._named("ray::TrainController")
            case Part.DRIVER:
                return self._drivers(task_id)
            case Part.WORKER:
                trainer = find_trainer(task_id)
                return [trainer] if trainer else []
            case Part.STORAGE:
                return [psutil.Process(self._s3.process.pid)] if self._s3 else []
            case Part.DATABASE | Part.DISK:
                raise AssertionError("they are no processes")

    def _drivers(self, task_id: str) -> list[psutil.Process]:
        """A job on Ray names its task; a warm runner names itself, and the database says which task it was given."""
        given = self.database.runners()
        names = [task_id, *(runner for runner, job in given if job.rpartition("-")[0] == task_id)]
        candidates = (p for p in psutil.process_iter() if "tunesmith_jobs" in _words(p))
        return [p for p in candidates if any(name in _words(p) for name in names)]

    def _named(self, name: str) -> list[psutil.Process]:
        found = []
        for process in ours(self.home, "ray"):
            with contextlib.suppress(psutil.Error):
                title = _words(process)
                if title.startswith(name) or Path(title.split(" ")[0]).name == name:
                    found.append(process)
        return found

    # --- how it is

    def is_well(self) -> bool:
        """Whether every part is healthy and the API answers."""
        record = read_record(self.home)
        if same_process(record.supervisor.pid, record.supervisor.ticks) is None:
            return False
        try:
            self.client(retry_seconds=0).system()
        except TunesmithError:
            return False
        return all(part.state == "healthy" for part in record.parts.values())

    def revive(self) -> None:
        """What a user does who finds everything dead; a single dead part is the platform's own affair."""
        record = read_record(self.home)
        supervisor = same_process(record.supervisor.pid, record.supervisor.ticks)
        api = record.parts.get("api")
        if supervisor is None and (api is None or same_process(api.pid, api.ticks) is None):
            self.start()

    def await_well(self, seconds: float = 90) -> None:
        """Wait until all is well again."""
        wait_until(self.is_well, seconds, "the platform's return", every=0.25)


def _events_of(spool: Path) -> list[dict[str, Any]]:
    events = []
    for line in spool.read_bytes().splitlines():
        with contextlib.suppress(ValueError):  # the last one may be cut off
            events.append(json.loads(line))
    return events


def processes_of(task_id: str) -> list[psutil.Process]:
    """A task's living processes: those that hold its spool open, and those that carry its name."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.status() == psutil.STATUS_ZOMBIE:
                continue
            is_named = task_id in _words(process)
            if is_named or any(
                task_id in file.path and "spool" in file.path for file in process.open_files()
            ):
                found.append(process)
        except psutil.Error:
            continue
    return found


def _lives(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def _words(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""
