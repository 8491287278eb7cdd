"""Counts the tokens of a file, by the very encoder that trains: of all its rows, or of a seeded sample.

Runs in a worker; the API has the file, the model and the parameters (`CountSource`) alone. What is counted does not
depend on `max_length`. Knows files, encoders and numpy; keeps nothing.
"""

import hashlib
import json
import random
import threading
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tunesmith.row_problem import RowProblem
from tunesmith.rows.bad_rows import ENOUGH, BadRows
from tunesmith.rows.choosing import encoder_of
from tunesmith.rows.files.decoding import Row
from tunesmith.rows.files.reading import RowFile
from tunesmith.rows.shapes import shape_of
from tunesmith.rows.tokens.encode_rows import encode_rows
from tunesmith.rows.tokens.encoding import Encoded
from tunesmith.spec.parameter import names_with
from tunesmith.spec.roles import Role
from tunesmith.spec.training import TrainSpec
from tunesmith_platform.file_state import state_of
from tunesmith_platform.sandbox.token_counts import LONGEST, Counts, Ints, count_encoded

SAMPLE_ROWS = 500
"""Rows that are encoded at once; a file with more is answered from a sample of so many."""
_SEED = 20_261_121
_ENCODING = names_with(TrainSpec, Role.TEXT, Role.ROWS, Role.TOKENIZER)
"""The parameters that decide which tokens a row becomes, and which rows are left out. Kept counts are named by them in
this order."""
_READING = 2
"""Raised when rows come to other tokens than before: kept counts are made anew."""
_KEPT_ENCODERS = 1
_ENCODERS: dict[str, Any] = {}
_ENCODERS_LOCK = threading.Lock()


@dataclass(frozen=True)
class CountSource:
    """A file, the model that reads it, and the parameters of the encoding."""

    file: Path
    model: Path
    spec: TrainSpec
    tokenizer: Path | None = None

    @property
    def key(self) -> str:
        """Stays the same as long as the counts do."""
        parts = [
            _READING,
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
    def of(cls, order: Mapping[str, Any]) -> "CountSource":
        """What `order` wrote."""
        tokenizer = Path(order["tokenizer"]) if order["tokenizer"] else None
        return cls(Path(order["file"]), Path(order["model"]), TrainSpec.stored(order["spec"]), tokenizer)


def _encode(source: CountSource, rows: Iterable[tuple[int, Row | RowProblem]]) -> list[Encoded]:
    """The rows that can be trained on; the others are left out as far as the trainer leaves them out."""
    file = RowFile(source.file)
    shape = shape_of(file, source.spec)
    encoder = _encoder(source.key, source)
    bad = BadRows(file.place, source.spec.allowed_bad_percent, ENOUGH)
    found = [encoded for _, encoded in encode_rows(rows, encoder, file, shape, bad)]
    if not source.spec.allowed_bad_percent:  # of a sample, a share says little
        bad.check(len(found) + bad.count)
    return found


def _encoder(key: str, source: CountSource) -> Any:
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


def count_all(source: CountSource) -> Counts:
    """Count every row.

    Raises:
        InvalidData: A row cannot be trained on.
    """
    file = RowFile(source.file)
    bad = BadRows(file.place, source.spec.allowed_bad_percent, ENOUGH)
    shape, encoder = shape_of(file, source.spec), _encoder(source.key, source)
    counts = count_encoded(one for _, one in encode_rows(file.scan(), encoder, file, shape, bad))
    bad.check(counts.rows + bad.count)
    return counts


def count_sample(source: CountSource, size: int = SAMPLE_ROWS) -> Counts:
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
