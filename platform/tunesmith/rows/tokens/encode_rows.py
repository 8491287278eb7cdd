"""A file's rows as a model takes them, many at a time, in their order; with the place of each that cannot be."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path

from tunesmith.row_problem import RowProblem
from tunesmith.rows.bad_rows import ENOUGH, BadRows
from tunesmith.rows.files.decoding import Row
from tunesmith.rows.files.reading import RowFile
from tunesmith.rows.problems import bad_file
from tunesmith.rows.shapes import Sample, Shape
from tunesmith.rows.tokens.encoding import Encoded, RowEncoder

_BATCH = 256
_CONVERSATION = Shape()
_LEFT = RowProblem("Not encoded yet.")


def encode_rows(
    rows: Iterable[tuple[int, Row | RowProblem]],
    encoder: RowEncoder,
    file: RowFile | None = None,
    shape: Shape = _CONVERSATION,
    bad: BadRows | None = None,
) -> Iterator[tuple[int, Encoded]]:
    """Encode numbered rows (`RowFile.scan`), in their order; a row may be left without a label by the cut.

    Args:
        rows: Number and row.
        encoder: The model's encoder.
        file: Where they come from, for the places in errors.
        shape: Where in a row the sample is.
        bad: Takes what cannot be trained on; without one, the first such row ends it.

    Raises:
        InvalidData: At the first row that cannot be trained on and may not be left out, with its place.
    """
    place = file.place if file else lambda number: f"data:{number}"
    bad = bad or BadRows(place)
    for batch in batches(rows):
        for (number, row), result in zip(batch, encode_batch(batch, encoder, shape), strict=True):
            if isinstance(result, RowProblem):
                bad.note(number, result, row)
            else:
                yield number, result


def batches(rows: Iterable[tuple[int, Row | RowProblem]]) -> Iterator[list[tuple[int, Row | RowProblem]]]:
    """Rows as many at a time as are encoded at once."""
    waiting = iter(rows)
    while batch := list(islice(waiting, _BATCH)):
        yield batch


def encode_batch(
    batch: Sequence[tuple[int, Row | RowProblem]], encoder: RowEncoder, shape: Shape
) -> list[Encoded | RowProblem]:
    """Encode rows, with each bad one's problem in its place."""
    results: list[Encoded | RowProblem] = []
    places: list[int] = []
    samples: list[Sample] = []
    for _, row in batch:
        try:
            if isinstance(row, RowProblem):
                raise row
            samples.append(shape.read(row))
            places.append(len(results))
            results.append(_LEFT)
        except RowProblem as problem:
            results.append(problem)
    for place, result in zip(places, encoder.try_batch(samples), strict=True):
        results[place] = result
    return results


def encode_file(
    path: str | Path, encoder: RowEncoder, shape: Shape = _CONVERSATION
) -> Iterator[tuple[int, Encoded]]:
    """Encode a file's rows, as `encode_rows`.

    Raises:
        InvalidData: The file cannot be read, or a row cannot be trained on, with its place.
    """
    file = RowFile(path)
    yield from encode_rows(file.scan(), encoder, file, shape)


def first_trainable(
    path: str | Path,
    encoder: RowEncoder,
    limit: int = 2000,
    shape: Shape = _CONVERSATION,
    allowed_bad_percent: float = 0.0,
) -> int:
    """The number of the first row that keeps a label within `max_length`, among the first `limit` rows.

    Raises:
        InvalidData: None does (the cure names the smallest `max_length` that would keep a label), or a row before it
            cannot be trained on and may not be left out.
    """
    file = RowFile(path)
    bad = BadRows(file.place, allowed_bad_percent, ENOUGH)
    first: int | None = None
    trainable: int | None = None
    needed = seen = 0
    for number, encoded in islice(encode_rows(file.scan(), encoder, file, shape, bad), limit):
        seen += 1
        if encoded.has_label:
            trainable = trainable or number
            if allowed_bad_percent or not bad.count:
                return trainable
        first = first or number
        needed = min(needed or encoded.needed, encoded.needed)
    if first is None or not allowed_bad_percent:
        bad.check(seen + bad.count)
    if trainable is not None:
        return trainable
    rows = "every row" if seen < limit else f"each of the first {limit} rows"
    raise bad_file(
        file.place(first or 1),
        f"`max_length` {encoder.max_length} cuts off the whole answer in {rows} of `{file.name}`: nothing is left to "
        "train on.",
        f"Set `max_length` to at least {needed}; more keeps more of the answers.",
    )
