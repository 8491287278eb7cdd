"""Where rows come from, as users write it: files, data sets, names of the Hub, several of them with weights.

`train.jsonl`, `answers@3`, `org/name`, `org/name:validation`, `hf://org/name@revision`, each with `:0.3` behind it
where it is drawn by weight. Knows how it is written; what is there, others look at.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tunesmith.errors import InvalidInput
from tunesmith.spec.loading import FORMATS

_HUB = "hf://"
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_WEIGHT = re.compile(r"(?P<rest>.+):(?P<weight>[0-9]*\.?[0-9]+(?:[eE][+-]?[0-9]+)?)")
_PACKED = (".gz", ".zst")
_KEYS = {
    "path": "path", "dataset": "path", "file": "path", "weight": "weight", "ratio": "weight", "prob": "weight",
    "name": "name", "config": "name", "subset": "name", "split": "split", "revision": "revision", "rows": "rows",
    "data_files": "data_files", "data_dir": "data_dir",
}  # fmt: skip


@dataclass(frozen=True)
class Source:
    """One data set of a training."""

    path: str
    """A file, a data set's name, or a Hub id."""
    is_hub: bool = False
    weight: float | None = None
    """Its share of the mix; all rows where no source has one."""
    rows: int | None = None
    """At most so many of its first rows."""
    name: str | None = None
    """The Hub data set's configuration."""
    split: str | None = None
    revision: str | None = None
    data_files: Any = None
    data_dir: str | None = None

    @property
    def loads(self) -> dict[str, Any]:
        """What of a Hub data set is loaded, as the operation `load` takes it."""
        found = {
            "path": self.path, "name": self.name, "split": self.split, "revision": self.revision,
            "data_files": self.data_files, "data_dir": self.data_dir,
        }  # fmt: skip
        return {key: value for key, value in found.items() if value is not None}

    def __str__(self) -> str:
        """As a user would write it."""
        where = f"{_HUB}{self.path}" if self.is_hub else self.path
        parts = [f"{where}@{self.revision}" if self.revision else where, self.split, self.weight]
        words = ":".join(f"{part:g}" if isinstance(part, float) else part for part in parts if part)
        return f"{words} (its first {self.rows} rows)" if self.rows else words


def read_sources(given: Any, field: str = "train_file") -> list[Source]:
    """The sources that a user gave: a text, a mapping, or a list of them.

    Raises:
        InvalidInput: One cannot be read, or some have a weight and others have none.
    """
    items = given if isinstance(given, Sequence) and not isinstance(given, str) else [given]
    found = [_read(item, field) for item in items]
    if not found:
        raise InvalidInput(f"`{field}` names no data set.", field=field, hint="Name at least one.")
    weighted = [source for source in found if source.weight is not None]
    if weighted and len(weighted) != len(found):
        without = next(source for source in found if source.weight is None)
        raise InvalidInput(
            f"`{without}` has no weight, and others have one.",
            field=field,
            hint="Give each data set a weight, as in `a.jsonl:0.7`, or none of them: then every row is taken.",
        )
    return found


def is_plain(sources: Sequence[Source]) -> bool:
    """Whether a task takes it as it is: one file or data set of the registry, whole."""
    return len(sources) == 1 and not sources[0].is_hub and sources[0].rows is None


def _read(given: Any, field: str) -> Source:
    if isinstance(given, Source):
        return given
    if isinstance(given, Path):
        given = str(given)
    if isinstance(given, Mapping):
        return _from_mapping(given, field)
    if not isinstance(given, str) or not given.strip():
        raise InvalidInput(
            f"`{given}` names no data set.",
            field=field,
            hint="Write a path, a name, or `org/name` of the Hub.",
        )
    return _from_text(given.strip(), field)


def _from_mapping(given: Mapping[str, Any], field: str) -> Source:
    unknown = [str(key) for key in given if key not in _KEYS]
    found = {_KEYS[key]: value for key, value in given.items() if key in _KEYS and value is not None}
    if unknown or not isinstance(found.get("path"), str):
        what = f"A data set has no `{unknown[0]}`" if unknown else "A data set needs a `path`"
        raise InvalidInput(
            f"{what}.", field=field, hint="It has " + ", ".join(f"`{key}`" for key in _KEYS) + "."
        )
    told = _from_text(found["path"], field)
    weight, rows = found.get("weight", told.weight), found.get("rows")
    if rows is not None and (isinstance(rows, bool) or not isinstance(rows, int) or rows < 1):
        raise InvalidInput(f"`rows={rows}` is no number of rows.", field=field, hint="Give 1 or more.")
    data_files, data_dir = found.get("data_files"), found.get("data_dir")
    return Source(
        told.path, told.is_hub, _weight(weight, field), rows, found.get("name"), found.get("split", told.split),
        found.get("revision", told.revision), data_files, data_dir,
    )  # fmt: skip


def _from_text(text: str, field: str) -> Source:
    weight = None
    if not _is_there(text) and (match := _WEIGHT.fullmatch(text)):
        text, weight = match["rest"], _weight(match["weight"], field)
    if text.startswith(_HUB):
        found = _hub(text.removeprefix(_HUB).removeprefix("datasets/"))
        if found is None:
            raise InvalidInput(
                f"`{text}` names no data set of the Hub.",
                field=field,
                hint="Write `hf://org/name`, `hf://org/name:split` or `hf://org/name@revision`.",
            )
    else:
        found = None if _is_there(text) or "://" in text or looks_like_file(text) else _hub(text)
    if found is None:
        return Source(text, weight=weight)
    path, revision, split = found
    return Source(path, True, weight, split=split, revision=revision)


def _hub(text: str) -> tuple[str, str | None, str | None] | None:
    """The id, the revision and the split in a Hub name; None where it is none."""
    name, _, split = text.partition(":")
    name, _, revision = name.partition("@")
    if not _HUB_ID.fullmatch(name):
        return None
    return name, revision or None, split or None


def looks_like_file(text: str) -> bool:
    """Whether a path has the ending of a data file, or begins as no name of the Hub does."""
    bare = text.lower()
    for packed in _PACKED:
        bare = bare.removesuffix(packed)
    endings = tuple(ending for loader in FORMATS.values() for ending in loader)
    return bare.endswith((*endings, ".arrow")) or text.startswith(("/", "./", "../", "~", "\\"))


def _is_there(text: str) -> bool:
    try:
        return Path(text).expanduser().exists()
    except (OSError, ValueError, RuntimeError):
        return False


def _weight(given: Any, field: str) -> float | None:
    if given is None:
        return None
    try:
        weight = float(given)
    except (TypeError, ValueError):
        weight = 0.0
    if isinstance(given, bool) or not 0 < weight < float("inf"):
        raise InvalidInput(
            f"The weight `{given}` is no number above 0.", field=field, hint="Leave out what is not wanted."
        )
    return weight
