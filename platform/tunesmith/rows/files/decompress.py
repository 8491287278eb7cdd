"""The plain bytes of a data file. gzip and zstd are unpacked as they are read; nothing is written.

Knows compression, and how much a small file may become: a bomb is refused before it fills anything. Knows nothing of
rows.
"""

import gzip
import io
import zlib
from pathlib import Path
from typing import Any, BinaryIO, Literal, cast

from tunesmith.rows.problems import bad_file

Packing = Literal["gzip", "zstd"]

MAX_UNPACKED_BYTES = 256 * 1024**3
MAX_RATIO = 250
"""Text shrinks three- to tenfold; rows that are much alike a hundredfold."""
_SURELY_FINE = 256 * 1024**2
"""Below this the ratio does not matter: so little does no harm."""
_BUFFER = 1 << 18
_MAGIC: tuple[tuple[bytes, Packing], ...] = ((b"\x1f\x8b", "gzip"), (b"\x28\xb5\x2f\xfd", "zstd"))
SUFFIXES = (".gz", ".gzip", ".zst", ".zstd")


def packing_of(head: bytes) -> Packing | None:
    """How a file is packed, told by its first bytes; None when it is not."""
    return next((packing for magic, packing in _MAGIC if head.startswith(magic)), None)


def bare_name(path: Path) -> str:
    """A file's name in lower case, without the ending that a packer adds."""
    name = path.name.lower()
    return name.removesuffix(next((end for end in SUFFIXES if name.endswith(end)), ""))


def open_plain(path: Path, packing: Packing | None) -> BinaryIO:
    """A file's plain bytes, from its beginning.

    Reading raises `InvalidData` when what is packed is broken, or grows beyond all measure.
    """
    if packing is None:
        return path.open("rb", buffering=_BUFFER)
    return cast(BinaryIO, io.BufferedReader(_Unpacked(path, packing), _BUFFER))


class _Unpacked(io.RawIOBase):
    """Unpacks as it is read, and counts."""

    def __init__(self, path: Path, packing: Packing) -> None:
        self._path, self._packing = path, packing
        self._size = path.stat().st_size
        self._read = 0
        self._source: Any
        if packing == "gzip":
            self._source = gzip.open(path, "rb")  # noqa: SIM115  (closed with this reader)
        else:
            try:
                import pyarrow as pa
            except ImportError as error:
                raise bad_file(
                    path.name,
                    "zstd is unpacked by `pyarrow`, which is not installed.",
                    "`pip install pyarrow`, or unpack it with `unzstd`.",
                ) from error
            self._source = pa.CompressedInputStream(pa.OSFile(str(path)), "zstd")

    def readable(self) -> bool:
        """It is for reading."""
        return True

    def readinto(self, buffer: Any) -> int:
        """See `io.RawIOBase.readinto`."""
        try:
            data: bytes = self._source.read(len(buffer))
        except (OSError, EOFError, zlib.error) as error:
            raise bad_file(
                self._path.name,
                f"`{self._path}` cannot be unpacked ({self._packing}): {str(error)[:200].rstrip('.')}.",
                "Was it copied whole? Pack it again.",
            ) from error
        self._read += len(data)
        limit = min(MAX_UNPACKED_BYTES, max(_SURELY_FINE, self._size * MAX_RATIO))
        if self._read > limit:
            raise bad_file(
                self._path.name,
                f"`{self._path}` has {self._size} bytes and unpacks to more than {limit / 1e6:.0f} MB: nothing is read "
                "that grows so much.",
                "If that is what you want, unpack it yourself and give the plain file.",
            )
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        """Close the file."""
        if not self.closed:
            self._source.close()
        super().close()
