"""A second node of a platform's Ray on this machine: a raylet of its own, which may be lost. No test itself.

It is a program too, which is the node: `ray start` joins no cluster that listens on loopback alone.
"""

import contextlib
import json
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType

import psutil
from waiting import wait_until

from tunesmith.errors import TunesmithError
from tunesmith.home import Home
from tunesmith_platform.backends.ray_jobs import RayJobs
from tunesmith_platform.embedded.parts import environment, parts
from tunesmith_platform.embedded.processes import MARK
from tunesmith_platform.embedded.record import read_record

HOST = "127.0.0.1"


class SecondNode:
    """A node that has joined.

    Args:
        process: The program below, whose children all that runs there are.
    """

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process

    def processes(self) -> list[psutil.Process]:
        """The node's own, and those of jobs on it."""
        with contextlib.suppress(psutil.NoSuchProcess):
            own = psutil.Process(self._process.pid)
            return [own, *own.children(recursive=True)]
        return []

    def works(self) -> set[str]:
        """What Ray calls those that work for jobs there, as `ray::RayTrainWorker`; not its own agents."""
        found = set()
        for process in self.processes():
            with contextlib.suppress(psutil.Error):
                words = " ".join(process.cmdline()).split()
                if words and words[0].startswith("ray::") and not words[0].endswith(("IDLE", "Agent")):
                    found.add(words[0])
        return found

    def cut_off(self) -> None:
        """Nothing of the cluster reaches the node's workers any more: SIGSTOP to its raylet, and they live on."""
        (raylet,) = (one for one in self.processes() if one.name() == "raylet")
        raylet.suspend()

    def kill(self) -> None:
        """The node is lost: SIGKILL to all that runs there."""
        for process in self.processes():
            with contextlib.suppress(psutil.Error):
                process.kill()
        self._process.wait(20)


def nodes_of(home: Home) -> int:
    """How many nodes Ray counts; 0 while it does not answer."""
    jobs = RayJobs(home.connection().ray_url or "", home.ray_token_file)
    try:
        return jobs.cluster().nodes
    except TunesmithError:
        return 0


@contextlib.contextmanager
def second_node(
    home: Home, log: Path, resources: Mapping[str, float] = MappingProxyType({})
) -> Iterator[SecondNode]:
    """A node of one CPU that joins the platform's Ray with its token; lost with the block at the latest.

    Args:
        home: The platform's state folder.
        log: Where the node writes.
        resources: What it has besides, as `{"far": 1}`: a task that asks for it works there.
    """
    wait_until(lambda: nodes_of(home) == 1, 120, "that Ray has noticed the loss of the one before", every=0.5)
    ports = read_record(home).ports
    given = environment(home, parts(home, ports, 1)[0])
    del given[MARK]  # another machine's: the supervisor sees to its own
    # Not by `HOST`: Ray starts no head where a process of this machine names its address, as a node's that outlived it.
    command = [sys.executable, __file__, f"localhost:{ports['ray_gcs']}", json.dumps(dict(resources))]
    with log.open("ab") as out:
        process = subprocess.Popen(command, env=given, stdout=out, stderr=subprocess.STDOUT)
    node = SecondNode(process)
    try:
        wait_until(lambda: nodes_of(home) == 2, 120, "the second node", every=0.5)
        yield node
    finally:
        node.kill()


def _join(address: str, resources: dict[str, float]) -> None:
    from ray._private.node import Node
    from ray._private.parameter import RayParams

    Node(
        RayParams(
            gcs_address=address,
            node_ip_address=HOST,
            num_cpus=1,
            resources=resources,
            object_store_memory=80_000_000,
            node_manager_port=0,
            include_log_monitor=False,
            dashboard_agent_listen_port=None,
        ),
        head=False,
        shutdown_at_exit=True,
        spawn_reaper=False,
    )
    signal.pause()


if __name__ == "__main__":
    _join(sys.argv[1], json.loads(sys.argv[2]))
