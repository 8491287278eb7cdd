"""How another tool's configuration is read: a rule for each of its names.

A name is called otherwise here, changes nothing here, or would change what is trained and is refused with what to do.
Whatever a value turned into is told; what changes nothing is told in one line. Knows no tool and no file.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tunesmith.errors import InvalidInput, Problem
from tunesmith.other_tools.sources import read_sources
from tunesmith.spec.base import Notice

OFF: tuple[Any, ...] = (None, False, "", 0, 0.0, "false", "none", "null", "no")
"""Values that say that something is not asked for; empty lists and mappings do too."""


@dataclass
class Translation:
    """A file while it is read, and what it says in our words."""

    tool: str
    left: dict[str, Any]
    """What nobody has read yet; in the end, what passes as it is."""
    parameters: dict[str, Any] = field(default_factory=dict)
    assumed: dict[str, Any] = field(default_factory=dict)
    """What the tool takes where its file says nothing, where that is not what is taken here."""
    notices: list[Notice] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    harmless: list[str] = field(default_factory=list)

    def take(self, name: str) -> Any:
        """A value, which counts as read; `None` where there is none."""
        return self.left.pop(name, None)

    def put(self, said: str, values: Mapping[str, Any]) -> None:
        """Enter what a name stands for, and tell it."""
        for name, value in values.items():
            if name in self.parameters and not _same(self.parameters[name], value):
                self.refuse(
                    name,
                    f"`{said}` says `{name}={shown(value)}`, and another line says "
                    f"`{name}={shown(self.parameters[name])}`.",
                    "Leave one of them out.",
                )
                return
            self.parameters[name] = value
        if values:
            words = ", ".join(f"`{name}={shown(value)}`" for name, value in values.items())
            self.say(next(iter(values)), f"`{said}` was read as {words}.")

    def say(self, name: str, message: str) -> None:
        """Tell how something was read."""
        self.notices.append(Notice(field=name, message=message))

    def refuse(self, name: str, message: str, hint: str) -> None:
        """Refuse what would not mean the same here."""
        self.problems.append(Problem(field=name, message=message, hint=hint))

    def pass_over(self, name: str) -> None:
        """Note that a name changes nothing here."""
        self.harmless.append(name)


Rule = Callable[[Translation, str, Any], None]
"""Reads one name; its value is given, and is something."""


def as_(ours: str) -> Rule:
    """The same under another name."""

    def read(reading: Translation, name: str, value: Any) -> None:
        reading.put(name, {ours: value})

    return read


def harmless(reading: Translation, name: str, _value: Any) -> None:
    """Says nothing about what is trained."""
    reading.pass_over(name)


def only(values: Iterable[Any], message: str, hint: str) -> Rule:
    """Harmless with these values, and where it is off; refused with any other."""
    allowed = tuple(values)

    def read(reading: Translation, name: str, value: Any) -> None:
        if is_off(value) or any(_same(value, other) for other in allowed):
            reading.pass_over(name)
        else:
            reading.refuse(name, f"`{name}={shown(value)}`: {message}", hint)

    return read


def not_here(what: str, hint: str = "Leave it out, if the training is as good without it.") -> Rule:
    """Refused unless it is off."""
    return only((), f"{what} is not done here.", hint)


def switch(when_true: Mapping[str, Any], when_false: Mapping[str, Any] | None = None) -> Rule:
    """What a switch stands for when it is on, and when it is off."""

    def read(reading: Translation, name: str, value: Any) -> None:
        found = when_true if is_on(value) else (when_false or {})
        reading.put(f"{name}={shown(value)}", found)
        if not found:
            reading.pass_over(name)

    return read


def table(names: str, rule: Rule) -> dict[str, Rule]:
    """The same rule for several names."""
    return dict.fromkeys(names.split(), rule)


def apply(reading: Translation, rules: Mapping[str, Rule]) -> None:
    """Read every name that has a rule."""
    for name in [name for name in reading.left if name in rules]:
        value = reading.take(name)
        if value is not None and value not in ("", [], {}):
            rules[name](reading, name, value)


def enter_sources(reading: Translation, said: str, ours: str, sources: list[dict[str, Any]]) -> None:
    """Enter the data sets that a file lists, as they would be written for `ours`."""
    plain = len(sources) == 1 and set(sources[0]) == {"path"}
    reading.parameters[ours] = sources[0]["path"] if plain else sources
    try:
        words = " + ".join(map(str, read_sources(sources, ours)))
    except InvalidInput as error:
        reading.refuse(ours, error.message, error.hint or "Write a path, a name, or `org/name` of the Hub.")
        return
    reading.say(ours, f"`{said}` was read as `{ours}={words}`.")


def finish(reading: Translation) -> None:
    """Take over what has no rule, and tell what changes nothing."""
    for name, value in reading.left.items():
        reading.parameters.setdefault(name, value)
    reading.left = {}
    if reading.harmless:
        names = ", ".join(f"`{name}`" for name in reading.harmless)
        reading.say(reading.harmless[0], f"Nothing here depends on {names} of {reading.tool}'s file.")
    if reading.assumed:
        words = ", ".join(f"`{name}={shown(value)}`" for name, value in reading.assumed.items())
        reading.say(
            next(iter(reading.assumed)), f"{reading.tool}'s own defaults, which its file leaves out: {words}."
        )


def is_on(value: Any) -> bool:
    """Whether a switch is on, however it is written."""
    return value is True or str(value).lower() in ("true", "1", "yes", "on")


def is_off(value: Any) -> bool:
    """Whether something is not asked for."""
    if isinstance(value, str):
        return value.strip().lower() in OFF
    return value in ([], {}) or (not isinstance(value, list | dict) and value in OFF)


def shown(value: Any) -> str:
    """A value as it is written on a line."""
    if isinstance(value, bool):
        return str(value).lower()
    return ",".join(shown(item) for item in value) if isinstance(value, list) else str(value)


def number(value: Any) -> float:
    """A number, however it is written; what is none counts as too large."""
    try:
        return float(value)
    except (TypeError, ValueError):
        return float("inf")


def listed(value: Any) -> list[Any]:
    """What is written as a list, or with commas."""
    if isinstance(value, str):
        return [part.strip() for part in value.split(",") if part.strip()]
    return list(value) if isinstance(value, list | tuple) else [value]


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, bool) or isinstance(other, bool):
        return str(one).lower() == str(other).lower()
    try:
        return float(one) == float(other)
    except (TypeError, ValueError):
        return str(one).lower() == str(other).lower()
