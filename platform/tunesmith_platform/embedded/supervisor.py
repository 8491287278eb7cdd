"""Keeps the parts alive: starts them, restarts what dies, takes over what a killed supervisor left running.

Run with `python -m tunesmith_platform.embedded.supervisor` by `tunesmith up`; one a state folder, held by a lock.
"""

import contextlib
import fcntl
import logging
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil

from tunesmith.home import Home
from tunesmith_platform.embedded.parts import (
    Part,
    PartRecord,
    choose_ports,
    connection,
    environment,
    parts,
    ray_folder,
    read_record,
)
from tunesmith_platform.embedded.processes import end, same_process

logger = logging.getLogger("supervisor")

LOOK_SECONDS = 2.0
SICK_SECONDS = 30.0
_LOG_BYTES = 20 * 2**20
_LOG_KEPT = 3
_MAX_BACKOFF = 30.0


def rotate(log: Path) -> None:
    """Put a log that has grown large aside, keeping the newest few."""
    if not log.exists() or log.stat().st_size < _LOG_BYTES:
        return
    for number in range(_LOG_KEPT - 1, 0, -1):
        older = log.with_name(f"{log.name}.{number}")
        if older.exists():
            older.replace(log.with_name(f"{log.name}.{number + 1}"))
    log.replace(log.with_name(f"{log.name}.1"))


class Keeper:
    """Keeps one part alive."""

    def __init__(self, home: Home, part: Part, record: PartRecord, save: Callable[[], None]) -> None:
        self._home = home
        self.part = part
        self.record = record
        self._save = save
        self._child: subprocess.Popen[bytes] | None = None
        self._sick_since: float | None = None
        self._start_after = 0.0

    def take_over(self) -> bool:
        """Go on with the process that an earlier supervisor started, if it lives and answers."""
        if self.record.pid is None or same_process(self.record.pid, self.record.created) is None:
            return False
        if not self.part.is_healthy():
            return False
        self._set("healthy", "taken over")
        logger.info("%s: taken over, pid %d", self.part.name, self.record.pid)
        return True

    def start(self) -> None:
        """Start the part, after ending whatever an earlier one left."""
        left = end(self._home, self.part.name)
        if left:
            logger.info("%s: ended %d processes that an earlier start left", self.part.name, left)
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
        self.record.pid = self._child.pid
        with contextlib.suppress(psutil.Error):
            self.record.created = psutil.Process(self._child.pid).create_time()
        self.record.started_at = time.time()
        self._sick_since = None
        self._set("starting")
        logger.info("%s: started, pid %d", self.part.name, self._child.pid)

    def look(self) -> None:
        """Look at the part once; restart it when it is gone, or has not answered for long."""
        if self._start_after:
            if time.monotonic() >= self._start_after:
                self._start_after = 0.0
                self.start()
            return
        if self._is_gone():
            self._fall("it ended")
        elif self.part.is_healthy():
            self._sick_since = None
            self._set("healthy")
        else:
            self._sick()

    def _is_gone(self) -> bool:
        if self._child is not None:
            return self._child.poll() is not None
        assert self.record.pid is not None
        return same_process(self.record.pid, self.record.created) is None

    def _sick(self) -> None:
        moment = time.monotonic()
        self._sick_since = self._sick_since or moment
        patience = self.part.start_seconds if self.record.state == "starting" else SICK_SECONDS
        if self.record.state == "healthy":
            self._set("unwell", "it does not answer")
        if moment - self._sick_since > patience:
            self._fall(f"it did not answer for {patience:.0f} s")

    def _fall(self, why: str) -> None:
        self.record.restarts += 1
        pause = min(_MAX_BACKOFF, 2.0 ** min(self.record.restarts - 1, 10))
        if time.time() - self.record.started_at > 300:
            pause = 1.0  # it had run well
        logger.warning("%s: %s; restarting in %.0f s", self.part.name, why, pause)
        self._set("restarting", why)
        end(self._home, self.part.name)
        self._start_after = time.monotonic() + pause

    def _set(self, state: str, message: str = "") -> None:
        if (self.record.state, self.record.message) != (state, message) or state == "starting":
            self.record.state, self.record.message = state, message
            self._save()


class Supervisor:
    """Keeps the platform of one state folder alive until it is told to end."""

    def __init__(
        self, home: Home, make_parts: Callable[[Home, dict[str, int], int | None], list[Part]] = parts
    ) -> None:
        self._home = home
        self._make_parts = make_parts
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._record = read_record(home)

    def run(self) -> None:
        """Start or take over every part, then look after them until SIGTERM; then end them all."""
        signal.signal(signal.SIGTERM, lambda *_: self._stop.set())
        signal.signal(signal.SIGINT, lambda *_: self._stop.set())
        me = psutil.Process()
        self._record.supervisor = PartRecord(
            pid=me.pid, created=me.create_time(), started_at=time.time(), state="healthy"
        )
        living = frozenset(
            name
            for name, part in self._record.parts.items()
            if part.pid and same_process(part.pid, part.created)
        )
        self._record.ports = choose_ports(self._record.ports, keep=living)
        keepers = []
        for part in self._make_parts(self._home, self._record.ports, self._record.ray_cpus):
            record = self._record.parts.setdefault(part.name, PartRecord())
            record.state, record.message, record.restarts = "starting", "", 0
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
        if not keeper.take_over():
            keeper.start()
        while not self._stop.wait(LOOK_SECONDS if keeper.record.state == "healthy" else 0.25):
            try:
                keeper.look()
            except Exception:
                logger.exception("%s: could not be looked after; trying again", keeper.part.name)

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
        with self._lock:
            part = self._home.parts.with_suffix(".part")
            part.write_text(self._record.model_dump_json(indent=1))
            part.replace(self._home.parts)


@contextlib.contextmanager
def only_one(home: Home) -> Iterator[bool]:
    """Hold the state folder's lock; False when another supervisor holds it."""
    with (home.root / "supervisor.lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield True
        except BlockingIOError:
            yield False


def main() -> None:
    """Supervise the state folder's platform."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    home = Home()
    home.create()
    ray_folder(home).mkdir(mode=0o700, exist_ok=True)
    with only_one(home) as mine:
        if mine:
            Supervisor(home).run()
        else:
            logger.info("another supervisor holds %s", home.root)


if __name__ == "__main__":
    main()
