"""What Ray Train does in each worker's process before it trains: SIGTERM becomes the wish to save and stop.

Ray Train trains in a thread, and Python hears signals in the main thread alone; that is the one in which Ray runs what
a backend asks of its workers. Knows Ray Train; imports torch only where its process group is wanted.
"""

from typing import Any

from ray.train.backend import Backend, BackendConfig

from tunesmith_jobs.train.run.interruption import Notices


def _with_sigterm(base: type[Backend]) -> type[Backend]:
    """A backend that in addition has its workers handle SIGTERM."""

    class SigtermBackend(base):  # type: ignore[misc, valid-type]
        def on_training_start(self, worker_group: Any, backend_config: BackendConfig) -> None:
            super().on_training_start(worker_group, backend_config)
            worker_group.execute(Notices.handle_sigterm_for_process)

    return SigtermBackend


def alone() -> BackendConfig:
    """Of a worker that talks to no other."""

    class Alone(BackendConfig):
        @property
        def backend_cls(self) -> type[Backend]:
            return _with_sigterm(Backend)

    return Alone()


def together() -> BackendConfig:
    """Of workers in torch's process group."""
    from ray.train.torch import TorchConfig

    class Together(TorchConfig):  # type: ignore[misc]
        @property
        def backend_cls(self) -> type[Backend]:
            return _with_sigterm(super().backend_cls)

    return Together()
