"""One interface to where files lie: a folder on this machine, or a prefix in an S3 bucket.

A location is a URI (`/path`, `file:///path`, `s3://bucket/prefix`). Local folders are handled by the standard
library, so that the embedded platform needs nothing else; S3 goes through pyarrow, imported on first use. Credentials
come from the environment (`AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_ENDPOINT_URL`), never from a URI.
"""

import os
import shutil
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import unquote, urlsplit

from tunesmith.errors import InvalidInput

_PIECE = 8 * 1024**2


class Storage(Protocol):
    """Files under one location. Paths are relative, with forward slashes."""

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

    def put_folder(self, source: Path, path: str) -> None:
        """Bring a local folder's files here; `source` may be consumed (moved) by it."""

    def get_folder(self, path: str, scratch: Path) -> Path:
        """A local folder with these files: the place itself, or a copy below `scratch`."""

    def get_file(self, path: str, target: Path) -> None:
        """Copy one file to a local path, in pieces: it may be larger than memory.

        Raises:
            FileNotFoundError: There is no such file.
        """

    def remove(self, path: str = "") -> None:
        """Remove a file or a folder with all it holds; nothing to remove is no error."""


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
        part = target.with_name(f".{target.name}.part-{os.getpid()}")
        part.unlink(missing_ok=True)  # left by a crash: its mode would stay
        mode = 0o600 if private else 0o666
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        part.replace(target)

    def list(self, path: str = "") -> list[str]:
        """See `Storage.list`."""
        folder = self.root / path
        return sorted(entry.name for entry in folder.iterdir()) if folder.is_dir() else []

    def put_folder(self, source: Path, path: str) -> None:
        """See `Storage.put_folder`; one rename where both lie on the same file system."""
        target = self.root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.exists():
            shutil.rmtree(target)
        try:
            source.rename(target)
        except OSError:  # another file system
            shutil.copytree(source, target)

    def get_folder(self, path: str, scratch: Path) -> Path:
        """See `Storage.get_folder`; the place itself."""
        return self.root / path

    def get_file(self, path: str, target: Path) -> None:
        """See `Storage.get_file`."""
        shutil.copyfile(self.root / path, target)

    def remove(self, path: str = "") -> None:
        """See `Storage.remove`."""
        target = self.root / path
        if target.is_dir() and not target.is_symlink():
            shutil.rmtree(target, ignore_errors=True)
        else:
            target.unlink(missing_ok=True)


class S3Storage:
    """A prefix in an S3 bucket."""

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
        with self._fs.open_output_stream(self._at(path)) as stream:
            stream.write(data)

    def list(self, path: str = "") -> list[str]:
        """See `Storage.list`."""
        from pyarrow.fs import FileSelector

        found = self._fs.get_file_info(FileSelector(self._at(path), allow_not_found=True))
        return sorted(info.base_name for info in found)

    def put_folder(self, source: Path, path: str) -> None:
        """See `Storage.put_folder`."""
        from pyarrow.fs import LocalFileSystem, copy_files

        copy_files(
            str(source), self._at(path), source_filesystem=LocalFileSystem(), destination_filesystem=self._fs
        )

    def get_folder(self, path: str, scratch: Path) -> Path:
        """See `Storage.get_folder`."""
        from pyarrow.fs import LocalFileSystem, copy_files

        target = scratch / path
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir(parents=True)
        copy_files(
            self._at(path), str(target), source_filesystem=self._fs, destination_filesystem=LocalFileSystem()
        )
        return target

    def get_file(self, path: str, target: Path) -> None:
        """See `Storage.get_file`."""
        with self._fs.open_input_stream(self._at(path)) as source, target.open("wb") as copy:
            shutil.copyfileobj(source, copy, _PIECE)

    def remove(self, path: str = "") -> None:
        """See `Storage.remove`."""
        from pyarrow.fs import FileType

        info = self._fs.get_file_info(self._at(path))
        if info.type == FileType.File:
            self._fs.delete_file(self._at(path))
        elif info.type == FileType.Directory:
            self._fs.delete_dir(self._at(path))


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
