"""One interface to where files lie: a folder on this machine, or a prefix in an S3 bucket.

A location is a URI (`/path`, `file:///path`, `s3://bucket/prefix`). Local folders are handled by the standard
library, so that the embedded platform needs nothing else; S3 goes through pyarrow, imported on first use. Credentials
come from the environment (`AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_ENDPOINT_URL`), never from a URI.
"""

import contextlib
import errno
import os
import shutil
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, BinaryIO, ClassVar, Protocol
from urllib.parse import unquote, urlsplit

from tunesmith import storage_copy
from tunesmith.errors import InvalidInput
from tunesmith.removal import discard_file, is_free, part_of, remove_empty, remove_own
from tunesmith.storage_away import telling_away

_PIECE = 8 * 1024**2
_SENT = 4 * 1024**2
"""Of a file that is handed on as it is read."""
_STREAMS = 4
"""Files that are brought to a bucket at a time."""


Advance = Callable[[int], None]
"""Told how many bytes more are done."""


def _untold(count: int) -> None:
    """Whom nobody asks how far it is."""


def _pour(source: BinaryIO, target: Any, advance: Advance) -> None:
    """Copy a file.

    Raises:
        OSError: It was cut off meanwhile.
    """
    left = os.fstat(source.fileno()).st_size
    while piece := source.read(_PIECE):
        target.write(piece)
        left -= len(piece)
        advance(len(piece))
    if left > 0:
        raise OSError(errno.EIO, "The file was cut off while it was read")


def _counted(source: Any, start: int, count: int) -> Iterator[bytes]:
    """So many bytes of an open file.

    Raises:
        OSError: It ends before.
    """
    source.seek(start)
    while count > 0:
        piece = source.read(min(_SENT, count))
        if not piece:
            raise OSError(errno.EIO, "The file is shorter than it was")
        count -= len(piece)
        yield piece


def _copy(source: Path, target: Path, advance: Advance) -> None:
    with source.open("rb") as given, target.open("wb") as copy:
        _pour(given, copy, advance)


class Storage(Protocol):
    """Files under one location. Paths are relative, with forward slashes.

    Where it lies elsewhere and does not answer, each raises `StorageAway`.
    """

    uri: str

    def read(self, path: str) -> bytes | None:
        """A file's bytes; None when there is no such file."""

    def write(self, path: str, data: bytes, *, private: bool = False) -> None:
        """Write a file whole: a reader sees the old one, or the new one, or none.

        Args:
            path: Where.
            data: Its bytes.
            private: Whether only the user that writes it may read it, where the storage knows users of a system.
        """

    def list(self, path: str = "") -> list[str]:
        """Names directly below a folder, sorted; empty when there is no such folder."""

    def files(self, path: str = "") -> Sequence[str]:
        """Every file below a folder, at any depth, by its path from there; sorted."""

    def sizes(self, path: str = "") -> Mapping[str, int]:
        """How many bytes every file below a folder has, by its path from there; links are left out."""

    def local(self, path: str = "") -> Path | None:
        """The place itself, where it lies on this machine."""

    def put_folder(self, source: Path, path: str, advance: Advance = _untold) -> None:
        """Bring a local folder's files here; `source` may be consumed (moved) by it.

        Files of the same name are replaced, others stay. `advance` is told how many bytes more are here, where they
        have to be copied.
        """

    def get_folder(self, path: str, scratch: Path) -> Path:
        """A local folder with these files: the place itself, or a copy below `scratch`."""

    def get_file(self, path: str, target: Path) -> None:
        """Copy one file to a local path, in pieces: it may be larger than memory.

        Raises:
            FileNotFoundError: There is no such file.
        """

    def pieces(self, path: str, start: int, count: int) -> Iterator[bytes]:
        """So many bytes of a file, from a place in it, as they are read.

        Raises:
            FileNotFoundError: There is no such file.
            OSError: It ends before, or is not to be read.
        """

    def remove_file(self, path: str) -> None:
        """Remove one file; nothing to remove is no error. Whose it is, `tunesmith.removal` has asked."""

    def remove_empty(self, path: str = "") -> bool:
        """Remove a folder where no file is below it; returns whether it is gone."""


class LocalStorage:
    """A folder on this machine (or on a mounted, shared file system)."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.uri = str(root)

    def read(self, path: str) -> bytes | None:
        """See `Storage.read`."""
        try:
            return (self.root / path).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None

    def write(self, path: str, data: bytes, *, private: bool = False) -> None:
        """See `Storage.write`; on disk (fsync) before it returns."""
        target = self.root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        part = part_of(target)
        mode = 0o600 if private else 0o666
        try:
            with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            part.replace(target)
        except BaseException:
            discard_file(part)
            raise

    def list(self, path: str = "") -> list[str]:
        """See `Storage.list`."""
        folder = self.root / path
        return sorted(entry.name for entry in folder.iterdir()) if folder.is_dir() else []

    def put_folder(self, source: Path, path: str, advance: Advance = _untold) -> None:
        """See `Storage.put_folder`; one rename where both lie on the same file system."""
        target = self.root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        if is_free(target):
            try:
                source.rename(target)
                return
            except OSError:  # another file system
                pass
        for file in sorted(source.rglob("*")):
            if file.is_file():
                place = target / file.relative_to(source)
                place.parent.mkdir(parents=True, exist_ok=True)
                part = part_of(place)
                try:
                    _copy(file, part, advance)
                    part.replace(place)
                except BaseException:
                    discard_file(part)
                    raise

    def files(self, path: str = "") -> Sequence[str]:
        """See `Storage.files`."""
        root = self.root / path
        found = (file for file in root.rglob("*") if file.is_symlink() or not file.is_dir())
        return sorted(file.relative_to(root).as_posix() for file in found)

    def sizes(self, path: str = "") -> Mapping[str, int]:
        """See `Storage.sizes`."""
        root = self.root / path
        found = (file for file in root.rglob("*") if file.is_file() and not file.is_symlink())
        return {file.relative_to(root).as_posix(): file.stat().st_size for file in found}

    def local(self, path: str = "") -> Path | None:
        """See `Storage.local`."""
        return self.root / path

    def get_folder(self, path: str, scratch: Path) -> Path:
        """See `Storage.get_folder`; the place itself."""
        return self.root / path

    def get_file(self, path: str, target: Path) -> None:
        """See `Storage.get_file`."""
        shutil.copyfile(self.root / path, target)

    def pieces(self, path: str, start: int, count: int) -> Iterator[bytes]:
        """See `Storage.pieces`; a link is not followed."""
        handle = os.open(self.root / path, os.O_RDONLY | os.O_NOFOLLOW)
        with os.fdopen(handle, "rb", buffering=0) as file:
            yield from _counted(file, start, count)

    def remove_file(self, path: str) -> None:
        """See `Storage.remove_file`; a link goes itself."""
        file = self.root / path
        if file.is_symlink() or not file.is_dir():
            with contextlib.suppress(NotADirectoryError):
                file.unlink(missing_ok=True)

    def remove_empty(self, path: str = "") -> bool:
        """See `Storage.remove_empty`."""
        return remove_empty(self.root / path)


@telling_away
class S3Storage:
    """A prefix in an S3 bucket."""

    _failed_streams: ClassVar[list[Any]] = []

    def __init__(self, bucket: str, prefix: str) -> None:
        from pyarrow.fs import S3FileSystem

        endpoint = urlsplit(os.environ.get("AWS_ENDPOINT_URL", ""))
        options: dict[str, Any] = {"request_timeout": 60, "connect_timeout": 10}
        if endpoint.netloc:
            options |= {"endpoint_override": endpoint.netloc, "scheme": endpoint.scheme}
        self._fs = S3FileSystem(allow_bucket_creation=False, **options)
        self._root = f"{bucket}/{prefix}".rstrip("/")
        self.uri = f"s3://{self._root}"

    def _at(self, path: str) -> str:
        return f"{self._root}/{path}".rstrip("/")

    def read(self, path: str) -> bytes | None:
        """See `Storage.read`."""
        try:
            with self._fs.open_input_stream(self._at(path)) as stream:
                data: bytes = stream.read()
                return data
        except FileNotFoundError:
            return None

    def write(self, path: str, data: bytes, *, private: bool = False) -> None:
        """See `Storage.write`; S3 makes an object visible only when it is whole."""
        with self._new_object(self._at(path)) as stream:
            stream.write(data)

    @contextlib.contextmanager
    def _new_object(self, place: str) -> Iterator[Any]:
        """A stream whose object appears when it was written to its end, and not at all when something was raised.

        pyarrow cannot abort an upload: closing a stream, also by forgetting it, makes an object of what was written. So
        one that failed is kept open until the process ends, which costs its buffer of some megabytes.
        """
        stream = self._fs.open_output_stream(place)
        try:
            yield stream
        except BaseException:
            self._failed_streams.append(stream)
            raise
        stream.close()

    def list(self, path: str = "") -> list[str]:
        """See `Storage.list`."""
        from pyarrow.fs import FileSelector

        found = self._fs.get_file_info(FileSelector(self._at(path), allow_not_found=True))
        return sorted(info.base_name for info in found)

    def put_folder(self, source: Path, path: str, advance: Advance = _untold) -> None:
        """See `Storage.put_folder`; several files at a time, each in pieces."""
        lock = threading.Lock()

        def told(count: int) -> None:
            with lock:
                advance(count)

        def put(file: Path) -> None:
            place = self._at(f"{path}/{file.relative_to(source).as_posix()}")
            with file.open("rb") as stream, self._new_object(place) as there:
                _pour(stream, there, told)

        with ThreadPoolExecutor(_STREAMS, "put") as pool:
            list(pool.map(put, sorted(file for file in source.rglob("*") if file.is_file())))

    def copy_from(self, source: "S3Storage", path: str, target: str) -> bool:
        """Have the server copy a file of another place on it; False where it is too large for what is installed."""
        given, place = source._at(path), self._at(target)
        if (self._fs.get_file_info(given).size or 0) > storage_copy.AT_ONCE:
            return storage_copy.copied_in_parts(given, place)
        self._fs.copy_file(given, place)
        return True

    def get_folder(self, path: str, scratch: Path) -> Path:
        """See `Storage.get_folder`."""
        from pyarrow.fs import LocalFileSystem, copy_files

        target = scratch / path
        if not is_free(target):
            remove_own(target)
        target.mkdir(parents=True, exist_ok=True)
        copy_files(
            self._at(path), str(target), source_filesystem=self._fs, destination_filesystem=LocalFileSystem()
        )
        return target

    def get_file(self, path: str, target: Path) -> None:
        """See `Storage.get_file`."""
        with self._fs.open_input_stream(self._at(path)) as source, target.open("wb") as copy:
            shutil.copyfileobj(source, copy, _PIECE)

    def pieces(self, path: str, start: int, count: int) -> Iterator[bytes]:
        """See `Storage.pieces`; each piece is a request of its own."""
        with self._fs.open_input_file(self._at(path)) as stream:
            yield from _counted(stream, start, count)

    def files(self, path: str = "") -> Sequence[str]:
        """See `Storage.files`."""
        return sorted(self.sizes(path))

    def sizes(self, path: str = "") -> Mapping[str, int]:
        """See `Storage.sizes`."""
        from pyarrow.fs import FileSelector, FileType

        root = self._at(path)
        found = self._fs.get_file_info(FileSelector(root, allow_not_found=True, recursive=True))
        return {info.path[len(root) + 1 :]: info.size for info in found if info.type == FileType.File}

    def local(self, path: str = "") -> Path | None:
        """See `Storage.local`."""
        return None

    def remove_file(self, path: str) -> None:
        """See `Storage.remove_file`."""
        from pyarrow.fs import FileType

        if self._fs.get_file_info(self._at(path)).type == FileType.File:
            self._fs.delete_file(self._at(path))

    def remove_empty(self, path: str = "") -> bool:
        """See `Storage.remove_empty`; what goes are the empty objects that stand for folders."""
        from pyarrow.fs import FileType

        if self.files(path):
            return False
        if self._fs.get_file_info(self._at(path)).type == FileType.Directory:
            self._fs.delete_dir(self._at(path))
        return True


def open_storage(uri: str) -> Storage:
    """The storage that a URI names.

    Raises:
        InvalidInput: A scheme that is not supported.
    """
    parts = urlsplit(uri)
    if parts.scheme in ("", "file"):
        return LocalStorage(Path(unquote(parts.path) if parts.scheme else uri))
    if parts.scheme == "s3":
        return S3Storage(parts.netloc, parts.path.strip("/"))
    raise InvalidInput(
        f"Storage `{parts.scheme}://` is not supported.", hint="Use a folder or `s3://bucket/prefix`."
    )


def local_path(uri: str) -> Path | None:
    """The folder that a URI names on this machine; None when it lies elsewhere."""
    parts = urlsplit(uri)
    if parts.scheme == "file":
        return Path(unquote(parts.path))
    return Path(uri) if parts.scheme == "" else None
