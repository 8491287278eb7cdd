"""The tokens of a file's rows: how long they are, what is cut, what is trained. Knows encoders; knows no verdicts."""

from collections.abc import Iterator
from itertools import islice

from tunesmith.dataset_views import Bin, CutAt, DataReport, TokenReport
from tunesmith.row_problem import RowProblem
from tunesmith.rows.files.decoding import Row
from tunesmith.rows.report.file_reader import PLACES, FileReader
from tunesmith.rows.shapes import Sample
from tunesmith.rows.tokens.encoding import IGNORE_INDEX, Encoded, RowEncoder

ENCODED_ROWS = 5000
"""Of a file with more rows, so many are encoded, evenly taken."""
_BATCH = 64
_LONGEST = 2**20
_BINS = (64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384, 32768, 65536, _LONGEST)


class Tokens:
    """Encodes rows of a file that was read, and counts tokens."""

    def __init__(self, reader: FileReader, encoder: RowEncoder, max_length: int, report: DataReport) -> None:
        self._reader, self._encoder = reader, encoder
        self._max_length = max_length
        self._report = report
        self._lengths: list[int] = []
        self._trained = self._kept = 0
        self._without: list[str] = []
        self._unsupervised = 0

    def report(self) -> TokenReport:
        """Encode, and say what was found; rows that the template refuses become bad rows of the report."""
        reader, report = self._reader, self._report
        good = reader.rows - reader.bad
        stride = max(1, -(-good // ENCODED_ROWS))
        chosen = islice(self._good_rows(), 0, None, stride)
        looked = 0
        while batch := list(islice(chosen, _BATCH)):
            if reader.clock.is_over:
                report.is_complete = False
                break
            kept = self._encoder.try_batch([sample for _, sample, _ in batch])
            for (number, _, row), one in zip(batch, kept, strict=True):
                looked += 1
                if isinstance(one, RowProblem):
                    reader.note(number, one, row)
                else:
                    self._count(number, one)
                    reader.census.take_tokens(number, row, one)
        fresh = reader.report(report.allowed_bad_percent)
        report.bad, report.bad_rows, report.reasons = fresh.bad, fresh.bad_rows, fresh.reasons
        return self._sums(is_sample=stride > 1 or looked < good)

    def _good_rows(self) -> Iterator[tuple[int, Sample, Row]]:
        for count, (number, row) in enumerate(self._reader.file.scan()):
            if count >= self._reader.rows:
                return
            if isinstance(row, RowProblem):
                continue
            try:
                sample = self._reader.shape.read(row)
            except RowProblem:
                continue
            yield number, sample, row

    def _count(self, number: int, one: Encoded) -> None:
        self._lengths.append(len(one.input_ids) + one.cut)
        self._kept += len(one.input_ids)
        if self._reader.shape.kind == "labelled":
            self._trained += 1
            return
        # The first token is never predicted, so a label there trains nothing.
        trained = sum(label != IGNORE_INDEX for label in one.labels[1:])
        self._trained += trained
        if not trained:
            self._unsupervised += 1
            if len(self._without) < PLACES:
                self._without.append(self._reader.file.place(number))

    def _sums(self, *, is_sample: bool) -> TokenReport:
        lengths = sorted(self._lengths) or [0]
        rows = len(self._lengths)
        bounds = [0, *_BINS]
        bins = [
            Bin(upto=high, rows=sum(low < length <= high for length in lengths))
            for low, high in zip(bounds, _BINS, strict=False)
            if low < lengths[-1]
        ]
        cuts = self._encoder.max_length is not None  # pre-training cuts no document
        candidates = (
            sorted({self._max_length, *(b for b in _BINS[2:9] if b <= 4 * lengths[-1])}) if cuts else []
        )
        return TokenReport(
            rows=rows,
            is_sample=is_sample,
            max_length=self._max_length,
            median=lengths[len(lengths) // 2],
            p95=lengths[int(len(lengths) * 0.95)],
            longest=lengths[-1],
            histogram=bins,
            cut_rows=sum(length > self._max_length for length in lengths) if cuts else 0,
            cut_at=[
                CutAt(max_length=at, share=sum(length > at for length in lengths) / max(1, rows))
                for at in candidates
            ],
            supervised_share=self._trained / max(1, self._kept),
            unsupervised_rows=self._unsupervised,
            unsupervised_places=self._without,
        )
