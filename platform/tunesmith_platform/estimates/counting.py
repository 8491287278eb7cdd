"""How many tokens each row of a file has, and which of them are trained: counted once, kept as small arrays.

Counted by the very encoder that trains. A large file is answered from a seeded sample at once, while a process of its
own (`python -m tunesmith_platform.estimates.counting`) counts all rows; from then on answers are exact. What is kept
does not depend on `max_length`, so that trying another one costs nothing.

Knows files, encoders and numpy; knows nothing of memory, steps or the database.
"""

import hashlib
import json
import os
import random
import subprocess
import sys
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tunesmith.errors import TunesmithError
from tunesmith.rows.choosing import encoder_of
from tunesmith.rows.encoding import IGNORE_INDEX, Encoded, encode_rows
from tunesmith.rows.problems import bad_file
from tunesmith.rows.reading import Row, RowFile, read_rows
from tunesmith.rows.shapes import shape_of
from tunesmith.spec.training import TrainSpec
from tunesmith_platform.estimates.formula import packed_rows
from tunesmith_platform.tasks.inputs import identity_of

SAMPLE_ROWS = 500
"""Rows that are encoded at once; a file with more is answered from a sample of so many."""
_KEPT_FILES = 64
_LONGEST = 2**20
_PACKED_ROWS = 2000
_SEED = 20_261_121
_TIME_LIMIT = 3600
_ENCODING = (
    "training_type",
    "text_column",
    "prompt_column",
    "response_column",
    "system_column",
    "label_column",
    "chat_template",
    "assistant_only_loss",
    "tokenizer_name_or_path",
)
"""The parameters that decide which tokens a row becomes."""
_KEPT_ENCODERS = 8
_ENCODERS: dict[str, Any] = {}
_ENCODERS_LOCK = threading.Lock()

Ints = np.ndarray[Any, np.dtype[np.int64]]


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
            identity_of(self.file),
            identity_of(self.model),
            identity_of(self.tokenizer) if self.tokenizer else None,
            {name: getattr(self.spec, name) for name in _ENCODING},
        ]
        return hashlib.sha256(json.dumps(parts, default=str).encode()).hexdigest()[:32]


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
        limit = max_length or _LONGEST
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

    def save(self, file: Path) -> None:
        """Keep them, whole or not at all."""
        file.parent.mkdir(parents=True, exist_ok=True)
        part = file.with_name(f".{file.name}.{os.getpid()}.part")
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


def padding_share(lengths: Ints, batch: int, batches: int, seed: int) -> tuple[float, float, float]:
    """What a shuffled epoch's batches hold, drawn as the trainer draws them.

    Args:
        lengths: Of every row.
        batch: Rows of a batch.
        batches: Batches of a step, over all workers: their rows are dealt by length.
        seed: Of the shuffle.

    Returns:
        The share of padding, the mean of places a batch, and the mean length of a batch's rows with padding.
    """
    order = np.random.default_rng([seed, 0]).permutation(len(lengths))
    shuffled = lengths[order]
    missing = -len(shuffled) % (batch * batches)
    steps = np.concatenate([shuffled, np.zeros(missing, np.int64)]).reshape(-1, batch * batches)
    full = -np.sort(-steps, axis=1).reshape(-1, batch)
    full = full[full[:, 0] > 0]
    longest = full.max(axis=1)
    rows = (full > 0).sum(axis=1)
    places = float((longest * rows).sum())
    share = 1 - float(lengths.sum()) / places if places else 0.0
    return share, places / len(full), places / max(1.0, float(rows.sum()))


def packs_of(lengths: Ints, size: int, seed: int) -> tuple[float, float]:
    """How many packed sequences a row becomes on average, and the share of padding in them; large files by a sample."""
    some = lengths
    if len(some) > _PACKED_ROWS:
        some = np.random.default_rng(seed).choice(some, _PACKED_ROWS, replace=False)
    packs = packed_rows(some.tolist(), size)
    return packs / max(1, len(some)), 1 - float(some.sum()) / max(1, packs * size)


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


def _encode(source: Source, rows: Iterable[tuple[int, Row]]) -> Iterator[Encoded]:
    file = RowFile(source.file)
    shape = shape_of(file, source.spec)
    encoder = _encoder(source.key, source)
    yield from (encoded for _, encoded in encode_rows(rows, encoder, file, shape))


def _encoder(key: str, source: Source) -> Any:
    with _ENCODERS_LOCK:
        found = _ENCODERS.get(key)
    if found is None:
        uncut = source.spec.model_copy(update={"max_length": _LONGEST})
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
    return count_encoded(_encode(source, read_rows(source.file)))


def count_sample(source: Source, size: int = SAMPLE_ROWS) -> Counts:
    """Count a seeded sample of the rows; all where the file has no more than `size`.

    Raises:
        InvalidData: A row of the sample cannot be trained on.
    """
    file = RowFile(source.file)
    if file.format != "jsonl":
        everything = list(read_rows(source.file))
        draw = random.Random(_SEED)  # noqa: S311  (no secret is drawn)
        some = draw.sample(everything, size) if len(everything) > size else everything
        return count_encoded(_encode(source, sorted(some, key=lambda item: item[0])), len(everything))
    ends, total = _line_ends(source.file)
    if total <= size:
        return count_all(source)
    chosen = np.sort(np.random.default_rng(_SEED).choice(total, size, replace=False))
    lines = list(_lines_at(source.file, ends, chosen))
    # Blank lines are no rows: what share of the sample they are, they are of the file.
    rows = round(total * len(lines) / size)
    return count_encoded(_encode(source, lines), max(rows, len(lines)))


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


def _lines_at(file: Path, ends: Ints, chosen: Ints) -> Iterator[tuple[int, Row]]:
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
                raise bad_file(
                    f"{file.name}:{index + 1}",
                    f"Line {index + 1} of `{file.name}` is no JSON object.",
                    "Write each row on a line of its own, as `{...}`.",
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
        self._busy: subprocess.Popen[bytes] | None = None
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
        sample = sample or count_sample(source)
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
        with self._lock:
            if self._busy is not None and self._busy.poll() is None:
                self._busy.kill()
                self._busy.wait(5)

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
        """One file at a time, in a process of its own: the API goes on answering."""
        if self._busy is not None and self._busy.poll() is None:
            return
        if key in self._failed:
            return
        self._failed.add(key)  # until its file is there: what failed once is not tried at each question
        self._folder.mkdir(parents=True, exist_ok=True)
        kept = sorted(self._folder.glob("*.npz"), key=lambda file: file.stat().st_mtime, reverse=True)
        for old in kept[_KEPT_FILES - 1 :]:
            old.unlink(missing_ok=True)
        order = {
            "file": str(source.file),
            "model": str(source.model),
            "tokenizer": str(source.tokenizer) if source.tokenizer else None,
            "spec": source.spec.model_dump(mode="json"),
            "target": str(self._file(key)),
        }
        self._busy = subprocess.Popen(
            [sys.executable, "-m", "tunesmith_platform.estimates.counting"],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        assert self._busy.stdin is not None
        self._busy.stdin.write(json.dumps(order).encode())
        self._busy.stdin.close()


def main() -> int:
    """Count the file that standard input names. Ends by itself after an hour."""
    threading.Timer(_TIME_LIMIT, os._exit, [1]).start()
    os.nice(10)
    order = json.loads(sys.stdin.read())
    source = Source(
        Path(order["file"]),
        Path(order["model"]),
        TrainSpec.stored(order["spec"]),
        Path(order["tokenizer"]) if order["tokenizer"] else None,
    )
    try:
        count_all(source).save(Path(order["target"]))
    except (TunesmithError, OSError):
        return 1
    return 0


if __name__ == "__main__":
    os._exit(main())
