"""A GGUF file on the disk: written beside its place, brought to the disk, and then given its name.

So a file under that name is whole, whenever the power went. Knows the format through `gguf`'s own writer; knows nothing
of models.
"""

import contextlib
import os
import secrets
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from tunesmith.errors import NotInstalled, NotOurs
from tunesmith.gguf.tensors import Planned, blocks
from tunesmith.spec.base import Notice

Value = bool | int | float | str | list[int] | list[float] | list[str]
"""Of the file's metadata. An `int` is 32 bits without a sign, in a list with one; a `float` is 32 bits."""


class Progress(Protocol):
    """Told of every few megabytes; what it raises ends the writing, and nothing is left of the file."""

    def __call__(self, tensor: str, done: int, total: int) -> None:
        """Hear how far it is.

        Args:
            tensor: The one that was just worked on, by its name in the file.
            done: Bytes of tensors that are written.
            total: Bytes of all tensors.
        """


class Written(NamedTuple):
    """A file that was written, whole and on the disk."""

    path: Path
    bytes: int
    tensors: int
    notices: tuple[Notice, ...]
    """What it says otherwise than the folder it was made from."""


def write_file(
    target: Path,
    architecture: str,
    metadata: Mapping[str, Value],
    tensors: Sequence[Planned],
    notices: Sequence[Notice] = (),
    progress: Progress | None = None,
) -> Written:
    """Write a GGUF file.

    Args:
        target: Where it goes; its folder is there, and it is not.
        architecture: llama.cpp's word.
        metadata: Everything else that the file says.
        tensors: In their order.
        notices: Handed on.
        progress: Told how far it is.

    Raises:
        NotOurs: Something has that name already.
        NotInstalled: `gguf` is not.
        OSError: The system does not take it: a full disk, a missing folder.
    """
    refuse_taken(target)
    part = target.with_name(f".{target.name}.{secrets.token_hex(6)}.part")
    total, done = sum(tensor.bytes for tensor in tensors), 0
    with (
        _removed_unless_whole(part),
        contextlib.closing(_opened(part, architecture, metadata, tensors)) as writer,
    ):
        stream = writer.fout[0]
        for tensor in tensors:
            writer.write_padding(stream, stream.tell())
            for block in blocks(tensor):
                stream.write(block)
                done += block.nbytes
                if progress:
                    progress(tensor.name, done, total)
        writer.write_padding(stream, stream.tell())
        stream.flush()
        os.fsync(stream.fileno())
        size = stream.tell()
        refuse_taken(target)
        part.replace(target)
        _sync_folder(target.parent)
    return Written(target, size, len(tensors), tuple(notices))


def refuse_taken(target: Path) -> None:
    """Refuse a place where something lies: it may be anybody's.

    Raises:
        NotOurs: Something has that name.
    """
    if os.path.lexists(target):
        raise NotOurs(
            f"`{target}` is there already: it is left as it is.", hint="Give another name, or move it away."
        )


def _opened(part: Path, architecture: str, metadata: Mapping[str, Value], tensors: Sequence[Planned]) -> Any:
    """The library's writer, with everything written that comes before the tensors."""
    gguf = library()
    writer = gguf.GGUFWriter(part, architecture)
    try:
        for key, value in metadata.items():
            writer.add_key_value(key, value, _type_of(value))
        for tensor in tensors:
            kind = gguf.GGMLQuantizationType[tensor.type]
            writer.add_tensor_info(tensor.name, tensor.shape, None, tensor.bytes, raw_dtype=kind)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
    except BaseException:
        writer.close()
        raise
    return writer


def _type_of(value: Value) -> Any:
    kinds = library().GGUFValueType
    if isinstance(value, bool):
        return kinds.BOOL
    if isinstance(value, int):
        return kinds.UINT32
    if isinstance(value, float):
        return kinds.FLOAT32
    return kinds.STRING if isinstance(value, str) else kinds.ARRAY


def library() -> Any:
    """The package `gguf`.

    Raises:
        NotInstalled: It is not there.
    """
    try:
        import gguf
    except ImportError as error:
        raise NotInstalled(
            "The package `gguf` is not installed.", hint='`pip install "tunesmith[gguf]"`.'
        ) from error
    return gguf


@contextlib.contextmanager
def _removed_unless_whole(part: Path) -> Iterator[None]:
    """Leave nothing of a file that was not given its name: this call made it, under a name that nobody else has."""
    try:
        yield
    finally:
        part.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
