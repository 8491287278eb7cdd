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
from tunesmith.gguf.split import Part, divided
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
    """The first of its files, by which llama.cpp opens it."""
    bytes: int
    """Of all its files."""
    tensors: int
    notices: tuple[Notice, ...]
    """What it says otherwise than the folder it was made from."""
    parts: tuple[Path, ...] = ()
    """All its files; one, where it is not split."""


def write_file(
    target: Path,
    content: "Content",
    notices: Sequence[Notice] = (),
    progress: Progress | None = None,
    split_bytes: int | None = None,
) -> Written:
    """Write a GGUF file, or the files of a split: all of them or none, the first one's name given last.

    Args:
        target: Where it goes; its folder is there, and it is not.
        content: What it holds.
        notices: Handed on.
        progress: Told how far it is.
        split_bytes: What a file may have; all is in one when None.

    Raises:
        NotOurs: Something has that name already.
        InvalidInput: It would be too many files.
        NotInstalled: `gguf` is not.
        OSError: The system does not take it: a full disk, a missing folder.
    """
    parts = divided(target, content.architecture, content.metadata, content.tensors, split_bytes)
    token, size = secrets.token_hex(6), 0
    told = _Told(progress, sum(tensor.bytes for tensor in content.tensors))
    with contextlib.ExitStack() as left:
        staged = []
        for number, part in enumerate(parts):
            refuse_taken(part.path)
            stage = part.path.with_name(f".{part.path.name}.{token}.part")
            left.enter_context(_removed_unless_whole(stage))
            size += _write_part(stage, content, number, parts, told)
            staged.append((stage, part.path))
        named = []
        try:
            for stage, path in reversed(staged):
                refuse_taken(path)
                stage.replace(path)
                named.append(path)
        except BaseException:
            for path in named:
                path.unlink(missing_ok=True)
            raise
        _sync_folder(target.parent)
    paths = tuple(part.path for part in parts)
    return Written(paths[0], size, len(content.tensors), tuple(notices), paths)


class Content(NamedTuple):
    """What a file holds."""

    architecture: str
    """llama.cpp's word."""
    metadata: Mapping[str, Value]
    """Everything else that it says."""
    tensors: Sequence[Planned]
    """In their order."""


class _Told:
    """Counts the bytes of tensors over all files."""

    def __init__(self, progress: Progress | None, total: int) -> None:
        self._progress, self._total, self._done = progress, total, 0

    def more(self, tensor: str, count: int) -> None:
        self._done += count
        if self._progress:
            self._progress(tensor, self._done, self._total)


def _write_part(stage: Path, content: Content, number: int, parts: Sequence[Part], told: _Told) -> int:
    """Write one file and bring it to the disk; returns its bytes."""
    tensors = parts[number].tensors
    with contextlib.closing(_opened(stage, content, number, parts)) as writer:
        stream = writer.fout[0]
        for tensor in tensors:
            writer.write_padding(stream, stream.tell())
            for block in blocks(tensor):
                stream.write(block)
                told.more(tensor.name, block.nbytes)
        writer.write_padding(stream, stream.tell())
        stream.flush()
        os.fsync(stream.fileno())
        return int(stream.tell())


def refuse_taken(target: Path) -> None:
    """Refuse a place where something lies: it may be anybody's.

    Raises:
        NotOurs: Something has that name.
    """
    if os.path.lexists(target):
        raise NotOurs(
            f"`{target}` is there already: it is left as it is.", hint="Give another name, or move it away."
        )


def _opened(stage: Path, content: Content, number: int, parts: Sequence[Part]) -> Any:
    """The library's writer, with everything written that comes before the tensors."""
    gguf = library()
    writer = gguf.GGUFWriter(stage, content.architecture)
    try:
        if number:
            writer.kv_data[0].clear()  # the first file alone says what the model is
        for key, value in content.metadata.items() if not number else ():
            writer.add_key_value(key, value, _type_of(value))
        if len(parts) > 1:
            writer.add_uint16("split.no", number)
            writer.add_uint16("split.count", len(parts))
            writer.add_int32("split.tensors.count", len(content.tensors))
        for tensor in parts[number].tensors:
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
