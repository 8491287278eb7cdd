"""Fetching one large file so that what was cut off goes on: by its length, and by the sha256 of all of it.

Knows the transport and this machine's disk; knows no endpoint.
"""

import errno
import hashlib
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from tunesmith.client.transport import Transport, pause_before
from tunesmith.errors import CannotConnect, InvalidInput, TooManyRequests, Unavailable
from tunesmith.package_views import FilePartView
from tunesmith.removal import continued_file, refuse_there

_TRIES = 6
"""In a row that bring nothing."""
_PIECE = 2**22
_SPARE_BYTES = 2**24


class Download:
    """One file.

    Args:
        transport: The server.
        path: The file there.
        file: What it must be.
    """

    def __init__(self, transport: Transport, path: str, file: FilePartView) -> None:
        self._transport, self._path, self._file = transport, path, file
        self._digest: Any = hashlib.sha256()
        self._done = 0

    def into(self, target: Path, *, overwrite: bool, progress: Callable[[int, int], None]) -> int:
        """Bring it here; see `Packages.save_package_file`."""
        refuse_there(target, overwrite=overwrite)
        try:
            with continued_file(target, self._file.sha256, overwrite=overwrite) as stream:
                self._take_up(stream)
                self._require_room(target)
                self._fetch(stream, progress)
                if self._digest.hexdigest() != self._file.sha256:
                    stream.truncate(0)
                    raise Unavailable(
                        f"`{self._file.name}` did not come as it was stored.", hint="Fetch it again."
                    )
        except OSError as error:
            raise self._not_taken(target, error) from error
        return self._file.bytes

    def _take_up(self, stream: IO[bytes]) -> None:
        """Count what an earlier try brought; what is more than the file has is none of it."""
        if stream.tell() > self._file.bytes:
            stream.truncate(0)
        stream.seek(0)
        while piece := stream.read(_PIECE):
            self._digest.update(piece)
            self._done += len(piece)

    def _fetch(self, stream: IO[bytes], progress: Callable[[int, int], None]) -> None:
        tries = 0
        while self._done < self._file.bytes:
            before = self._done
            try:
                self._once(stream, progress)
            except (Unavailable, CannotConnect, TooManyRequests):
                tries = tries + 1 if self._done == before else 0
                if tries >= _TRIES:
                    raise
                stream.flush()
                time.sleep(pause_before(tries))

    def _once(self, stream: IO[bytes], progress: Callable[[int, int], None]) -> None:
        with self._transport.open_part(self._path, self._done, self._file.sha256) as (start, pieces):
            if start != self._done:
                stream.seek(start)
                stream.truncate()
                self._digest, self._done = hashlib.sha256(), start
            for piece in pieces:
                if self._done + len(piece) > self._file.bytes:
                    raise Unavailable(f"More came than `{self._file.name}` has.", hint="Fetch it again.")
                stream.write(piece)
                self._digest.update(piece)
                self._done += len(piece)
                progress(self._done, self._file.bytes)
        if self._done < self._file.bytes:
            raise Unavailable(f"`{self._file.name}` was cut off.", hint="Fetch it again: it goes on.")

    def _require_room(self, target: Path) -> None:
        """See that the disk holds the rest, before a byte of it comes."""
        free, left = shutil.disk_usage(target.absolute().parent).free, self._file.bytes - self._done
        if left + _SPARE_BYTES > free:
            raise OSError(errno.ENOSPC, f"{left / 1e9:.2f} GB are to come and {free / 1e9:.2f} GB are free")

    def _not_taken(self, target: Path, error: OSError) -> InvalidInput:
        where = target.absolute().parent
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return InvalidInput(
                f"`{where}` does not hold `{self._file.name}`: {error.strerror}.",
                hint="Free space, or name another place with `--output`; what is here already is gone on with.",
            )
        return InvalidInput(f"`{target}` cannot be written: {error.strerror}.", hint="Name another place.")
