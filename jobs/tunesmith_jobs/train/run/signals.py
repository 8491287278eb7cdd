"""What Ray Train does in each worker's process before it trains: SIGTERM becomes the wish to save and leave.

Ray Train trains in a thread, and Python hears signals in the main thread alone; that is the one in which Ray runs what
a backend asks of its workers. Knows Ray Train; imports torch only where its process group is wanted.
"""

from typing import Any

from ray.train.backend import Backend, BackendConfig

from tunesmith_jobs.train.run.interruption import Notices


def _hearing(base: type[Backend]) -> type[Backend]:
    """A backend that in addition lets its workers hear SIGTERM."""

    class Hearing(base):  # type: ignore[misc, valid-type]
        def on_training_start(self, worker_group: Any, backend_config: BackendConfig) -> None:
            super().on_training_start(worker_group, backend_config)
            worker_group.execute(Notices.hear_for_the_process)

    return Hearing


def alone() -> BackendConfig:
    """Of a worker that talks to no other."""

    class Alone(BackendConfig):
        @property
        def backend_cls(self) -> type[Backend]:
            return _hearing(Backend)

    return Alone()


def together() -> BackendConfig:
    """Of workers in torch's process group."""
    from ray.train.torch import TorchConfig

    class Together(TorchConfig):  # type: ignore[misc]
        @property
        def backend_cls(self) -> type[Backend]:
            return _hearing(super().backend_cls)

    return Together()
