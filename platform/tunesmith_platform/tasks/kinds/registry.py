"""The installed kinds of task, each with what the platform does with it."""

import pkgutil
from collections.abc import Iterator

from tunesmith.spec.kinds import kind_of, kinds
from tunesmith_platform.tasks.kinds.base import KindBehaviour, Parts


class Kinds:
    """Every installed kind.

    Args:
        parts: What they may work with.
    """

    def __init__(self, parts: Parts) -> None:
        self._made: dict[str, KindBehaviour] = {
            name: pkgutil.resolve_name(kind.behaviour)(kind, parts) for name, kind in kinds().items()
        }

    def of(self, name: str) -> KindBehaviour:
        """A kind by its name.

        Raises:
            InvalidInput: No such kind is installed.
        """
        return self._made[kind_of(name).name]

    def __iter__(self) -> Iterator[KindBehaviour]:
        return iter(self._made.values())
