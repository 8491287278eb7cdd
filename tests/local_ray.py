"""A Ray of the tests' own, without a platform: one for all that run jobs on it. No test itself.

It is a program too, which keeps Ray until nothing more can come from who started it.
"""

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

ENVIRONMENT = {
    "RAY_AUTH_MODE": "disabled",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_TMPDIR": "/tmp",
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",  # as on a platform
    "RAY_worker_niceness": "0",  # behind the tests beside it a worker has next to no time
}
_TRIES = 3
"""Ray gives itself 30 s to start, and a machine may be busy."""


class LocalRay:
    """A Ray that runs.

    Args:
        process: What keeps it.
        address: Where it is.
    """

    def __init__(self, process: subprocess.Popen[str], address: str) -> None:
        self._process = process
        self.environment = ENVIRONMENT | {"RAY_ADDRESS": address}
        """What a job's driver has besides."""

    @contextlib.contextmanager
    def second_node(self) -> Iterator[None]:
        """Another node on this machine, for the block."""
        self._ask("add")
        try:
            yield
        finally:
            self._ask("remove")

    def _ask(self, what: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(what + "\n")
        self._process.stdin.flush()
        assert self._process.stdout is not None
        assert self._process.stdout.readline(), "Ray did not do it"


@contextlib.contextmanager
def local_ray() -> Iterator[LocalRay]:
    """A Ray of one node with two CPUs, started for the block. What a try that failed began with ends with it."""
    plain = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    for _ in range(_TRIES):
        with subprocess.Popen(
            [sys.executable, __file__],
            env=plain | ENVIRONMENT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as process:
            assert process.stdout is not None
            if address := process.stdout.readline().strip():
                yield LocalRay(process, address)
                return
    pytest.fail(f"Ray did not start, {_TRIES} times.")


def _keep() -> None:
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "include_dashboard": False})
    second = []
    print(cluster.address, flush=True)
    for line in sys.stdin:
        if line.strip() == "add":
            second.append(cluster.add_node(num_cpus=1))
        else:
            cluster.remove_node(second.pop())
        print("done", flush=True)
    cluster.shutdown()


if __name__ == "__main__":
    _keep()
