"""A data file as token ids and labels, block by block: in this process, or in several for a large file.

The rows of a file are cut into blocks of equal size. Each of `n` processes reads the whole file, which is cheap, and
encodes every n-th block, which it writes to a pipe as flat arrays. The blocks are put together in the file's order, so
that the result is the same however many there are. Where a process fails, this one does the rest, and says what is
wrong.

`python -m tunesmith_jobs.batches.tokenize` is such a process: its order comes by standard input, as JSON.
Knows files, encoders and processes; knows nothing of training or of where tokens are kept.
"""

import fcntl
import json
import logging
import os
import random
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tunesmith.row_problem import RowProblem
from tunesmith.rows.bad_rows import BadRows
from tunesmith.rows.chat.template import ChatTemplate, template_of
from tunesmith.rows.choosing import encoder_of
from tunesmith.rows.files.decoding import Row
from tunesmith.rows.files.reading import RowFile
from tunesmith.rows.findings import Census
from tunesmith.rows.report.excerpts import beginning_of
from tunesmith.rows.shapes import Shape, shape_of
from tunesmith.rows.tokens.encode_rows import batches, encode_batch
from tunesmith.rows.tokens.encoding import RowEncoder
from tunesmith.spec.training import TrainSpec
from tunesmith_jobs.batches.rows import Bools, Flat

LARGE_FILE_BYTES = 8 * 2**20
"""From this size on, several processes are worth their start."""
_MOST_PROCESSES = 8
_PIPE_BYTES = 2**20
_log = logging.getLogger("tunesmith_jobs.batches.tokenize")


@dataclass(frozen=True)
class EncodingSource:
    """A file, and all that decides which tokens its rows become."""

    file: Path
    spec: TrainSpec
    model: Path
    tokenizer: Path | None = None
    """Another folder whose tokenizer is used instead of the model's."""
    samples: int = 0
    """Take at most so many rows, drawn by the seed; 0 takes all."""

    @cached_property
    def rows(self) -> RowFile:
        """The file, opened."""
        return RowFile(self.file)

    @cached_property
    def shape(self) -> Shape:
        """Where in a row its sample is."""
        return shape_of(self.rows, self.spec)

    @cached_property
    def template(self) -> ChatTemplate | None:
        """The chat template that its rows are written with; None where they are texts."""
        if not self.shape.is_chat:
            return None
        return template_of(self.model, tokenizer=self.tokenizer, chat_template=self.spec.chat_template)

    @cached_property
    def encoder(self) -> RowEncoder:
        """Turns what a row holds into tokens and labels."""
        return encoder_of(self.spec, self.shape, self.model, self.tokenizer)


class Block(NamedTuple):
    """What some rows of a file gave, in its order."""

    seen: int
    """Rows that were looked at."""
    cut: int
    """Rows that were longer than `max_length`."""
    dropped: int
    """Rows left out because nothing of them is trained."""
    problems: list[tuple[int, RowProblem, Any]]
    """The bad rows: number, what is wrong, and the row where it could be read."""
    numbers: list[int]
    lengths: list[int]
    classes: list[str]
    """The rows' classes, where they have any."""
    census: dict[str, Any]
    """What of the rows is not trained (`findings.Census`)."""
    flat: Flat

    def write(self, stream: Any) -> None:
        """Bring it to another process."""
        head = self._asdict() | {"flat": [len(self.flat.ids), len(self.flat.trained)]}
        head["problems"] = [
            (number, found.message, found.hint, beginning_of(row) if isinstance(row, dict) else found.excerpt)
            for number, found, row in self.problems
        ]
        stream.write(json.dumps(head).encode() + b"\n")
        stream.write(self.flat.ids.tobytes())
        stream.write(self.flat.trained.tobytes())
        stream.flush()

    @classmethod
    def read(cls, stream: Any) -> "Block | None":
        """What `write` wrote; None where nothing comes any more."""
        line = stream.readline()
        if not line:
            return None
        head = json.loads(line)
        ids, trained = head["flat"]
        head["problems"] = [
            (number, _told(text, hint, excerpt), None) for number, text, hint, excerpt in head["problems"]
        ]
        head["flat"] = Flat(
            np.frombuffer(_exactly(stream, 4 * ids), np.int32),
            np.frombuffer(_exactly(stream, trained), np.bool_),
        )
        return cls(**head)


def _told(message: str, hint: str | None, excerpt: str) -> RowProblem:
    problem = RowProblem(message, hint)
    problem.excerpt = excerpt
    return problem


class _HelperFailed(Exception):
    """A process did not do its share."""


def tokenise(
    source: EncodingSource, bad: BadRows, take: Callable[[Block], None], processes: int | None = None
) -> int:
    """Encode a file's rows.

    Args:
        source: The file.
        bad: Takes what cannot be trained on.
        take: Called with each block, in the file's order.
        processes: How many encode; None takes as many as there are processors, where the file is large.

    Returns:
        How many rows were read.

    Raises:
        InvalidData: The file or a row cannot be read, or there are more bad rows than may be left out.
    """
    seen, wanted = _draw(source, bad) if source.samples else (0, None)
    blocks = _blocks(source, wanted, _processes(source) if processes is None else processes)
    for block in blocks:
        for number, problem, row in block.problems:
            bad.note(number, problem, row)
        seen += block.seen if wanted is None else 0
        take(block)
    bad.check(seen)
    return seen


def _blocks(source: EncodingSource, wanted: Sequence[int] | None, processes: int) -> Iterator[Block]:
    done = 0
    if processes > 1:
        try:
            for block in _from_helpers(source, wanted, processes):
                yield block
                done += 1
            return
        except _HelperFailed as error:
            _log.warning("%s: going on alone", error)
    for index, batch in enumerate(batches(_chosen(source.rows, wanted))):
        if index >= done:
            yield encode(batch, source.encoder, source.shape)


def encode(batch: Sequence[tuple[int, Row | RowProblem]], encoder: RowEncoder, shape: Shape) -> Block:
    """Encode some rows."""
    ids: list[int] = []
    runs: list[tuple[int, int]] = []
    numbers: list[int] = []
    lengths: list[int] = []
    classes: list[str] = []
    problems: list[tuple[int, RowProblem, Any]] = []
    census = Census()
    cut = dropped = 0
    for (number, row), one in zip(batch, encode_batch(batch, encoder, shape), strict=True):
        if isinstance(one, RowProblem) or isinstance(row, RowProblem):
            problems.append((number, one if isinstance(one, RowProblem) else row, row))  # type: ignore[arg-type]
            continue
        census.take(number, row, one)
        cut += one.cut > 0
        length, at = len(one.input_ids), len(ids)
        if one.label is not None:
            classes.append(one.label)
            census.take_class(one.label)
        else:
            # The first token is never predicted, so a label there trains nothing.
            own = [(max(1, first), min(last, length)) for first, last in one.trained]
            own = [(at + first, at + last) for first, last in own if first < last]
            if not own:
                dropped += 1
                continue
            runs += own
        ids += one.input_ids
        numbers.append(number)
        lengths.append(length)
    trained: Bools = np.zeros(0 if classes else len(ids), np.bool_)
    for first, last in runs:
        trained[first:last] = True
    flat = Flat(np.asarray(ids, np.int32), trained)
    return Block(len(batch), cut, dropped, problems, numbers, lengths, classes, census.as_json(), flat)


def _draw(source: EncodingSource, bad: BadRows) -> tuple[int, list[int]]:
    """The numbers of a uniform sample of the good rows (reservoir sampling; Vitter 1985, algorithm R), in order.

    Where bad rows may be left out, they are told by their shape before the draw, so that the sample is full.
    """
    draw = random.Random(source.spec.seed)  # noqa: S311  (no secret is drawn)
    kept: list[int] = []
    seen = good = 0
    for number, row in source.rows.scan():
        seen += 1
        try:
            if isinstance(row, RowProblem):
                raise row
            if source.spec.allowed_bad_percent:
                source.shape.read(row)
        except RowProblem as problem:
            bad.note(number, problem, row)
            continue
        if good < source.samples:
            kept.append(number)
        elif (place := draw.randint(0, good)) < source.samples:
            kept[place] = number
        good += 1
    return seen, sorted(kept)


def _chosen(file: RowFile, wanted: Sequence[int] | None) -> Iterable[tuple[int, Row | RowProblem]]:
    if wanted is None:
        return file.scan()
    numbers = set(wanted)
    return ((number, row) for number, row in file.scan() if number in numbers)


def _processes(source: EncodingSource) -> int:
    threads = os.environ.get("OMP_NUM_THREADS", "")
    processors = int(threads) if threads.isdecimal() else len(os.sched_getaffinity(0))
    is_large = source.rows.bytes * (4 if source.rows.packing else 1) >= LARGE_FILE_BYTES
    return max(1, min(processors, _MOST_PROCESSES)) if is_large else 1


def _from_helpers(source: EncodingSource, wanted: Sequence[int] | None, processes: int) -> Iterator[Block]:
    order = {
        "file": str(source.file),
        "spec": source.spec.model_dump(mode="json"),
        "model": str(source.model),
        "tokenizer": str(source.tokenizer) if source.tokenizer else None,
        "wanted": wanted,
        "of": processes,
    }
    # `-P`: the folder that the job happens to run in must not be able to replace a module.
    command = [sys.executable, "-P", "-m", __name__]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "OMP_NUM_THREADS": "1"}
    with ExitStack() as stack:
        helpers = []
        for share in range(processes):
            try:
                helper = subprocess.Popen(
                    command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment
                )
                stack.callback(_end, helper)
                helpers.append(helper)
                assert helper.stdin is not None
                assert helper.stdout is not None
                with suppress(PermissionError):  # the user has too many large pipes
                    # A block fits into the pipe, so that a process goes on with its next one meanwhile.
                    fcntl.fcntl(helper.stdout, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
                with helper.stdin as stream:
                    stream.write(json.dumps(order | {"share": share}).encode())
            except OSError as error:
                raise _HelperFailed(f"A process that encodes did not start: {error}") from error
        index = 0
        while (block := _next(helpers[index % processes])) is not None:
            yield block
            index += 1
        # The blocks are dealt in order: where one process has no more, none has.
        if any(_next(helper) is not None or helper.wait(60) for helper in helpers):
            raise _HelperFailed("A process that encodes ended early.")


def _next(helper: "subprocess.Popen[bytes]") -> Block | None:
    try:
        return Block.read(helper.stdout)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _HelperFailed(f"A process that encodes broke off: {error!r}") from error


def _end(helper: "subprocess.Popen[bytes]") -> None:
    if helper.stdout is not None:
        helper.stdout.close()
    if helper.poll() is None:
        helper.kill()
    helper.wait()


def _exactly(stream: Any, size: int) -> bytes:
    found: bytes = stream.read(size)
    if len(found) != size:
        raise ValueError("a block is cut short")
    return found


def main() -> int:
    """One process of several: encode every n-th block of the file that standard input names."""
    order = json.loads(sys.stdin.read())
    source = EncodingSource(
        Path(order["file"]),
        TrainSpec.stored(order["spec"]),
        Path(order["model"]),
        Path(order["tokenizer"]) if order["tokenizer"] else None,
    )
    for index, batch in enumerate(batches(_chosen(source.rows, order["wanted"]))):
        if index % order["of"] == order["share"]:
            encode(batch, source.encoder, source.shape).write(sys.stdout.buffer)
    return 0


if __name__ == "__main__":
    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # one processor is this process's share
    os._exit(main())
