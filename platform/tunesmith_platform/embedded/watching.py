"""The API's look at the supervisor: starts it again when it has died, so that each of the two restarts the other.

Knows the record and the lock that keeps supervisors single; knows no part.
"""

import contextlib
import json
import logging
import os
import select
import subprocess
import sys
import time
from collections.abc import Mapping

from tunesmith.home import Home
from tunesmith_platform.embedded.processes import MARK, mark, same_process
from tunesmith_platform.embedded.record import is_ended, read_record
from tunesmith_platform.embedded.rotating import rotate
from tunesmith_platform.hub import Hub
from tunesmith_platform.loops import Loop

INHERITED = "TUNESMITH_SUPERVISOR_ENVIRONMENT"
"""What the API is to start a supervisor with: the variables that it was started with, of which the API needs few. Not
there where something else starts it again: systemd, a container's runtime."""
logger = logging.getLogger(__name__)

_START_SECONDS = 20.0
"""How long a supervisor may take from its start to its record."""


class SupervisorWatch(Loop):
    """Starts the supervisor of a state folder again when it has died; one that was told to end is left alone."""

    idle_seconds = 2.0

    def __init__(self, home: Home, hub: Hub, inherited: Mapping[str, str]) -> None:
        super().__init__(hub)
        self._home = home
        self._inherited = inherited
        self._started_at = float("-inf")

    def tick(self) -> None:
        """One look."""
        record = read_record(self._home).supervisor
        if record.pid is None or record.state == "stopped" or is_ended(self._home):
            return
        if same_process(record.pid, record.ticks) is not None:
            return
        if time.monotonic() - self._started_at < _START_SECONDS:
            return
        self._started_at = time.monotonic()
        logger.warning("the supervisor has died: starting another")
        start_supervisor(self._home, self._inherited)

    def pause(self) -> None:
        """Until the supervisor ends, or it is time to look again."""
        pid = read_record(self._home).supervisor.pid
        with contextlib.ExitStack() as opened:
            waiting = select.poll()
            if pid is not None:
                with contextlib.suppress(OSError):  # it is gone
                    process = os.pidfd_open(pid)
                    opened.callback(os.close, process)
                    waiting.register(process, select.POLLIN)
            waiting.poll(self.idle_seconds * 1000)
        self._stop.wait(self.gather_seconds / 10)  # one that cannot be started must not keep us spinning


def inherited() -> dict[str, str] | None:
    """What a supervisor is to be started with; None where it is not ours to start. Asked once: it leaves nothing."""
    text = os.environ.pop(INHERITED, None)
    return None if text is None else dict(json.loads(text))


def start_supervisor(home: Home, shell: Mapping[str, str], ray_cpus: int | None = None) -> None:
    """Start a supervisor that outlives whoever starts it. It leaves by itself where another one has the folder.

    Args:
        home: The state folder.
        shell: The variables of which it gets those that its parts need.
        ray_cpus: CPUs that Ray may use; as before when None.
    """
    log = home.logs / "supervisor.log"
    rotate(log)
    with log.open("ab") as stream:
        # Through a process that leaves at once: as a child of the API it would be ended with the API's processes.
        subprocess.run(
            [sys.executable, "-c", _DETACH, *supervisor_command(ray_cpus)],
            env=supervisor_environment(home, shell),
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.STDOUT,
            cwd=home.root,
            check=True,
        )


def supervisor_command(ray_cpus: int | None = None) -> list[str]:
    """How a supervisor is started."""
    command = [sys.executable, "-m", "tunesmith_platform.embedded.supervisor"]
    return command if ray_cpus is None else [*command, f"--ray-cpus={ray_cpus}"]


def supervisor_environment(home: Home, shell: Mapping[str, str]) -> dict[str, str]:
    """A supervisor's environment: what its parts may need, and the mark by which its processes are known."""
    from tunesmith_platform.embedded.environment import passed_to_supervisor

    return passed_to_supervisor(shell) | {"TUNESMITH_HOME": str(home.root), MARK: mark(home, "supervisor")}


_DETACH = "import subprocess, sys; subprocess.Popen(sys.argv[1:], start_new_session=True)"
