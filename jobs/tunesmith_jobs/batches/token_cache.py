"""Encoded files kept on disk, so that the next task on the same rows starts at once.

An entry is named by all that decides its tokens: the file's bytes, the tokenizer's and the model's files, the template,
the parameters that matter, and the code that encodes. It is written in a folder beside its place and renamed; a lock
lets one process write while others wait for it, and then read. What cannot be read back whole is made anew. When the
cache is full, what was used longest ago goes; who still reads it keeps it, for a mapped file outlives its name.

Knows folders, locks and names; knows nothing of text or training.
"""

import datetime as dt
import fcntl
import hashlib
import json
import logging
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from importlib import metadata, resources
from pathlib import Path
from typing import Any, Literal, NamedTuple

from tunesmith.errors import NotOurs
from tunesmith.model_folder import TOKENIZER_FILES
from tunesmith.removal import claim, discard, discard_file, owner_of, remove_own
from tunesmith.spec.parameter import names_with
from tunesmith.spec.roles import Role
from tunesmith.spec.training import TrainSpec
from tunesmith_jobs.batches.encoded import FILES, HEAD, Loaded, load_rows, read_entry, with_classes
from tunesmith_jobs.batches.tokenize import EncodingSource

OWNER = "token-cache"
LIMIT_BYTES = 20 * 10**9
FOLDER_VARIABLE = "TUNESMITH_TOKEN_CACHE"
"""Another folder than `tokens` beside the tasks' work folders; empty turns the cache off."""
LIMIT_VARIABLE = "TUNESMITH_TOKEN_CACHE_GB"
_FORMAT = 1
_ENTRY = re.compile(r"[0-9a-f]{64}")
_BESIDE = re.compile(r"[0-9a-f]{64}\.lock|[0-9a-f]{32}\.digest")
"""What the cache calls its entries, and what lies beside them: whatever has another name is left alone."""
_POLL_SECONDS = 0.2
_SETTLED_NS = 3 * 10**9
"""A file that changed so lately may change again within the resolution of its clock."""
_FORGOTTEN_SECONDS = 30 * 86_400
_CHUNK = 2**20
_FREE_BYTES = 2**30
_MODEL_FILES = (*TOKENIZER_FILES, "config.json", "generation_config.json")
_PARAMETERS = frozenset(names_with(TrainSpec, Role.TEXT, Role.ROWS, Role.LENGTH, Role.TOKENIZER)) - frozenset(
    names_with(TrainSpec, Role.KEYED_BY_CONTENT)
)
"""What decides a row's tokens by its value. What only names something (a column, a template, a tokenizer) is in the key
by what it names: the shape, the template's and the tokenizer's bytes."""
_CODE = ("rows.py", "encoded.py", "tokenize.py", "token_cache.py")
"""What of this package encodes, beside all of `tunesmith.rows`."""

Use = Literal["used", "filled", "repaired", "off"]
"""Whether a file's tokens came from the cache, went into it, took the place of a damaged entry, or passed it by."""
Said = Callable[[int, int | None], None]
"""Takes how many rows were read so far, and of how many, where that is known."""

_log = logging.getLogger("tunesmith_jobs.batches.token_cache")


class Cached(NamedTuple):
    """A file's rows, and what the cache had to do with it."""

    loaded: Loaded
    use: Use


class TokenCache:
    """A folder of encoded files.

    Args:
        folder: Where it lies; None keeps nothing.
        limit_bytes: How large it may grow.
    """

    def __init__(self, folder: Path | None, limit_bytes: int = LIMIT_BYTES) -> None:
        self._folder, self._limit = folder, limit_bytes

    @classmethod
    def at(cls, folder: Path | None) -> "TokenCache":
        """The cache in a folder, unless the environment says another one, or none."""
        if folder is not None and (named := os.environ.get(FOLDER_VARIABLE)) is not None:
            folder = Path(named) if named else None
        limit = float(os.environ.get(LIMIT_VARIABLE) or LIMIT_BYTES / 10**9)
        return cls(folder, int(limit * 10**9))

    def load(self, source: EncodingSource, said: Said, known: Sequence[str] | None = None) -> Cached:
        """A file's rows: from the cache, else encoded and kept there.

        Args:
            source: The file.
            said: Told how far it is; what it raises ends the work.
            known: The classes, where another file gave them.

        Raises:
            InvalidData: As `load_rows`.
        """
        if self._folder is not None:
            try:
                return self._load(self._folder, source, said, known)
            except OSError as error:
                _log.warning("the token cache `%s` cannot be used: %s", self._folder, error)
        total = _lines(source)
        return Cached(load_rows(source, None, lambda rows: said(rows, total), known), "off")

    def _load(self, folder: Path, source: EncodingSource, said: Said, known: Sequence[str] | None) -> Cached:
        folder.mkdir(parents=True, exist_ok=True)
        sha256, lines = self._digest(folder, source)
        place = folder / key_of(source, sha256)
        name = source.file.name
        if (found := _read(place)) is not None:
            return Cached(with_classes(found, known, name), "used")
        with _locked(place.with_suffix(".lock"), lambda: said(0, None)):
            if (found := _read(place)) is not None:
                return Cached(with_classes(found, known, name), "used")
            is_damaged = place.exists()
            if is_damaged:
                _log.warning("the token cache's `%s` is damaged: encoding anew", place.name)
                _remove(place)
            part = place.with_suffix(".part")
            _remove(part)  # of a process that ended while it wrote
            if shutil.disk_usage(folder).free < 3 * source.rows.bytes + _FREE_BYTES:
                raise OSError("the disk is nearly full")
            claim(part, OWNER)
            try:
                load_rows(source, part, lambda rows: said(rows, lines))
                part.replace(place)
            finally:
                discard(part, OWNER)
            self._make_room(folder, place)
            return Cached(
                with_classes(read_entry(place), known, name), "repaired" if is_damaged else "filled"
            )

    def _digest(self, folder: Path, source: EncodingSource) -> tuple[str, int | None]:
        """The sha256 of a file's bytes and its lines, remembered while nothing about the file has changed."""
        stat = source.file.stat()
        marks = [stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino, stat.st_dev]
        path = os.path.realpath(source.file)
        memo = folder / f"{hashlib.sha256(path.encode()).hexdigest()[:32]}.digest"
        try:
            kept = json.loads(memo.read_bytes())
            if kept["marks"] == marks:
                os.utime(memo)
                return str(kept["sha256"]), int(kept["lines"]) if kept["lines"] is not None else None
        except (OSError, ValueError, KeyError, TypeError):
            pass
        digest, lines = hashlib.sha256(), 0
        with source.file.open("rb") as stream:
            while chunk := stream.read(_CHUNK):
                digest.update(chunk)
                lines += chunk.count(b"\n")
        counts = source.rows.format in ("jsonl", "text") and not source.rows.packing
        found = digest.hexdigest(), lines if counts else None
        if time.time_ns() - max(stat.st_mtime_ns, stat.st_ctime_ns) > _SETTLED_NS:
            part = memo.with_suffix(f".{os.getpid()}.part")
            part.write_text(json.dumps({"marks": marks, "sha256": found[0], "lines": found[1]}))
            part.replace(memo)
        return found

    def _make_room(self, folder: Path, keep: Path) -> None:
        """Remove what was used longest ago until the rest is within the limit."""
        entries = []
        for entry in folder.iterdir():
            try:
                if _ENTRY.fullmatch(entry.name) and not entry.is_symlink():
                    size = sum(file.stat().st_size for file in entry.iterdir())
                    entries.append(((entry / HEAD).stat().st_mtime, size, entry))
            except OSError:
                continue  # another process writes or removes it
        for file in folder.iterdir():
            if _BESIDE.fullmatch(file.name) and time.time() - file.stat().st_mtime > _FORGOTTEN_SECONDS:
                discard_file(file)
        left = sum(size for _, size, _ in entries)
        for _, size, entry in sorted(entries):
            if left <= self._limit:
                return
            if entry != keep:
                try:
                    _remove(entry)
                except OSError as error:
                    _log.warning("the token cache's `%s` is left: %s", entry.name, error)
                    continue
                discard_file(entry.with_suffix(".lock"))
                left -= size


def key_of(source: EncodingSource, sha256: str) -> str:
    """The name of a file's entry.

    Args:
        source: The file.
        sha256: Of its bytes.
    """
    spec = source.spec
    template = None
    if (chosen := source.template) is not None:
        # A template may write the day.
        day = dt.datetime.now().date().isoformat() if "strftime_now" in chosen.source else None
        template = [chosen.sha256, chosen.special_tokens, day]
    folders = [source.model, source.tokenizer or source.model]
    parts: list[Any] = [
        _FORMAT,
        _code(),
        [metadata.version(name) for name in ("tokenizers", "jinja2")],
        [sha256, source.rows.format, source.rows.packing, source.file.name],
        asdict(source.shape),
        template,
        {name: getattr(spec, name) for name in _PARAMETERS},
        [source.samples, spec.seed if source.samples else None],
        [{name: _sum(folder / name) for name in _MODEL_FILES} for folder in folders],
    ]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _remove(entry: Path) -> None:
    """Remove an entry, or what is left of one.

    Raises:
        OSError: It is not one that we made.
    """
    if os.path.lexists(entry) and owner_of(entry) is None and _is_old_entry(entry):
        claim(entry, OWNER, is_proven=True)
    try:
        remove_own(entry, OWNER)
    except NotOurs as error:
        raise OSError(error.message) from None


def _is_old_entry(entry: Path) -> bool:
    """Whether a folder is an entry from before entries were marked: it holds an entry's files and nothing else."""
    if entry.is_symlink() or not entry.is_dir():
        return False
    return {file.name for file in entry.iterdir()} <= FILES


def _code() -> str:
    """The sha256 of the code that encodes: what another one made is not trusted to be the same."""
    digest = hashlib.sha256()
    of_rows = Path(str(resources.files("tunesmith.rows"))).rglob("*.py")
    for file in (*sorted(of_rows), *(Path(__file__).parent / name for name in _CODE)):
        digest.update(file.read_bytes())
    return digest.hexdigest()


def _sum(file: Path) -> str | None:
    return hashlib.sha256(file.read_bytes()).hexdigest() if file.is_file() else None


def _read(place: Path) -> Loaded | None:
    """An entry; None where there is none that is whole."""
    try:
        found = read_entry(place)
        os.utime(place / HEAD)
    except (OSError, ValueError):
        return None
    return found


def _lines(source: EncodingSource) -> int | None:
    if source.rows.format not in ("jsonl", "text") or source.rows.packing:
        return None
    with source.file.open("rb") as stream:
        return sum(chunk.count(b"\n") for chunk in iter(lambda: stream.read(_CHUNK), b""))


@contextmanager
def _locked(file: Path, wait: Callable[[], None]) -> Iterator[None]:
    """Hold a lock; `wait` is called now and then while another process holds it."""
    while True:
        with file.open("a") as stream:
            while True:
                try:
                    fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    wait()
                    time.sleep(_POLL_SECONDS)
            # It may have been removed with its entry while we waited: then others take a new one.
            if file.exists() and os.fstat(stream.fileno()).st_ino == file.stat().st_ino:
                yield
                return
