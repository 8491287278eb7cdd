"""A backup as a file: a tar whose first member says what the others are and what their bytes come to.

It holds what users wrote (parameters, conversations, hashes of keys, addresses of webhooks), and no secret of the
state folder: only its owner may read it.
"""

import contextlib
import datetime as dt
import gzip
import hashlib
import io
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Literal, cast

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tunesmith.artifacts import sha256_of
from tunesmith.errors import InvalidInput
from tunesmith.removal import new_file

_SUMMARY = "backup.json"
_LARGEST_SUMMARY = 64 * 2**20
STORED = "storage.jsonl.gz"
"""What the database knows of the storage, one entry a line."""
MLFLOW = "mlflow.db"
_LEVEL = 3
"""Of gzip: more takes twice as long for a twentieth less."""


class TableFacts(BaseModel):
    """One table of a backup."""

    name: str
    columns: list[str]
    rows: int


class UnderWay(BaseModel):
    """A task that was not over when the backup was made."""

    id: str
    name: str
    state: str
    attempt: int
    step: int | None = None


class Summary(BaseModel):
    """What a backup is. `tables` stand in the order in which their rows can be put in."""

    model_config = ConfigDict(extra="ignore")
    format: Literal[1] = 1
    tunesmith: str
    revision: str = Field(description="Of the database's schema.")
    database: Literal["sqlite", "postgresql"]
    taken_at: dt.datetime
    home: str
    storage_uri: str
    roots: list[str] = Field(
        description="Folders that tasks could read: those that were allowed, and its own."
    )
    tables: list[TableFacts]
    under_way: list[UnderWay]
    stored_entries: int
    stored_bytes: int
    sums: dict[str, str] = Field(default_factory=dict, description="The sha256 of every other member.")

    @property
    def rows(self) -> int:
        """Rows of all tables."""
        return sum(table.rows for table in self.tables)


def member_of(table: str) -> str:
    """The member that holds a table's rows."""
    return f"tables/{table}.jsonl.gz"


class Writing:
    """The members of a backup while they are made, in a folder of their own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._names: list[str] = []

    @contextlib.contextmanager
    def member(self, name: str) -> Iterator[IO[bytes]]:
        """A member's content, packed where its name says so."""
        with self.file(name).open("wb") as raw:
            if name.endswith(".gz"):
                with gzip.GzipFile("", "wb", _LEVEL, raw, mtime=0) as packed:
                    yield cast(IO[bytes], packed)
            else:
                yield raw

    def file(self, name: str) -> Path:
        """Where a member is made; it is one from now on."""
        file = self._folder / name
        file.parent.mkdir(exist_ok=True)
        self._names.append(name)
        return file

    def pack(self, summary: Summary, stream: IO[bytes]) -> None:
        """Write the archive."""
        sums = {name: sha256_of(self._folder / name) for name in self._names}
        said = summary.model_copy(update={"sums": sums}).model_dump_json(indent=1).encode()
        with tarfile.open(fileobj=stream, mode="w") as tar:
            head = tarfile.TarInfo(_SUMMARY)
            head.size, head.mode = len(said), 0o600
            tar.addfile(head, io.BytesIO(said))
            for name in self._names:
                tar.add(self._folder / name, name)


@contextlib.contextmanager
def writing(target: Path) -> Iterator[tuple[Writing, IO[bytes]]]:
    """Where a backup is made and what it becomes: a file that appears whole or not at all.

    Raises:
        NotOurs: Something has the name already.
    """
    with (
        new_file(target, private=True) as stream,
        tempfile.TemporaryDirectory(prefix=".backup-", dir=target.parent) as folder,
    ):
        yield Writing(Path(folder)), stream


class Reading:
    """A backup that is read. Members come as they were written, or not at all."""

    def __init__(self, file: Path, tar: tarfile.TarFile) -> None:
        self._file, self._tar = file, tar
        first = tar.next()
        if first is None or first.name != _SUMMARY or not first.isreg() or first.size > _LARGEST_SUMMARY:
            raise _no_backup(file, f"it does not begin with `{_SUMMARY}`")
        said = tar.extractfile(first)
        try:
            self.summary = Summary.model_validate_json(said.read() if said else b"")
        except ValidationError as error:
            raise _no_backup(file, f"its `{_SUMMARY}` is not one of this version's") from error

    def check(self) -> None:
        """See that every member has the bytes that the first one says.

        Raises:
            InvalidInput: One differs, or is not there.
        """
        for name, wanted in self.summary.sums.items():
            digest = hashlib.sha256()
            with self._raw(name) as stream:
                while piece := stream.read(2**20):
                    digest.update(piece)
            if digest.hexdigest() != wanted:
                raise _no_backup(self._file, f"`{name}` is not as it was written")

    def has(self, name: str) -> bool:
        """Whether there is such a member."""
        return name in self.summary.sums

    @contextlib.contextmanager
    def member(self, name: str) -> Iterator[IO[bytes]]:
        """A member's content, unpacked where its name says that it is packed."""
        with self._raw(name) as raw:
            if name.endswith(".gz"):
                with gzip.GzipFile(fileobj=raw, mode="rb") as unpacked:
                    yield cast(IO[bytes], unpacked)
            else:
                yield raw

    @contextlib.contextmanager
    def _raw(self, name: str) -> Iterator[IO[bytes]]:
        try:
            found = self._tar.extractfile(name)
        except KeyError:
            found = None
        if found is None:
            raise _no_backup(self._file, f"`{name}` is missing")
        with found:
            yield found


@contextlib.contextmanager
def reading(file: Path) -> Iterator[Reading]:
    """A backup, its first member read.

    Raises:
        InvalidInput: It is none, is cut off, or cannot be read.
    """
    try:
        with tarfile.open(file, "r:") as tar:
            yield Reading(file, tar)
    except (tarfile.TarError, EOFError, gzip.BadGzipFile) as error:
        raise _no_backup(file, f"{error}") from error
    except OSError as error:
        if error.filename is None or Path(error.filename) != file:
            raise
        raise _no_backup(file, f"{error.strerror}") from error


def _no_backup(file: Path, why: str) -> InvalidInput:
    return InvalidInput(
        f"`{file}` is no whole backup: {why}.", hint="`tunesmith admin backup` makes one.", field="file"
    )
