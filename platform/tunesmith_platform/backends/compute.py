"""What the cluster computes with, as far as the control plane can know it.

Asked of Ray, whose totals name neither a kind of GPU nor a processor; where all of the cluster is this machine, the
machine says the rest. What nobody knows is None and refuses nothing: the job looks again where it runs.
"""

import threading
import time
from dataclasses import dataclass
from urllib.parse import urlsplit

import psutil

from tunesmith.errors import TunesmithError
from tunesmith_platform.backends.protocols import Cluster, Jobs
from tunesmith_platform.hardware import Gpu, Hardware, hardware

_FRESH_SECONDS = 10.0
"""How long an answer holds: what is submitted one after the other costs one question."""
_WAIT_SECONDS = 2.0
"""How long a submit waits for Ray's answer; it goes on without one."""
_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})


@dataclass(frozen=True)
class Compute:
    """What trains.

    Attributes:
        cluster: What Ray says it has in all; None where it has not answered.
        machine: The processors, where all of the cluster is this machine; None where it lies elsewhere.
    """

    cluster: Cluster | None = None
    machine: Hardware | None = None

    @property
    def has_gpu(self) -> bool | None:
        """Whether a job can get a GPU; None where nobody knows."""
        return None if self.cluster is None else self.cluster.gpus >= 1

    @property
    def gpus(self) -> tuple[Gpu, ...]:
        """The GPUs of which more is known than that they are there."""
        return self.machine.gpus if self.machine is not None else ()

    def uses_gpu(self, device: str) -> bool | None:
        """Whether a job for a device (`auto`, `cpu`, `gpu`) computes on a GPU; None where nobody knows."""
        return False if device == "cpu" else self.has_gpu

    def supports_bf16(self, device: str) -> bool | None:
        """Whether what computes for a device knows bf16 (Ampere, AMX, AVX512-BF16); None where nobody can say."""
        on_gpu = self.uses_gpu(device)
        if on_gpu is None or self.machine is None:
            return None
        if not on_gpu:
            return self.machine.cpu_supports_bf16
        return all(gpu.compute_capability >= 8.0 for gpu in self.gpus) if self.gpus else None


def compute_of(cluster: Cluster | None, ray_url: str) -> Compute:
    """What trains, from what Ray has said.

    Args:
        cluster: That; None where it has not answered.
        ray_url: Where Ray is asked, which tells whose machine it is where Ray does not.
    """
    if not _is_here(cluster, ray_url):
        return Compute(cluster)
    here = hardware()
    if cluster is not None and cluster.gpus < 1:  # Ray gives out none of them
        here = here.model_copy(update={"gpus": ()})
    return Compute(cluster, here)


def _is_here(cluster: Cluster | None, ray_url: str) -> bool:
    """Whether Ray's nodes are this machine and no other: a loopback address may well be a tunnel to another one."""
    if cluster is not None and cluster.addresses:
        return cluster.addresses <= _own_addresses()
    return urlsplit(ray_url).hostname in _LOOPBACK and (cluster is None or cluster.nodes <= 1)


def _own_addresses() -> frozenset[str]:
    own = {found.address for of_one in psutil.net_if_addrs().values() for found in of_one}
    return frozenset(own) | _LOOPBACK


class ComputeService:
    """Knows what the cluster computes with, and asks again now and then.

    Ray is asked in a thread of its own, one at a time, so that one that hangs holds up no submit for long.

    Args:
        jobs: Who asks Ray.
        ray_url: Where it is asked.
        wait_seconds: How long somebody who looks waits for an answer.
    """

    def __init__(self, jobs: Jobs, ray_url: str, wait_seconds: float = _WAIT_SECONDS) -> None:
        self._jobs = jobs
        self._ray_url = ray_url
        self._wait_seconds = wait_seconds
        self._lock = threading.Lock()
        self._seen: Compute | None = None
        self._answered = threading.Event()
        self._is_asking = False
        self._asked_at = float("-inf")

    def look(self) -> Compute:
        """What trains now; as it was last seen where Ray does not answer."""
        with self._lock:
            moment = time.monotonic()
            if not self._is_asking and moment - self._asked_at > _FRESH_SECONDS:
                self._is_asking, self._asked_at = True, moment
                self._answered.clear()
                threading.Thread(target=self._ask, name="ask-cluster", daemon=True).start()
            # Whoever comes while a question hangs waits for what is left of the time, and not anew.
            left = self._asked_at + self._wait_seconds - moment
        self._answered.wait(max(0.0, left))
        return self._seen or compute_of(None, self._ray_url)

    def _ask(self) -> None:
        try:
            found = self._jobs.cluster()
            # In its first seconds Ray answers, and names no node (2.60): that says nothing of what it will have.
            if found.nodes:
                self._seen = compute_of(found, self._ray_url)
        except TunesmithError:
            pass  # what was seen before is the best that is known
        finally:
            with self._lock:
                self._is_asking = False
            self._answered.set()
