"""How many tokens each row has and which of them are trained, as small arrays.

Knows encoded rows and numpy; knows nothing of files to read, batches or memory.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tunesmith.removal import part_of
from tunesmith.rows.tokens.encoding import IGNORE_INDEX, Encoded

LONGEST = 2**20
"""Tokens of a row that are told apart; no model reads so many."""
_ARRAYS = ("lengths", "row_of_run", "run_begins", "run_ends")

Ints = np.ndarray[Any, np.dtype[np.int64]]


@dataclass(frozen=True)
class After:
    """Rows after the cut; those of which nothing is left to train are left out."""

    lengths: Ints
    supervised: int
    lost: int
    cut: int
    dropped: int


@dataclass(frozen=True)
class Counts:
    """Tokens of rows, and the runs of trained tokens in them."""

    rows: int
    """Rows of the file; more than were looked at where this is a sample."""
    lengths: Ints
    row_of_run: Ints
    run_begins: Ints
    run_ends: Ints

    @property
    def is_sample(self) -> bool:
        """Whether only some rows were looked at."""
        return len(self.lengths) < self.rows

    def after(self, max_length: int | None) -> After:
        """The rows as they are trained with some `max_length`; None cuts nothing."""
        limit = max_length or LONGEST
        kept = np.minimum(self.lengths, limit)
        # The first token is never predicted, so a label there trains nothing.
        trained = np.maximum(np.minimum(self.run_ends, limit) - np.maximum(self.run_begins, 1), 0)
        supervised = np.bincount(self.row_of_run, weights=trained, minlength=len(self.lengths))
        has_any = supervised > 0
        return After(
            lengths=kept[has_any],
            supervised=int(supervised.sum()),
            lost=int((self.lengths - kept).sum()),
            cut=int((self.lengths > limit).sum()),
            dropped=int((~has_any).sum()),
        )

    def as_json(self) -> bytes:
        """They, for another process."""
        lists = {name: getattr(self, name).tolist() for name in _ARRAYS}
        return json.dumps({"rows": self.rows, **lists}).encode()

    @classmethod
    def from_json(cls, raw: bytes) -> "Counts":
        """What `as_json` wrote."""
        found = json.loads(raw)
        return cls(found["rows"], *(np.array(found[name], np.int64) for name in _ARRAYS))

    def save(self, file: Path) -> None:
        """Keep them, whole or not at all."""
        file.parent.mkdir(parents=True, exist_ok=True)
        part = part_of(file)
        with part.open("wb") as stream:
            np.savez(
                stream,
                rows=np.int64(self.rows),
                lengths=self.lengths.astype(np.int32),
                row_of_run=self.row_of_run.astype(np.int32),
                run_begins=self.run_begins.astype(np.int32),
                run_ends=self.run_ends.astype(np.int32),
            )
        part.replace(file)

    @classmethod
    def load(cls, file: Path) -> "Counts":
        """Counts that were kept. Raises `OSError` or `ValueError` where there are none that can be read."""
        with np.load(file, allow_pickle=False) as found:
            arrays = {name: found[name].astype(np.int64) for name in found.files}
        try:
            return cls(rows=int(arrays.pop("rows")), **arrays)
        except (KeyError, TypeError) as error:
            raise ValueError(f"`{file}` holds no counts.") from error


def count_encoded(encoded: Iterable[Encoded], rows: int | None = None) -> Counts:
    """Counts of encoded rows, which were not cut.

    Args:
        encoded: The rows.
        rows: How many the file has, where these are a sample.
    """
    lengths: list[int] = []
    places: list[tuple[int, int, int]] = []
    for number, one in enumerate(encoded):
        lengths.append(len(one.input_ids))
        if one.label is not None:  # a class is predicted from the whole text
            places.append((number, 1, len(one.input_ids) + 1))
            continue
        trained = np.asarray(one.labels) != IGNORE_INDEX
        edges = np.flatnonzero(np.diff(np.concatenate([[False], trained, [False]]).astype(np.int8)))
        places += [(number, int(a), int(b)) for a, b in zip(edges[::2], edges[1::2], strict=True)]
    table = np.asarray(places, np.int64).reshape(-1, 3)
    return Counts(
        rows=len(lengths) if rows is None else rows,
        lengths=np.asarray(lengths, np.int64),
        row_of_run=table[:, 0],
        run_begins=table[:, 1],
        run_ends=table[:, 2],
    )
