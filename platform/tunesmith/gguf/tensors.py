"""Tensors on their way from safetensors files into a GGUF file: read in blocks of rows, an adapter added, encoded.

So a model takes a few megabytes of memory, however large it is. Knows number formats; knows no architecture.
"""

import math
from collections.abc import Iterator
from io import FileIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from tunesmith.errors import InvalidModel
from tunesmith.gguf.kernels import quantised
from tunesmith.gguf.problems import cannot
from tunesmith.gguf.types import TensorType
from tunesmith.model_folder import MAX_HEADER_BYTES, read_safetensors_header

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_BLOCK_BYTES = 8 * 2**20
"""Of a tensor in fp32 that is read at a time; at least one head's rows."""
STORED_TYPES = ("F32", "F16", "BF16")
"""The types of weights that are read."""


class Stored(NamedTuple):
    """Where a tensor lies, as its safetensors file says."""

    name: str
    file: Path
    offset: int
    """Bytes from the file's beginning."""
    dtype: str
    shape: tuple[int, ...]

    def rows(self, begin: int, count: int) -> "Stored":
        """Rows of it, as a matrix: experts lie one below another in one tensor."""
        width = self.shape[-1]
        size = 4 if self.dtype == "F32" else 2
        return self._replace(offset=self.offset + begin * width * size, shape=(count, width))


class Added(NamedTuple):
    """What an adapter adds to a matrix: `up @ down`, times a number, in fp32."""

    down: Stored
    up: Stored
    scaling: float


class Planned(NamedTuple):
    """A tensor of the file that is to be written."""

    name: str
    shape: tuple[int, ...]
    type: TensorType
    sources: tuple[Stored, ...]
    """Its rows, one source's below another's; none where `values` has its numbers."""
    heads: int = 0
    """Rows are in this many heads, each of which is put from halves into pairs; 0 leaves them as they are."""
    factor: float = 1.0
    values: tuple[float, ...] = ()
    added: Added | None = None
    importance: "NDArray[np.float32] | None" = None
    """How much each number of a row matters to what the model computes, where that is known."""
    plus: float = 0.0
    """What is added to each number."""

    @property
    def source(self) -> Stored | None:
        """Where it begins."""
        return self.sources[0] if self.sources else None

    @property
    def bytes(self) -> int:
        """What it takes in the file, without what fills it up to the next place."""
        block = self.type.block
        return math.prod(self.shape) // block.numbers * block.bytes


def stored_tensors(files: list[Path]) -> dict[str, Stored]:
    """The tensors of safetensors files, by name.

    Raises:
        InvalidModel: A file is broken, or cut off.
    """
    found = {}
    for file in files:
        header = read_safetensors_header(file)
        with file.open("rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
        assert length <= MAX_HEADER_BYTES
        for name, tensor in header.items():
            start = 8 + length + tensor.data_offsets[0]
            found[name] = Stored(name, file, start, tensor.dtype, tuple(tensor.shape))
    return found


def blocks(tensor: Planned) -> "Iterator[NDArray[Any]]":
    """The bytes of a tensor as the file has them, a few megabytes at a time.

    Raises:
        NotConvertible: A number is none, or too large for the type.
        InvalidModel: The file it is read from ends before.
    """
    import numpy as np

    if not tensor.sources:
        yield _encoded(np.array(tensor.values, np.float32), tensor)
    update = _Update(tensor.added) if tensor.added else None
    for source in tensor.sources:
        part = tensor._replace(sources=(source,))
        with source.file.open("rb", buffering=0) as stream:
            stream.seek(source.offset)
            for count in _steps(source, tensor.heads):
                numbers = _as_fp32(_read(stream, count, source), source)
                if update:
                    numbers = update.added_to(numbers)
                yield _encoded(_arranged(numbers, part), part)


class _Update:
    """What an adapter adds to a matrix, whose rows come one after another."""

    def __init__(self, added: Added) -> None:
        self._down, self._up = _whole(added.down), _whole(added.up)
        # Else the base's matrix would be said to hold what the adapter does.
        for source, numbers in ((added.down, self._down), (added.up, self._up)):
            _require_numbers(numbers, source.name, source.file.name)
        self._scaling, self._row = added.scaling, 0

    def added_to(self, numbers: "NDArray[np.float32]") -> "NDArray[np.float32]":
        """The next rows, with what is added to them."""
        import numpy as np

        rows = numbers.size // self._down.shape[1]
        found = self._up[self._row : self._row + rows] @ self._down
        self._row += rows
        found *= np.float32(self._scaling)
        found += numbers.reshape(found.shape)
        return found.ravel()


def _whole(source: Stored) -> "NDArray[np.float32]":
    with source.file.open("rb", buffering=0) as stream:
        stream.seek(source.offset)
        raw = _read(stream, math.prod(source.shape), source)
    return _as_fp32(raw, source).reshape(source.shape)


def _steps(source: Stored, heads: int) -> Iterator[int]:
    """How many numbers each block has: whole heads where their rows change places."""
    rows, width = source.shape[0], math.prod(source.shape[1:])
    unit = rows // heads if heads else 1
    step = max(1, _BLOCK_BYTES // max(1, width * 4 * unit)) * unit
    for begin in range(0, rows, step):
        yield min(step, rows - begin) * width


def _read(stream: FileIO, count: int, source: Stored) -> "NDArray[Any]":
    import numpy as np

    found = np.empty(count, np.uint32 if source.dtype == "F32" else np.uint16)
    view = memoryview(found).cast("B")  # type: ignore[arg-type]  # an array is a buffer
    done = 0
    while done < len(view):
        got = stream.readinto(view[done:])
        if not got:
            raise InvalidModel(
                f"`{source.file}` ends within `{source.name}`.",
                hint="The download or the copy broke off: copy the file again.",
                field=source.file.name,
            )
        done += got
    return found


def _as_fp32(raw: "NDArray[Any]", source: Stored) -> "NDArray[np.float32]":
    import numpy as np

    if source.dtype == "BF16":
        return (raw.astype(np.uint32) << np.uint32(16)).view(np.float32)
    if source.dtype == "F16":
        return raw.view(np.float16).astype(np.float32)
    return raw.view(np.float32)


def _arranged(numbers: "NDArray[np.float32]", tensor: Planned) -> "NDArray[np.float32]":
    """Rows as the file has them: in the order of ggml's heads, and with the factor that a matrix holds."""
    import numpy as np

    if tensor.heads:
        # ggml turns numbers that lie side by side, the library those half a head apart: within each head the rows of
        # its two halves go in turn.
        half = tensor.shape[0] // tensor.heads // 2
        numbers = numbers.reshape(-1, 2, half, math.prod(tensor.shape[1:])).swapaxes(1, 2).ravel()
    if tensor.factor != 1.0:
        numbers = numbers * np.float32(tensor.factor)
    return numbers + np.float32(tensor.plus) if tensor.plus else numbers


def _require_numbers(numbers: "NDArray[np.float32]", name: str, file: str) -> None:
    import numpy as np

    if not np.isfinite(numbers).all():
        raise cannot(
            name, "holds numbers that are none (NaN) or infinite", file=file, hint="Take other weights."
        )


def _encoded(numbers: "NDArray[np.float32]", tensor: Planned) -> "NDArray[Any]":
    import numpy as np

    name = tensor.source.name if tensor.source else tensor.name
    file = tensor.source.file.name if tensor.source else "config.json"
    _require_numbers(numbers, name, file)
    if not tensor.type.is_cast:
        return quantised(numbers, tensor.shape[-1], tensor.type, tensor.importance)
    if tensor.type is TensorType.F32:
        return numbers
    if tensor.type is TensorType.BF16:
        bits = numbers.view(np.uint32)
        rounded = (
            (bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))) >> np.uint32(16)
        ).astype(np.uint16)
        is_over = ((rounded & 0x7F80) == 0x7F80).any()
    else:
        with np.errstate(over="ignore"):
            rounded = numbers.astype(np.float16)
        is_over = np.isinf(rounded).any()
    if is_over:
        raise cannot(
            name,
            f"holds numbers that are too large for {tensor.type}",
            file=file,
            hint="Write the file as F32.",
        )
    return rounded
