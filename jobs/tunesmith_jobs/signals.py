"""What Ray Train does in each worker's process before the work begins: it sets up the main thread.

Ray Train works in a thread, and Python hears signals in the main thread alone; that is the one in which Ray runs what a
backend asks of its workers. Knows Ray Train; imports torch only where its process group is wanted.
"""

from collections.abc import Callable
from typing import Any

from ray.train.backend import Backend, BackendConfig


def _preparing(base: type[Backend], prepare: Callable[[], None]) -> type[Backend]:
    """A backend that in addition has its workers prepare their main threads."""

    class PreparingBackend(base):  # type: ignore[misc, valid-type]
        def on_training_start(self, worker_group: Any, backend_config: BackendConfig) -> None:
            super().on_training_start(worker_group, backend_config)
            worker_group.execute(prepare)

    return PreparingBackend


def alone(prepare: Callable[[], None]) -> BackendConfig:
    """Of a worker that talks to no other.

    Args:
        prepare: What is called in its main thread.
    """

    class Alone(BackendConfig):
        @property
        def backend_cls(self) -> type[Backend]:
            return _preparing(Backend, prepare)

    return Alone()


def together(prepare: Callable[[], None]) -> BackendConfig:
    """Of workers in torch's process group.

    Args:
        prepare: What is called in the main thread of each.
    """
    from ray.train.torch import TorchConfig

    class Together(TorchConfig):  # type: ignore[misc]
        @property
        def backend_cls(self) -> type[Backend]:
            return _preparing(super().backend_cls, prepare)

    return Together()
