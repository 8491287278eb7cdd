"""Variables in a pipeline's YAML: `${input.x | default}`, `${input.x as number | 1.0}`, `${jobs.id.output}`.

A value that is one variable and nothing else keeps its type; inside a text it is written out. Pure functions over plain
data; knows nothing of components, of files, or of what the environment holds.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from tunesmith.errors import InvalidInput
from tunesmith.spec.problems import did_you_mean

_VARIABLE = re.compile(r"\$\{([^{}]*)\}")
_REFERENCE = re.compile(
    r"\s*(?P<path>[A-Za-z_][\w-]*(?:\.[\w-]+)*)\s*(?:\bas\s+(?P<type>[\w-]+)\s*)?(?:\|(?P<default>.*))?",
    re.DOTALL,
)
SOURCES = ("input", "jobs", "output", "env")
_TYPES = ("text", "string", "number", "integer", "boolean", "json")
_MISSING = object()


class Variable(NamedTuple):
    """One `${...}`."""

    text: str
    source: str
    path: tuple[str, ...]
    type: str | None
    default: str | None


Scope = Mapping[str, Any]
"""What variables are read from: `input`, `jobs`, `output`. A source that is not in it stays as it stands."""


def variables_in(value: Any) -> Iterator[Variable]:
    """Every variable in a value, however deep.

    Raises:
        InvalidInput: One of them is not understood.
    """
    if isinstance(value, str):
        for match in _VARIABLE.finditer(value):
            yield _parse(match[0], match[1])
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from variables_in(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from variables_in(inner)


def resolve(value: Any, scope: Scope) -> Any:
    """A value with its variables replaced, as far as the scope has their source.

    Raises:
        InvalidInput: A variable is not understood, names what is not there and has no default, or is of another type.
    """
    if isinstance(value, str):
        return _resolve_text(value, scope)
    if isinstance(value, Mapping):
        return {key: resolve(inner, scope) for key, inner in value.items()}
    if isinstance(value, list):
        return [resolve(inner, scope) for inner in value]
    return value


def _resolve_text(text: str, scope: Scope) -> Any:
    whole = _VARIABLE.fullmatch(text)
    if whole is not None:
        variable = _parse(whole[0], whole[1])
        return value_of(variable, scope) if variable.source in scope else text

    def written(match: re.Match[str]) -> str:
        variable = _parse(match[0], match[1])
        if variable.source not in scope:
            return match[0]
        found = value_of(variable, scope)
        if found is None:
            return ""
        return found if isinstance(found, str) else json.dumps(found, ensure_ascii=False)

    return _VARIABLE.sub(written, text)


def value_of(variable: Variable, scope: Scope) -> Any:
    """What a variable stands for.

    Raises:
        InvalidInput: It is not there and has no default, or is of another type.
    """
    found: Any = scope[variable.source]
    for name in variable.path:
        if isinstance(found, Mapping) and name in found:
            found = found[name]
            continue
        if variable.default is None:
            raise _missing(variable, name, found)
        found = _MISSING
        break
    if found is _MISSING or (found is None and variable.default is not None):
        found = _plain(variable.default or "")
    return found if variable.type is None or found is None else _typed(found, variable)


def _parse(text: str, inside: str) -> Variable:
    match = _REFERENCE.fullmatch(inside)
    if match is None:
        raise InvalidInput(
            f"`{text}` is not understood.",
            hint="Write `${input.name}`, `${input.name as number | 1.0}`, `${jobs.id.output}` or `${env.NAME}`.",
        )
    source, *path = match["path"].split(".")
    if source not in SOURCES:
        meant = did_you_mean(source, SOURCES)
        hint = f"Did you mean `{meant}`?" if meant else "A variable begins with `input`, `jobs` or `env`."
        raise InvalidInput(f"`{text}`: there is no `{source}` to read from.", hint=hint)
    if match["type"] is not None and match["type"] not in _TYPES:
        raise InvalidInput(f"`{text}`: `{match['type']}` is no type.", hint=f"Types are {', '.join(_TYPES)}.")
    default = match["default"]
    return Variable(text, source, tuple(path), match["type"], None if default is None else default.strip())


def _missing(variable: Variable, name: str, among: Any) -> InvalidInput:
    known = list(among) if isinstance(among, Mapping) else []
    meant = did_you_mean(name, [str(key) for key in known])
    where = ".".join((variable.source, *variable.path))
    hint = f"Did you mean `{meant}`?" if meant else f"Write a default: `${{{where} | ...}}`."
    if variable.source == "input" and not meant:
        hint = f"Give it (`--input {variable.path[0]}=...`), or write a default: `${{{where} | ...}}`."
    return InvalidInput(f"`{variable.text}`: `{where}` is not given.", hint=hint)


def _plain(default: str) -> Any:
    """A default as YAML would read the commonest of it: null, booleans; everything else is text."""
    return {"": None, "null": None, "true": True, "false": False}.get(default, default)


def _typed(value: Any, variable: Variable) -> Any:
    makers: dict[str, Callable[[Any], Any]] = {
        "text": _text,
        "string": _text,
        "number": _number,
        "integer": _integer,
        "boolean": _boolean,
        "json": lambda given: json.loads(given) if isinstance(given, str) else given,
    }
    try:
        return makers[variable.type or "text"](value)
    except (ValueError, TypeError, OverflowError, RecursionError):
        raise InvalidInput(
            f"`{variable.text}`: `{str(value)[:60]}` is no {variable.type}.", hint="Give another value."
        ) from None


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _number(value: Any) -> int | float:
    if isinstance(value, bool):
        raise ValueError
    if isinstance(value, int | float):
        return value
    try:
        return int(value)
    except ValueError:
        return float(value)


def _integer(value: Any) -> int:
    number = _number(value)
    if number != int(number):
        raise ValueError
    return int(number)


def _boolean(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    words = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
    word = str(value).strip().lower()
    if word not in words:
        raise ValueError
    return words[word]
