"""Answers that were computed before, kept on disk by all that decides them: nothing is computed twice.

A line of JSON is an answer; each candidate and way of asking has a file. A line is written whole by one write, and one
that a crash cut off is passed over. Knows nothing of models.
"""

import json
import logging
import os
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Generic, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from tunesmith.removal import claim, discard_file

OWNER = "answers"
LIMIT_BYTES = 2 * 10**9
"""When all files together are larger, those that were used longest ago go."""
_FORGOTTEN_SECONDS = 3600.0
_log = logging.getLogger("tunesmith_jobs.evaluate.answers")


class Line(BaseModel):
    """What a line of a file holds."""

    model_config = ConfigDict(extra="ignore")
    key: str


LineT = TypeVar("LineT", bound=Line)


class Kept(Generic[LineT]):
    """What was found before, by keys; a file of its own.

    Args:
        folder: The cache.
        name: Of the file, without its ending.
        kind: Of its lines.
    """

    def __init__(self, folder: Path, name: str, kind: type[LineT]) -> None:
        self._file = folder / f"{name}.jsonl"
        self._kind = kind
        self._known: dict[str, LineT] = {}
        try:
            claim(folder, OWNER)
        except OSError as error:  # no cache costs computing, not the evaluation
            _log.warning("answers are not kept: %s", error)
        self._read()

    @property
    def known(self) -> dict[str, LineT]:
        """They, by their keys."""
        return self._known

    def add(self, found: Iterable[LineT]) -> None:
        """Keep more. One that cannot be written costs its computing the next time, and nothing now."""
        lines = []
        for one in found:
            self._known[one.key] = one
            lines.append(one.model_dump_json())
        if not lines:
            return
        data = ("\n" + "\n".join(lines) + "\n").encode()
        try:
            with self._file.open("ab", buffering=0) as file:
                file.write(data)
        except OSError as error:
            _log.warning("answers are not kept: %s", error)

    def _read(self) -> None:
        try:
            data = self._file.read_bytes()
            os.utime(self._file)  # what was used lately stays
        except OSError:
            return
        for line in data.splitlines():
            try:
                one = self._kind.model_validate_json(line)
            except (ValidationError, ValueError):
                continue
            self._known[one.key] = one


class Known(Line):
    """An answer as it is kept."""

    text: str
    tokens: list[int]
    ended: bool
    nll: float | None = None
    reference_tokens: int = 0


class Answers(Kept[Known]):
    """The answers of one candidate, asked in one way.

    Args:
        folder: The cache.
        name: What tells the candidate and the way, in hexadecimal digits.
    """

    def __init__(self, folder: Path, name: str) -> None:
        super().__init__(folder, name, Known)


def make_room(folder: Path, limit: int = LIMIT_BYTES) -> None:
    """Remove the files that were used longest ago, until the rest fits; none of the last hour's."""
    try:
        files = sorted((file.stat().st_mtime, file.stat().st_size, file) for file in folder.glob("*.json*"))
    except OSError:
        return
    total = sum(size for _, size, _ in files)
    for used_at, size, file in files:
        if total <= limit or time.time() - used_at < _FORGOTTEN_SECONDS:
            return
        discard_file(file)
        total -= size


def as_json(answers: Iterable[Known]) -> str:
    """Answers as they go from a worker to the driver."""
    return json.dumps([answer.model_dump() for answer in answers])


def from_json(text: str) -> list[Known]:
    """See `as_json`."""
    return [Known.model_validate(one) for one in json.loads(text)]
