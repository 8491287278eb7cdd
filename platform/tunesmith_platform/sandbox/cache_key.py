"""A training spec as far as it decides how rows are read: a key for what was read of them."""

from pathlib import Path

from tunesmith.spec.parameter import names_with
from tunesmith.spec.roles import Role
from tunesmith.spec.training import TrainSpec
from tunesmith_platform.file_state import state_of_file

_READING = names_with(TrainSpec, Role.LENGTH, Role.TEXT, Role.ROWS)


class Asked:
    """A spec, told apart from others by what decides how rows are read and encoded, and by nothing else."""

    def __init__(self, spec: TrainSpec) -> None:
        self.spec = spec
        template = Path(spec.chat_template or "")
        self._key = (
            *(getattr(spec, name) for name in _READING),
            state_of_file(template) if template.is_absolute() else None,
        )

    def __hash__(self) -> int:
        return hash(self._key)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Asked) and self._key == other._key
