"""One JSON object from a file of a model folder, with errors that name the file. Knows nothing of its fields."""

import json
import stat
from pathlib import Path
from typing import Any

from tunesmith.errors import InvalidModel

MAX_BYTES = 256 * 1024**2
_LFS_POINTER = b"version https://git-lfs"


def read_object(path: Path, most: int = MAX_BYTES) -> dict[str, Any]:
    """The object in a JSON file.

    Args:
        path: The file.
        most: Bytes that it may have.

    Raises:
        InvalidModel: It cannot be read, is too large, is no plain file, is a Git LFS pointer, or is no JSON object.
    """
    hint = "Copy the file from the original model folder again."
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):  # a pipe would be waited for
            raise InvalidModel(f"`{path}` is no file.", hint=hint, field=path.name)
        if found.st_size > most:
            raise InvalidModel(f"`{path}` is larger than {most // 1024**2} MB.", hint=hint, field=path.name)
        raw = path.read_bytes()
    except OSError as error:
        raise InvalidModel(
            f"`{path}` cannot be read: {error.strerror}.", hint=hint, field=path.name
        ) from error
    if is_lfs_pointer(raw):
        raise lfs_pointer(path)
    try:
        value = json.loads(raw.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise InvalidModel(f"`{path}` is broken JSON: {error}.", hint=hint, field=path.name) from error
    if not isinstance(value, dict):
        raise InvalidModel(f"`{path}` holds no JSON object.", hint=hint, field=path.name)
    return value


def is_lfs_pointer(head: bytes) -> bool:
    """Whether a file's first bytes are Git LFS's stand-in for the real file."""
    return head.startswith(_LFS_POINTER)


def lfs_pointer(path: Path) -> InvalidModel:
    """The error for a file that Git LFS did not download."""
    return InvalidModel(
        f"`{path}` is a Git LFS pointer, not the file itself.",
        hint="Run `git lfs pull` in the model folder, or download the file.",
        field=path.name,
    )
