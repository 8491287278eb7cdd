"""Paths that a pipeline names, made absolute and looked at: none leads out of the folders that may be used.

Knows which parameters are paths; knows nothing of steps or of the database.
"""

import functools
import hashlib
import json
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from tunesmith.errors import InvalidInput
from tunesmith.rows.files.decompress import bare_name
from tunesmith.spec.base import Spec
from tunesmith.spec.loading import FORMATS
from tunesmith.spec.parameter import about
from tunesmith.spec.pipeline import Step
from tunesmith.spec.variables import variables_in
from tunesmith_platform.paths import allowed_folder, allowed_path
from tunesmith_platform.sandbox.error_fields import at
from tunesmith_platform.settings import Settings

_ENDINGS = tuple(ending for endings in FORMATS.values() for ending in endings)
_DATA = ("train_file", "eval_file", "dataset")
"""The parameters that name a data file, or a data set."""


class StepPaths:
    """Which parameters of a kind's steps are paths, and what may stand there instead of one.

    Args:
        spec: The kind's parameters.
    """

    def __init__(self, spec: type[Spec]) -> None:
        self._spec = spec

    def of(self, step: Step) -> Iterable[str]:
        """The step's parameters that hold paths of this machine."""
        return [
            name
            for name, info in self._spec.model_fields.items()
            if name in step.parameters
            and about(info).path is not None
            and _is_path(name, step.parameters[name])
        ]

    def files_of(self, _step: Step) -> Iterable[str]:
        """The parameters whose files' content tells what the step makes."""
        named = (name for name, info in self._spec.model_fields.items() if about(info).path is not None)
        return {*named, *_DATA, "model_name_or_path"} - {"output_dir"}

    def elsewhere(
        self, _name: str, _given: str, _settings: Settings, _registered: Callable[[str], Path]
    ) -> str | None:
        """Where something lies that is no path of this machine; None where it is one.

        Raises:
            NotFound: There is no data set of this name.
            PathNotAllowed: It may not be read.
        """
        return None

    def check(self, step: Step, found: Mapping[str, Any]) -> None:
        """See that what is named inside of something else stays there.

        Raises:
            InvalidInput: It does not.
        """

    def is_repeatable(self, _step: Step, _parameters: Mapping[str, Any]) -> bool:
        """Whether the step makes the same of the same files tomorrow."""
        return True


def located(
    step: Step,
    paths: StepPaths,
    settings: Settings,
    registered: Callable[[str], Path],
    *,
    folder: str | None = None,
    known: Iterable[str] = (),
) -> dict[str, Any]:
    """A step's parameters with every path absolute and inside the allowed roots.

    Args:
        step: The step.
        paths: What of it are paths.
        settings: Which folders may be used.
        registered: The file of a registered data set.
        folder: What relative paths are relative to.
        known: Values that were looked at before.

    Raises:
        NotFound: There is no data set of a name.
        InvalidInput: A path is relative and no folder is given, or comes from the environment.
        PathNotAllowed: One lies outside.
    """
    found = dict(step.parameters)
    roots = settings.row_roots()
    looked_at = frozenset(known)

    def locate(name: str, given: str) -> str:
        sources = {variable.source for variable in variables_in(given)}
        if "env" in sources:
            raise InvalidInput(
                f"`{given}`: no path is read from the environment.", hint="Write it out.", field=name
            )
        if sources or given in looked_at:
            return given
        with at(name):
            elsewhere = paths.elsewhere(name, given, settings, registered)
            return _located(given, folder, roots) if elsewhere is None else elsewhere

    for name in paths.of(step):
        if name in found:
            found[name] = _each(found[name], functools.partial(locate, name))
    paths.check(step, found)
    return found


def _is_path(name: str, value: Any) -> bool:
    """Whether a trainer's value is a path, where it may be the name of something registered."""
    if not isinstance(value, str) or any(variables_in(value)) or "://" in value:
        return False
    is_data = name in _DATA
    return name == "output_dir" or value.startswith(("./", "../")) or (is_data and not is_name(value))


def is_name(value: str) -> bool:
    """Whether a data set is named as the registry knows it, not by its file."""
    return "/" not in value and not bare_name(Path(value)).endswith(_ENDINGS)


def _located(given: str, folder: str | None, roots: list[Path]) -> str:
    if not Path(given).is_absolute():
        if folder is None:
            raise InvalidInput(
                f"`{given}` is a relative path.",
                hint="Give an absolute path, or `folder` to say what it is relative to.",
            )
        given = os.path.join(folder, given)  # noqa: PTH118  (`realpath` comes next, `..` and all)
    path = allowed_path(given, roots)
    return str(allowed_folder(given, roots) if path.is_dir() else path)


def _each(value: Any, work: Any) -> Any:
    if isinstance(value, str):
        return work(value)
    if isinstance(value, list):
        return [_each(inner, work) for inner in value]
    if isinstance(value, Mapping):
        return {name: _each(inner, work) for name, inner in value.items()}
    return value


def flat(value: Any) -> list[str]:
    """Every text in a value, however deep."""
    if isinstance(value, str):
        return [value]
    inner = value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else []
    return [text for part in inner for text in flat(part)]


def content_key(
    step: Step, paths: StepPaths, parameters: Mapping[str, Any], sums: Mapping[str, str]
) -> str | None:
    """The same for steps that make the same; None where what they make may change.

    Args:
        step: The step.
        paths: What of it are paths.
        parameters: Its parameters with every variable of earlier steps replaced.
        sums: The SHA-256 of files that earlier steps made, by their path.
    """
    if not paths.is_repeatable(step, parameters):
        return None
    parts: dict[str, Any] = {}
    files = set(paths.files_of(step))
    for name, value in parameters.items():
        if name in ("token", "cache_dir"):
            continue
        # A mirror of the Hub has folders in it.
        tell = functools.partial(_content_of, sums=sums, is_deep=name == "path")
        parts[name] = _each(value, tell) if name in files else value
    text = json.dumps([step.kind, step.method, parts], sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _content_of(given: str, sums: Mapping[str, str], is_deep: bool) -> Any:
    """What a file is told by: its sum where we made it, else its size and time of change."""
    if given in sums:
        return {"sha256": sums[given]}
    path = Path(given)
    if len(given) > 4096 or "\x00" in given or not path.is_absolute():
        return given
    try:
        if not path.exists():
            return given
        inside = path.rglob("*") if is_deep else path.iterdir()
        files = sorted(file for file in inside if file.is_file()) if path.is_dir() else [path]
        return [given, *([str(file), s.st_size, s.st_mtime_ns] for file in files for s in [file.stat()])]
    except OSError:
        return given
