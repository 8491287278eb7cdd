"""One row under the microscope: the text that a template writes, and what becomes of each of its tokens.

Encoded by the very encoder that trains; `row_sha256` is what a job notes of the first rows it trains on, so that both
can be compared. Knows files, shapes and encoders.
"""

import hashlib
import sys
from array import array
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from tunesmith.dataset_views import DataPreview, PreviewToken, RowPreview, TokenKind
from tunesmith.errors import NotFound
from tunesmith.row_problem import RowProblem
from tunesmith.rows.choosing import encoder_of
from tunesmith.rows.files.decoding import Row
from tunesmith.rows.files.reading import RowFile
from tunesmith.rows.findings import look_at
from tunesmith.rows.report.checking import check_file
from tunesmith.rows.shapes import Shape, Text, shape_of
from tunesmith.rows.tokens.encoding import IGNORE_INDEX, Encoded, Encoder, RowEncoder
from tunesmith.rows.tokens.library_ids import findings_of
from tunesmith.rows.tokens.tokenizer_file import load_tokenizer
from tunesmith.spec.training import TrainSpec

MAX_ROWS = 50
MAX_TOKENS = 20_000
"""Of a longer row, so many tokens are shown."""
FIRST_ROWS = 8
"""A job notes the sums of so many rows."""
_WHOLE = 2**20
_NO_CHARACTER = "\ufffd"


def row_sha256(input_ids: Iterable[int], labels: Iterable[int]) -> str:
    """The sha256 of a row as it is trained: its ids, then its labels, as little-endian 32-bit numbers."""
    digest = hashlib.sha256()
    for numbers in (input_ids, labels):
        packed = array("i", numbers)
        assert packed.itemsize == 4
        if sys.byteorder == "big":
            packed.byteswap()
        digest.update(packed.tobytes())
    return digest.hexdigest()


def preview(
    path: str | Path,
    spec: TrainSpec,
    model: str | Path,
    *,
    tokenizer: str | Path | None = None,
    rows: Sequence[int] = (),
    first: int = 1,
) -> DataPreview:
    """Rows as they are trained.

    Args:
        path: The file.
        spec: The parameters that decide how rows are read and encoded.
        model: The model's folder.
        tokenizer: Another folder whose tokenizer is used instead of the model's.
        rows: Numbers of rows: the line, or the element of an array or table.
        first: How many of the first rows, where none is named.

    Raises:
        NotFound: The file has no row with one of these numbers.
        InvalidData: The file is of no use.
        InvalidModel: The tokenizer or the chat template is missing or broken.
        InvalidInput: The chosen chat template does not fit.
    """
    file = RowFile(path)
    shape = shape_of(file, spec)
    encoder = encoder_of(spec, shape, model, tokenizer)
    lens = _Lens(
        file,
        shape,
        encoder,
        encoder_of(spec.model_copy(update={"max_length": _WHOLE}), shape, model, tokenizer),
        load_tokenizer(Path(tokenizer or model)),
    )
    if shape.kind == "labelled":
        lens.classes = check_file(path, shape=shape, allowed_bad_percent=spec.allowed_bad_percent).classes
    template = encoder.template
    names = dict.fromkeys(
        str(key) for _, row in islice(file.scan(), FIRST_ROWS) if isinstance(row, dict) for key in row
    )
    census = look_at(file.scan(), encoder, shape)
    return DataPreview(
        file=file.name,
        format=file.format,
        kind=shape.kind,
        max_length=spec.max_length,
        template_sha256=template.sha256 if template else None,
        meaning=shape.meaning(names),
        findings=[
            *findings_of(model, tokenizer),
            *census.findings(shape, file.place, spec.max_length, spec.training_type),
        ],
        rows=[lens.look(number, row) for number, row in _chosen(file, rows, first)],
    )


def _chosen(file: RowFile, wanted: Sequence[int], first: int) -> Iterator[tuple[int, Row | RowProblem]]:
    if not wanted:
        yield from islice(file.scan(), min(first, MAX_ROWS))
        return
    left = set(wanted[:MAX_ROWS])
    for number, row in file.scan():
        if number in left:
            left.discard(number)
            yield number, row
        if not left:
            return
    raise NotFound(
        f"`{file.name}` has no row {min(left)}.",
        hint="Rows are named as in a report: by their line in JSONL, CSV and text, else by their number from 1.",
    )


class _Lens:
    """Looks at rows of one file."""

    def __init__(
        self, file: RowFile, shape: Shape, encoder: RowEncoder, whole: RowEncoder, tokenizer: Any
    ) -> None:
        self._file, self._shape = file, shape
        self._encoder, self._whole = encoder, whole
        self._tokenizer = tokenizer
        self._special = {
            number
            for number, token in tokenizer.get_added_tokens_decoder().items()
            if token.special or (token.content.startswith("<|") and token.content.endswith("|>"))
        }
        self.classes: tuple[str, ...] = ()

    def look(self, number: int, row: Row | RowProblem) -> RowPreview:
        """One row; what is wrong with it stands in its place."""
        place = self._file.place(number)
        try:
            if isinstance(row, RowProblem):
                raise row
            sample = self._shape.read(row)
            kept, whole = (_encoded(encoder, sample) for encoder in (self._encoder, self._whole))
            text = sample.text if isinstance(sample, Text) else self._rendered(sample)
        except RowProblem as problem:
            return RowPreview(place=place, problem=problem.problem(place))
        return self._shown(place, kept, whole, text)

    def _rendered(self, messages: Any) -> str:
        assert isinstance(self._encoder, Encoder)
        return self._encoder.renderer.written(messages)

    def _shown(self, place: str, kept: Encoded, whole: Encoded, text: str) -> RowPreview:
        # The first token is never predicted, so a label there trains nothing.
        labels = [IGNORE_INDEX, *kept.labels[1:]]
        kinds = [TokenKind.CONTEXT if label == IGNORE_INDEX else TokenKind.TRAINED for label in labels]
        ids = kept.input_ids
        if whole.input_ids[: len(ids)] == ids:
            ids = whole.input_ids
        kinds += [TokenKind.CUT] * (len(ids) - len(kinds))
        trained = kinds.count(TokenKind.TRAINED)
        sums: list[int] | None = labels if trained else None
        if kept.label is not None:
            sums = [self.classes.index(kept.label)]
        return RowPreview(
            place=place,
            text=text,
            tokens=[
                PreviewToken(id=number, text=piece, kind=kind, special=number in self._special)
                for number, piece, kind in zip(ids[:MAX_TOKENS], self._pieces(ids), kinds, strict=False)
            ],
            trained=trained,
            context=kinds.count(TokenKind.CONTEXT),
            cut=kept.cut,
            label=kept.label,
            # A row of which nothing is trained is left out: no job notes it.
            sha256=row_sha256(kept.input_ids, sums) if sums is not None else None,
        )

    def _pieces(self, ids: Sequence[int]) -> list[str]:
        """What each token adds to the text; nothing where only the next one completes a character."""
        decode = self._tokenizer.decode
        pieces: list[str] = []
        begin = at = 0
        for end in range(1, min(len(ids), MAX_TOKENS) + 1):
            before = decode(ids[begin:at], skip_special_tokens=False) if at > begin else ""
            now = decode(ids[begin:end], skip_special_tokens=False)
            if now.endswith(_NO_CHARACTER) and end - at < 8:
                pieces.append("")
                continue
            pieces.append(now[len(before) :])
            begin, at = at, end
        return pieces


def _encoded(encoder: RowEncoder, sample: Any) -> Encoded:
    found = encoder.try_batch([sample])[0]
    if isinstance(found, RowProblem):
        raise found
    return found
