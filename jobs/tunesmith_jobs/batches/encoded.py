"""Where the tokens of a data file go while it is read, and what is known of them then: in memory, or in a folder.

In a folder the arrays are plain numbers (little-endian), each in a file of its own, mapped into memory: a file of any
size takes only as much memory as is looked at. Knows arrays and files; knows nothing of text.
"""

import hashlib
import io
import json
import os
import sys
from array import array
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np

from tunesmith.dataset_views import Finding
from tunesmith.errors import InvalidData, Problem
from tunesmith.rows.bad_rows import ENOUGH, BadRows
from tunesmith.rows.findings import Census
from tunesmith.rows.labels import check_known, class_name, sort_classes
from tunesmith_jobs.batches.rows import Flat, Rows
from tunesmith_jobs.batches.tokenize import Block, EncodingSource, tokenise

HEAD = "entry.json"
"""Written last: a folder without it is not whole."""
_TYPES = {"ids": "<i4", "trained": "?", "lengths": "<i4", "numbers": "<i4", "classes": "<i4"}
FILES = frozenset({HEAD, *(f"{name}.bin" for name in _TYPES)})
"""All that a folder of tokens holds."""

assert sys.byteorder == "little", "arrays are written as they lie in memory"


class Loaded(NamedTuple):
    """What a file gave."""

    rows: Rows
    cut: int
    """Rows that were longer than `max_length`."""
    dropped: int
    """Rows left out because nothing of them is trained."""
    skipped: int
    """Rows left out because they are bad."""
    first_skipped: tuple[Problem, ...]
    classes: tuple[str, ...] = ()
    """Names of the classes in the order of their numbers, where rows are classified."""
    findings: tuple[Finding, ...] = ()
    """What of the rows is not trained, or not as it stands."""


def load_rows(
    source: EncodingSource,
    folder: Path | None = None,
    said: Callable[[int], None] | None = None,
    known: Sequence[str] | None = None,
) -> Loaded:
    """Read and encode a file.

    Args:
        source: The file.
        folder: An empty folder that takes the tokens; None keeps them in memory.
        said: Called with how many rows were read so far.
        known: The classes, where another file gave them; else they are found here, among the rows that are taken.

    Raises:
        InvalidData: The file or a row cannot be read, a class is not known, or no row has anything to train.
    """
    bad = BadRows(source.rows.place, source.spec.allowed_bad_percent, ENOUGH)
    census = Census()
    with _Collection(folder) as found:
        seen = 0

        def take(block: Block) -> None:
            nonlocal seen
            seen += block.seen
            found.take(block)
            census.add(block.census)
            if said is not None:
                said(seen)

        tokenise(source, bad, take)
        name = source.file.name
        if not found.rows:
            raise InvalidData(
                f"`{name}`: no row has anything to train on.",
                hint="Every row needs an assistant's answer that begins within `max_length` tokens: raise "
                "`max_length`.",
                field=name,
            )
        cut_at = None if source.spec.training_type == "pretrain" else source.spec.max_length
        said_of = census.findings(source.shape, source.rows.place, cut_at, source.spec.training_type)
        head = {
            "skipped": bad.count,
            "first_skipped": [one.model_dump() for one in bad.first],
            "findings": [one.model_dump() for one in said_of],
        }
        return with_classes(found.finish(head), known, name)


def with_classes(loaded: Loaded, known: Sequence[str] | None, name: str) -> Loaded:
    """The rows with the class numbers of another file.

    Raises:
        InvalidData: They have classes that the other file does not have.
    """
    if known is None or not loaded.classes or loaded.classes == tuple(known):
        return loaded
    check_known(loaded.classes, known, name)
    own = [class_name(name) for name in known]  # a model of before may name one in another Unicode form
    numbers = np.asarray([own.index(one) for one in loaded.classes], np.int32)
    return loaded._replace(rows=loaded.rows.renumbered(numbers), classes=tuple(known))


def read_entry(folder: Path) -> Loaded:
    """What `load_rows` left in a folder.

    Raises:
        OSError: There is nothing, or it cannot be read.
        ValueError: It is not what was written.
    """
    head = json.loads((folder / HEAD).read_bytes())
    try:
        arrays = {}
        for name, kind in _TYPES.items():
            file = folder / f"{name}.bin"
            with file.open("rb") as stream:
                if hashlib.file_digest(stream, "sha256").hexdigest() != head["files"][name]:
                    raise ValueError(f"`{file.name}` is not what was written")
                size = stream.tell()
            arrays[name] = np.memmap(file, kind, "r") if size else np.empty(0, kind)
        return _loaded(head, arrays)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"`{HEAD}` is not what was written: {error!r}") from error


def _loaded(head: dict[str, Any], arrays: dict[str, Any]) -> Loaded:
    classes = tuple(head["classes"])
    rows = Rows(
        Flat(arrays["ids"], arrays["trained"]),
        np.asarray(arrays["lengths"]),
        np.asarray(arrays["numbers"]),
        classes=np.asarray(arrays["classes"]) if classes else None,
    )
    first = tuple(Problem.model_validate(one) for one in head["first_skipped"])
    findings = tuple(Finding.model_validate(one) for one in head["findings"])
    return Loaded(
        rows, int(head["cut"]), int(head["dropped"]), int(head["skipped"]), first, classes, findings
    )


class _Collection:
    """Takes blocks; a context, so that its files are closed."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._streams: dict[str, Any] = {
            name: (folder / f"{name}.bin").open("wb") if folder else io.BytesIO()
            for name in ("ids", "trained")
        }
        self._lengths, self._numbers, self._classes = array("i"), array("i"), array("i")
        self._names: dict[str, int] = {}
        self._cut = self._dropped = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for stream in self._streams.values():
            if self._folder:
                stream.close()

    @property
    def rows(self) -> int:
        """How many rows there are."""
        return len(self._lengths)

    def take(self, block: Block) -> None:
        """Take in a block."""
        self._streams["ids"].write(block.flat.ids.data)
        self._streams["trained"].write(block.flat.trained.data)
        self._lengths.extend(block.lengths)
        self._numbers.extend(block.numbers)
        self._classes.extend(self._names.setdefault(name, len(self._names)) for name in block.classes)
        self._cut += block.cut
        self._dropped += block.dropped

    def finish(self, head: dict[str, Any]) -> Loaded:
        """The rows, and what else is to be kept of them."""
        classes = sort_classes(self._names)
        place = {name: number for number, name in enumerate(classes)}
        order = np.asarray([place[name] for name in self._names], np.int32)
        small = {
            "lengths": np.asarray(self._lengths, np.int32),
            "numbers": np.asarray(self._numbers, np.int32),
            "classes": order[np.asarray(self._classes, np.int32)] if classes else np.empty(0, np.int32),
        }
        head = head | {"cut": self._cut, "dropped": self._dropped, "classes": classes}
        if self._folder is None:
            large = {
                name: np.frombuffer(stream.getbuffer(), _TYPES[name])
                for name, stream in self._streams.items()
            }
            return _loaded(head, large | small)
        for name, numbers in small.items():
            self._streams[name] = (self._folder / f"{name}.bin").open("wb")
            self._streams[name].write(numbers.data)
        sums = {}
        for name, stream in self._streams.items():
            stream.flush()
            os.fsync(stream.fileno())
            with (self._folder / f"{name}.bin").open("rb") as written:
                sums[name] = hashlib.file_digest(written, "sha256").hexdigest()
        with (self._folder / HEAD).open("w") as text:
            json.dump(head | {"files": sums}, text)
            text.flush()
            os.fsync(text.fileno())
        return read_entry(self._folder)
