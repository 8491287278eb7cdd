"""A model's configuration as it is read here: what it leaves out the library takes, and what is wrong names its field.

Knows `config.json`; knows no architecture.
"""

import math
from collections.abc import Iterable, Mapping
from typing import Any

from tunesmith.errors import NotConvertible
from tunesmith.gguf.problems import cannot
from tunesmith.model_folder.configuration import CONFIG


class Given:
    """A configuration, or a part of it.

    Args:
        config: What it says.
        defaults: What the library takes where it says nothing.
        place: The path of the part, with a dot at its end.
    """

    def __init__(self, config: Mapping[str, Any], defaults: Mapping[str, Any], place: str = "") -> None:
        self._values = {**defaults, **config}  # `null` is said: it takes a default away
        self._said = {name: value for name, value in config.items() if value is not None}
        self.place = place

    def get(self, name: str) -> Any:
        """A field; None where neither the configuration nor the library says it."""
        return self._values.get(name)

    def says(self, name: str) -> bool:
        """Whether the configuration itself says it."""
        return name in self._said

    def part(self, name: str) -> "Given":
        """What a field holds; nothing where it holds no fields."""
        found = self.get(name)
        return Given(found if isinstance(found, Mapping) else {}, {}, f"{self.place}{name}.")

    def names(self) -> Iterable[str]:
        """The fields that the configuration says."""
        return self._said

    def size(self, name: str, default: int | None = None) -> int:
        """A whole number above 0."""
        found = self.get(name)
        found = default if found is None else found
        if not isinstance(found, int) or isinstance(found, bool) or not 0 < found < 2**31:
            raise self.refused(name, "is no whole number above 0")
        return found

    def number(self, name: str, default: float | None = None) -> float:
        """A number above 0."""
        given = self.get(name)
        given = default if given is None else given
        found = float(given) if isinstance(given, int | float) and not isinstance(given, bool) else 0.0
        if not 0 < found < math.inf:
            raise self.refused(name, "is no number above 0")
        return found

    def numbers(self, name: str, count: int) -> tuple[float, ...]:
        """So many numbers above 0."""
        given = self.get(name)
        if not isinstance(given, list) or len(given) != count:
            raise self.refused(name, f"is no list of {count} numbers")
        if not all(isinstance(one, int | float) and 0 < one < math.inf for one in given):
            raise self.refused(name, "holds numbers that are not above 0")
        return tuple(float(one) for one in given)

    def text(self, name: str) -> str:
        """A word; empty where there is none."""
        return str(self.get(name) or "")

    def flag(self, name: str) -> bool:
        """Whether it is set."""
        return self.get(name) is True

    def refused(self, name: str, why: str) -> NotConvertible:
        """The error for a field: see `cannot`."""
        return cannot(self.place + name, why, file=CONFIG)


def listed(names: Iterable[str]) -> str:
    """Names in a sentence."""
    return ", ".join(f"`{name}`" for name in names)
