"""Keeps the parts alive: starts them, restarts what dies, takes over what a killed supervisor left running.

Run with `python -m tunesmith_platform.embedded.supervisor` by `tunesmith up`; one a state folder, held by a lock.
"""

import argparse
import contextlib
import fcntl
import functools
import logging
import os
import select
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from tunesmith.errors import Conflict
from tunesmith.home import Home
from tunesmith_platform.embedded.parts import Part, choose_ports, connection, environment, parts, ray_folder
from tunesmith_platform.embedded.processes import end, same_process, ticks_of
from tunesmith_platform.embedded.record import PartRecord, is_ended, read_record, write_record
from tunesmith_platform.embedded.rotating import rotate
from tunesmith_platform.logs import LogFormat, configure
from tunesmith_platform.loops import Troubles

logger = logging.getLogger("supervisor")

ENDED = 3
"""The exit code in the foreground that says: `tunesmith down` ended it, do not start it again."""
LOOK_SECONDS = 2.0
_IMPATIENT_SECONDS = 0.25
"""How often a part is looked at that is not well yet."""
SICK_SECONDS = 30.0
_MAX_BACKOFF = 30.0
_RAN_WELL_SECONDS = 60.0
"""A part that ran so long before it fell is started again at once; one that falls again sooner waits, ever longer."""


class Keeper:
    """Keeps one part alive."""

    def __init__(self, home: Home, part: Part, record: PartRecord, save: Callable[[], None]) -> None:
        self._home = home
        self.part = part
        self.record = record
        self._save = save
        self._child: subprocess.Popen[bytes] | None = None
        self._sick_since: float | None = None
        self._start_after: float | None = time.monotonic()

    def take_over(self) -> None:
        """Go on with the process that an earlier supervisor started, if it lives.

        One that does not answer right now may only be busy: it gets the same patience as any other, for with Ray
        every training would end.
        """
        if same_process(self.record.pid, self.record.ticks) is None:
            return
        self._start_after = None
        if self.part.is_healthy():
            self._set("healthy", "taken over")
        else:
            self._set("unwell", "taken over; it does not answer yet")
        logger.info("%s: taken over, pid %d", self.part.name, self.record.pid)

    def start(self) -> None:
        """Start the part, after ending whatever an earlier one left."""
        self._end_left()
        self._start()

    def _end_left(self) -> None:
        left = end(self._home, self.part.name)
        if left:
            logger.info("%s: ended %d processes that an earlier start left", self.part.name, left)

    def _start(self) -> None:
        log = self._home.logs / f"{self.part.name}.log"
        rotate(log)
        with log.open("ab") as stream:
            self._child = subprocess.Popen(
                self.part.command,
                env=environment(self._home, self.part),
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
                cwd=self._home.root,
                start_new_session=True,
            )
        self._start_after = None
        self.record.pid = self._child.pid
        self.record.ticks = ticks_of(self._child.pid) or 0
        self.record.started_at = time.time()
        self._sick_since = None
        self._set("starting")
        logger.info("%s: started, pid %d", self.part.name, self._child.pid)

    def look(self) -> None:
        """Look at the part once; restart it when it is gone, or has not answered for long."""
        if self._start_after is not None:
            if time.monotonic() >= self._start_after:
                self._try(self.start)
            return
        if self._is_gone():
            self._fall("it ended")
        elif self.part.is_healthy():
            self._sick_since = None
            self._set("healthy")
        else:
            self._sick()

    def _try(self, start: Callable[[], None]) -> None:
        try:
            start()
        except OSError as error:  # no room for its log, too many processes: it may pass
            self._fall(f"it could not be started: {error}")

    def wait(self, seconds: float, stop: int) -> None:
        """Wait until it is time to look again: so many seconds, or until the part ends.

        Args:
            seconds: At the most.
            stop: A descriptor that can be read once nobody is to wait any more.
        """
        waiting = select.poll()
        waiting.register(stop, select.POLLIN)
        with contextlib.ExitStack() as opened:
            if self._start_after is None and self.record.pid is not None:
                # Also of a process that is no child of ours, but an earlier supervisor's.
                with contextlib.suppress(OSError):  # it is gone, or the kernel knows no such thing
                    process = os.pidfd_open(self.record.pid)
                    opened.callback(os.close, process)
                    waiting.register(process, select.POLLIN)
            elif self._start_after is not None:
                seconds = min(seconds, max(0.0, self._start_after - time.monotonic()))
            waiting.poll(seconds * 1000)

    def _is_gone(self) -> bool:
        if self._child is not None:
            return self._child.poll() is not None
        return same_process(self.record.pid, self.record.ticks) is None

    def _sick(self) -> None:
        moment = time.monotonic()
        self._sick_since = self._sick_since or moment
        patience = self.part.start_seconds if self.record.state == "starting" else SICK_SECONDS
        if self.record.state == "healthy":
            self._set("unwell", "it does not answer")
        if moment - self._sick_since > patience:
            self._fall(f"it did not answer for {patience:.0f} s")

    def _fall(self, why: str) -> None:
        if self._start_after is None and time.time() - self.record.started_at > _RAN_WELL_SECONDS:
            self.record.falls = 0
        pause = min(_MAX_BACKOFF, 2.0 ** min(self.record.falls - 1, 10)) if self.record.falls else 0.0
        self.record.falls += 1
        self.record.restarts += 1
        logger.warning("%s: %s; restarting in %.0f s", self.part.name, why, pause)
        self._set("restarting", why)
        self._end_left()
        self._start_after = time.monotonic() + pause
        if not pause:
            self._try(self._start)

    def _set(self, state: str, message: str = "") -> None:
        if (self.record.state, self.record.message) != (state, message) or state == "starting":
            self.record.state, self.record.message = state, message
            self._save()


class Supervisor:
    """Keeps the platform of one state folder alive until it is told to end."""

    def __init__(
        self,
        home: Home,
        ray_cpus: int | None = None,
        make_parts: Callable[[Home, dict[str, int], int | None], list[Part]] = parts,
    ) -> None:
        self._home = home
        self._make_parts = make_parts
        self._stop = threading.Event()
        self._stopped, self._stop_now = os.pipe()
        """Can be read once everything is to end: what waits for a process cannot wait for an event."""
        self._lock = threading.Lock()
        self._record = read_record(home)
        self._record.ray_cpus = ray_cpus or self._record.ray_cpus
        self._told_unsaved = False

    def run(self) -> None:
        """Start or take over every part, then look after them until SIGTERM; then end them all."""
        signal.signal(signal.SIGTERM, lambda *_: self._leave())
        signal.signal(signal.SIGINT, lambda *_: self._leave())
        self._record.supervisor = PartRecord(
            pid=os.getpid(), ticks=ticks_of(os.getpid()) or 0, started_at=time.time(), state="healthy"
        )
        living = frozenset(
            name for name, part in self._record.parts.items() if same_process(part.pid, part.ticks)
        )
        for name in self._record.parts.keys() - living:
            end(self._home, name)  # what a killed part left may hold its ports
        self._record.ports = choose_ports(self._record.ports, keep=living)
        keepers = []
        for part in self._make_parts(self._home, self._record.ports, self._record.ray_cpus):
            record = self._record.parts.setdefault(part.name, PartRecord())
            record.state, record.message, record.restarts, record.falls = "starting", "", 0, 0
            keepers.append(Keeper(self._home, part, record, self._save))
        self._save()
        self._home.write_connection(connection(self._record.ports))
        threads = [threading.Thread(target=self._keep, args=(keeper,), daemon=True) for keeper in keepers]
        for thread in threads:
            thread.start()
        self._stop.wait()
        for thread in threads:
            thread.join()
        self._end(keepers)

    def _keep(self, keeper: Keeper) -> None:
        troubles = Troubles("supervisor")
        troubles.attempt(f"taking over {keeper.part.name}", keeper.take_over)
        while not self._stop.is_set():
            troubles.attempt(f"looking after {keeper.part.name}", keeper.look)
            seconds = LOOK_SECONDS if keeper.record.state == "healthy" else _IMPATIENT_SECONDS
            if not troubles.attempt(
                f"waiting for {keeper.part.name}", functools.partial(keeper.wait, seconds, self._stopped)
            ):
                self._stop.wait(seconds)

    def _leave(self) -> None:
        if not self._stop.is_set():
            self._stop.set()
            os.write(self._stop_now, b"x")  # read by nobody: it wakes all who wait

    def _end(self, keepers: list[Keeper]) -> None:
        # The API first: nothing new is begun while the rest leaves. Ray next: its jobs still report nowhere.
        order = ("api", "ray", "mlflow")
        for keeper in sorted(
            keepers, key=lambda k: order.index(k.part.name) if k.part.name in order else len(order)
        ):
            end(self._home, keeper.part.name, first=keeper.record.pid)
            keeper.record.pid = None
            keeper.record.state = "stopped"
        self._record.supervisor.state = "stopped"
        self._save()
        logger.info("ended")

    def _save(self) -> None:
        """Remember where things stand. A full disk must not keep us from looking after the parts."""
        with self._lock:
            try:
                write_record(self._home, self._record)
                self._told_unsaved = False
            except OSError as error:
                if not self._told_unsaved:
                    logger.error("%s cannot be written: %s", self._home.parts, error)
                self._told_unsaved = True


@contextlib.contextmanager
def only_one(home: Home, wait: bool = False) -> Iterator[bool]:
    """Hold the state folder's lock; False when another supervisor holds it.

    Args:
        home: The state folder.
        wait: Whether to wait for the other one's end instead.
    """
    with (home.root / "supervisor.lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            yield True
        except BlockingIOError:
            yield False


def _claim(folder: Path) -> None:
    """Make Ray's folder. Its name can be predicted and it lies where all may write: it must not be another's."""
    folder.mkdir(mode=0o700, exist_ok=True)
    facts = folder.lstat()
    if not stat.S_ISDIR(facts.st_mode) or facts.st_uid != os.getuid():
        raise Conflict(f"`{folder}` is not a folder of yours.", hint="Remove it, or set `TUNESMITH_HOME`.")
    folder.chmod(0o700)


def supervise(home: Home, ray_cpus: int | None = None, foreground: bool = False) -> None:
    """Supervise a state folder's platform until told to end; leave at once where another supervisor does.

    Args:
        home: The state folder.
        ray_cpus: CPUs that Ray may use; as before when None.
        foreground: Whether something waits for this process and starts it again: then it waits for another
            supervisor's end and takes over from it, and the API starts none.
    """
    configure(LogFormat(os.environ.get("TUNESMITH_LOG_FORMAT") or LogFormat.TEXT))
    _claim(ray_folder(home))
    with only_one(home, wait=foreground) as mine:
        if not mine:
            logger.info("another supervisor holds %s", home.root)
        elif is_ended(home):
            logger.info("the platform of %s was ended", home.root)
        else:
            make_parts = functools.partial(parts, is_kept=foreground)
            Supervisor(home, ray_cpus, make_parts).run()
    if foreground and is_ended(home):
        sys.exit(ENDED)


def main() -> None:
    """Supervise the state folder's platform."""
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--ray-cpus", type=int)
    arguments.add_argument("--foreground", action="store_true")
    given = arguments.parse_args()
    home = Home()
    home.create()
    supervise(home, given.ray_cpus, given.foreground)


if __name__ == "__main__":
    main()
