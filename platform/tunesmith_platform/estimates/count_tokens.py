"""Counts the tokens of files, each file once.

Counted by the very encoder that trains, in a worker. A large file is answered from a seeded sample at once, while a
worker beside the others counts all rows; from then on answers are exact. What is kept does not depend on `max_length`,
so that trying another one costs nothing.

Knows files, encoders and numpy; knows nothing of memory, steps or the database.
"""

import hashlib
import json
import logging
import os
import random
import re
import threading
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tunesmith.errors import TunesmithError
from tunesmith.removal import discard_file
from tunesmith.row_problem import RowProblem
from tunesmith.rows.bad_rows import BadRows
from tunesmith.rows.choosing import encoder_of
from tunesmith.rows.files.decoding import Row
from tunesmith.rows.files.reading import RowFile
from tunesmith.rows.shapes import shape_of
from tunesmith.rows.tokens.encoding import Encoded, encode_rows
from tunesmith.spec.parameter import names_with
from tunesmith.spec.roles import Role
from tunesmith.spec.training import TrainSpec
from tunesmith_platform.estimates.token_counts import LONGEST, Counts, Ints, count_encoded
from tunesmith_platform.file_state import state_of
from tunesmith_platform.sandbox import checks
from tunesmith_platform.sandbox.pool import Limits

logger = logging.getLogger(__name__)

SAMPLE_ROWS = 500
"""Rows that are encoded at once; a file with more is answered from a sample of so many."""
_KEPT_FILES = 64
_COUNTS = re.compile(r"[0-9a-f]{32}\.npz")
"""What kept counts are called: whatever has another name is left alone."""
_SEED = 20_261_121
_TIME_LIMIT = 3600
_ENCODING = names_with(TrainSpec, Role.TEXT, Role.ROWS, Role.TOKENIZER)
"""The parameters that decide which tokens a row becomes, and which rows are left out. Kept counts are named by them in
this order."""
_KEPT_ENCODERS = 1
_COUNTS_BYTES = 4 * 2**30
_ENCODERS: dict[str, Any] = {}
_ENCODERS_LOCK = threading.Lock()


@dataclass(frozen=True)
class Source:
    """A file, the model that reads it, and the parameters of the encoding."""

    file: Path
    model: Path
    spec: TrainSpec
    tokenizer: Path | None = None

    @property
    def key(self) -> str:
        """Stays the same as long as the counts do."""
        parts = [
            state_of(self.file),
            state_of(self.model),
            state_of(self.tokenizer) if self.tokenizer else None,
            {name: getattr(self.spec, name) for name in _ENCODING},
        ]
        return hashlib.sha256(json.dumps(parts, default=str).encode()).hexdigest()[:32]

    def order(self) -> dict[str, Any]:
        """It, for a worker."""
        return {
            "file": str(self.file),
            "model": str(self.model),
            "tokenizer": str(self.tokenizer) if self.tokenizer else None,
            "spec": self.spec.model_dump(mode="json"),
        }

    @classmethod
    def of(cls, order: Mapping[str, Any]) -> "Source":
        """What `order` wrote."""
        tokenizer = Path(order["tokenizer"]) if order["tokenizer"] else None
        return cls(Path(order["file"]), Path(order["model"]), TrainSpec.stored(order["spec"]), tokenizer)


def _encode(source: Source, rows: Iterable[tuple[int, Row | RowProblem]]) -> list[Encoded]:
    """The rows that can be trained on; the others are left out as far as the trainer leaves them out."""
    file = RowFile(source.file)
    shape = shape_of(file, source.spec)
    encoder = _encoder(source.key, source)
    bad = BadRows(file.place, source.spec.allowed_bad_percent)
    return [encoded for _, encoded in encode_rows(rows, encoder, file, shape, bad)]


def _encoder(key: str, source: Source) -> Any:
    with _ENCODERS_LOCK:
        found = _ENCODERS.get(key)
    if found is None:
        uncut = source.spec.model_copy(update={"max_length": LONGEST})
        shape = shape_of(RowFile(source.file), source.spec)
        found = encoder_of(uncut, shape, source.model, source.tokenizer)
        with _ENCODERS_LOCK:
            while len(_ENCODERS) >= _KEPT_ENCODERS:
                del _ENCODERS[next(iter(_ENCODERS))]
            _ENCODERS[key] = found
    return found


def count_all(source: Source) -> Counts:
    """Count every row.

    Raises:
        InvalidData: A row cannot be trained on.
    """
    file = RowFile(source.file)
    bad = BadRows(file.place, source.spec.allowed_bad_percent)
    shape, encoder = shape_of(file, source.spec), _encoder(source.key, source)
    counts = count_encoded(one for _, one in encode_rows(file.scan(), encoder, file, shape, bad))
    bad.check(counts.rows + bad.count)
    return counts


def count_sample(source: Source, size: int = SAMPLE_ROWS) -> Counts:
    """Count a seeded sample of the rows; all where the file has no more than `size`.

    Raises:
        InvalidData: A row of the sample cannot be trained on.
    """
    file = RowFile(source.file)
    if file.format != "jsonl":
        everything = list(file.scan())
        draw = random.Random(_SEED)  # noqa: S311  (no secret is drawn)
        some = draw.sample(everything, size) if len(everything) > size else everything
        encoded = _encode(source, sorted(some, key=lambda item: item[0]))
        return count_encoded(encoded, round(len(everything) * len(encoded) / max(1, len(some))))
    ends, total = _line_ends(source.file)
    if total <= size:
        return count_all(source)
    chosen = np.sort(np.random.default_rng(_SEED).choice(total, size, replace=False))
    encoded = _encode(source, _lines_at(source.file, ends, chosen))
    # Blank lines are no rows: what share of the sample they are, they are of the file; so are rows that are left out.
    rows = round(total * len(encoded) / size)
    return count_encoded(encoded, max(rows, len(encoded)))


def _line_ends(file: Path) -> tuple[Ints, int]:
    """Where the lines end, and how many there are."""
    data = np.memmap(file, np.uint8, "r")
    ends = np.concatenate(
        [
            np.flatnonzero(data[start : start + 2**26] == ord("\n")) + start
            for start in range(0, len(data), 2**26)
        ]
    )
    if not len(ends) or ends[-1] != len(data) - 1:
        ends = np.append(ends, len(data))
    return ends.astype(np.int64), len(ends)


def _lines_at(file: Path, ends: Ints, chosen: Ints) -> Iterator[tuple[int, Row | RowProblem]]:
    with file.open("rb") as stream:
        for index in chosen.tolist():
            begin = int(ends[index - 1]) + 1 if index else 0
            stream.seek(begin)
            line = stream.read(int(ends[index]) - begin)
            text = line.decode("utf-8-sig", "replace").strip()
            if not text:
                continue
            try:
                row = json.loads(text)
            except ValueError:
                row = None
            if not isinstance(row, dict):
                row = RowProblem(
                    "The line is no JSON object.", "Write each row on a line of its own, as `{...}`."
                )
            yield index + 1, row


class Counter:
    """Answers with counts: kept ones, else those of a sample while all rows are counted in the background.

    Args:
        folder: Where counts are kept; the files used longest ago go first.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._known: dict[str, Counts] = {}
        self._samples: dict[str, Counts] = {}
        self._lock = threading.Lock()
        self._busy: threading.Thread | None = None
        self._background = checks.shared.another(processes=1, file_bytes=_COUNTS_BYTES)
        self._failed: set[str] = set()

    def counts(self, source: Source) -> Counts:
        """The counts of a file as good as they are known now.

        Raises:
            InvalidData: A row that was looked at cannot be trained on.
        """
        key = source.key
        with self._lock:
            found = self._known.get(key) or self._kept(key)
        if found is not None:
            return found
        with self._lock:
            sample = self._samples.get(key)
        sample = sample or Counts.from_json(checks.token_counts(source.order(), str(source.model)))
        with self._lock:
            if sample.is_sample:
                self._samples[key] = sample
                self._count_in_background(source, key)
            else:
                sample.save(self._file(key))
                self._known[key] = sample
            for cache in (self._known, self._samples):
                while len(cache) > _KEPT_FILES:
                    del cache[next(iter(cache))]
        return sample

    def close(self) -> None:
        """End what counts in the background."""
        self._background.close()

    def _file(self, key: str) -> Path:
        return self._folder / f"{key}.npz"

    def _kept(self, key: str) -> Counts | None:
        file = self._file(key)
        try:
            counts = Counts.load(file)
            os.utime(file)
        except (OSError, ValueError):
            return None
        self._known[key] = counts
        self._samples.pop(key, None)
        return counts

    def _count_in_background(self, source: Source, key: str) -> None:
        """One file at a time, by a worker beside those that users wait for."""
        if self._busy is not None and self._busy.is_alive():
            return
        if key in self._failed:
            return
        self._failed.add(key)  # until its file is there: what failed once is not tried at each question
        self._folder.mkdir(parents=True, exist_ok=True)
        kept = [file for file in self._folder.glob("*.npz") if _COUNTS.fullmatch(file.name)]
        kept.sort(key=lambda file: file.stat().st_mtime, reverse=True)
        for old in kept[_KEPT_FILES - 1 :]:
            discard_file(old)
        order = source.order() | {"target": str(self._file(key))}
        self._busy = threading.Thread(target=self._count, args=(source, order), name="counting", daemon=True)
        self._busy.start()

    def _count(self, source: Source, order: dict[str, Any]) -> None:
        try:
            self._background.run(
                "count_into", order, about=str(source.model), limits=Limits(seconds=_TIME_LIMIT)
            )
        except (TunesmithError, OSError) as error:
            logger.info("%s was not counted whole: %s", source.file, error)
