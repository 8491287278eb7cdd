"""Whether a file's tensors are the model's, by their bytes: rows of every one, encoded once more from the library's.

A file of another checkpoint, two tensors that changed places, a factor that was lost and a block that is broken show
here however coarse the file's type is. Knows GGUF files and numpy; knows nothing of how they were written.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from tunesmith.gguf.importance import Importance
from tunesmith.gguf.kernels import quantised
from tunesmith.gguf.split import parts_beside
from tunesmith.gguf.types import TensorType

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_ROWS = 16
"""Rows that are encoded again at the beginning, in the middle and at the end of a tensor."""
_LEAST_SAME = 0.9
"""The share of a tensor's blocks that must be the same. Two ways to add an adapter in fp32 differ in the last bit, and
then a few numbers are rounded to another side; of another checkpoint hardly any block is the same."""
_CLOSE = 2e-5
"""Of a tensor in fp32, whose last bits differ: the largest difference as a part of its largest number."""
_FAR = 2.0
"""Times a block's square that what it stands for may be from it: 1 where it is all zeros, 4 where its sign is lost."""
_NOTHING = 1e-12
"""A square that is none: of rows without any weight."""
_SCAN_BYTES = 2**24
_FACTORS = ("rope_freqs.weight", "rope_factors_long.weight", "rope_factors_short.weight")
"""What positions' turning is divided by: no weights of the model, and compared as that."""


class Fault(NamedTuple):
    """What is wrong with a tensor."""

    tensor: str
    words: str
    words_zh: str


class Looked(NamedTuple):
    """What a look at a file's tensors found."""

    tensors: int
    same: float
    """The smallest share of the same blocks among them."""
    faults: tuple[Fault, ...]


class FileTensors:
    """A GGUF file's tensors; all of them, where it is split and the first is given."""

    def __init__(self, file: Path) -> None:
        from gguf import GGUFReader

        readers = [GGUFReader(part) for part in parts_beside(file)]
        self._reader = readers[0]
        self._tensors = {tensor.name: tensor for reader in readers for tensor in reader.tensors}

    @property
    def names(self) -> list[str]:
        """By their names in the file."""
        return list(self._tensors)

    def field(self, name: str) -> Any:
        """What the file says under a name; None where it says nothing."""
        found = self._reader.get_field(name)
        return None if found is None else found.contents()

    def whole(self, name: str) -> "NDArray[np.float32]":
        """A small tensor as numbers."""
        from gguf import quants

        tensor = self._tensors[name]
        return quants.dequantize(tensor.data, tensor.tensor_type)

    def broken(self, check: Callable[[], None]) -> list[Fault]:
        """The tensors that hold a number that is none."""
        import numpy as np
        from gguf import quants

        found = []
        for name, tensor in self._tensors.items():
            rows = tensor.data.reshape(-1, tensor.data.shape[-1])
            step = max(1, _SCAN_BYTES // max(1, rows[0].nbytes))
            for begin in range(0, len(rows), step):
                check()
                if not np.isfinite(quants.dequantize(rows[begin : begin + step], tensor.tensor_type)).all():
                    found.append(Fault(name, "holds numbers that are none (NaN)", "含有无效数值（NaN）"))
                    break
        return found

    def compared(
        self, name: str, weight: "NDArray[np.float32]", matrix: Importance | None = None
    ) -> tuple[float, Fault | None]:
        """How much of a tensor is, byte by byte, what a weight is encoded to; and what is wrong.

        Args:
            name: In the file.
            weight: In the order of the file's rows.
            matrix: What the file was quantised with.
        """
        import numpy as np

        tensor = self._tensors[name]
        if tuple(int(size) for size in reversed(tensor.shape)) != weight.shape:
            shape = [int(size) for size in reversed(tensor.shape)]
            return 0.0, Fault(name, f"is {shape} in the file", f"在文件中为 {shape}")
        kind = TensorType(tensor.tensor_type.name)
        width = weight.shape[-1]
        importance = None if matrix is None or kind.is_cast else matrix.of(name, width, kind)
        rows = weight.reshape(-1, width)
        stored = np.ascontiguousarray(tensor.data).view(np.uint8).reshape(len(rows), -1)
        starts = sorted({0, max(0, len(rows) // 2 - _ROWS // 2), max(0, len(rows) - _ROWS)})
        same = []
        for begin in starts:
            some = np.ascontiguousarray(rows[begin : begin + _ROWS])
            there = np.ascontiguousarray(stored[begin : begin + _ROWS])
            if kind is TensorType.F32:
                apart = np.abs(there.view(np.float32).reshape(some.shape) - some).max()
                same.append(float(apart <= _CLOSE * max(1e-12, float(np.abs(rows).max()))))
                continue
            block = kind.block.bytes * (1 if not kind.is_cast else _part(width))
            made = _encoded(some, width, kind, importance).reshape(-1, block)
            same.append(float((made == there.reshape(-1, block)).all(-1).mean()))
        share = min(same)
        if share < _LEAST_SAME:
            return share, Fault(
                name,
                f"is not the model's: {share:.0%} of its blocks are",
                f"与模型不符：仅 {share:.0%} 的数据块相同",
            )
        # A matrix lets a block be far off at numbers that hardly count: 1.6 was seen of IQ2_XXS.
        row = None if importance is not None else _far_row(tensor, rows, stored, max(32, kind.block.numbers))
        if row is not None:
            return share, Fault(
                name,
                f"holds in row {row} numbers that are further from the model's than nothing would be",
                f"第 {row} 行的数值与模型相差过大，比全为零更远",
            )
        return share, None


def _far_row(tensor: Any, rows: "NDArray[np.float32]", stored: "NDArray[np.uint8]", block: int) -> int | None:
    """The first row of which a block stands for something else: every row is read, for a type blurs and turns no sign.

    Args:
        tensor: The file's.
        rows: What it must be.
        stored: Its bytes, a row each.
        block: Numbers of one.
    """
    import numpy as np
    from gguf import quants

    width = rows.shape[-1]
    block = block if width % block == 0 else width
    step = max(1, _SCAN_BYTES // max(1, stored.shape[-1]))
    for begin in range(0, len(rows), step):
        right = rows[begin : begin + step].reshape(-1, width // block, block)
        some = np.ascontiguousarray(tensor.data.reshape(len(rows), -1)[begin : begin + step])
        apart = quants.dequantize(some, tensor.tensor_type).reshape(right.shape) - right
        is_far = np.square(apart).sum(-1) > _FAR * np.square(right).sum(-1) + _NOTHING
        if is_far.any():
            return begin + int(np.argwhere(is_far.any(-1))[0, 0])
    return None


def _part(width: int) -> int:
    """How many numbers count as a block of a type that has none."""
    return 32 if width % 32 == 0 else width


def _encoded(
    rows: "NDArray[np.float32]",
    width: int,
    kind: TensorType,
    importance: "NDArray[np.float32] | None",
) -> "NDArray[np.uint8]":
    import gguf
    import numpy as np

    if not kind.is_cast:
        return quantised(rows, width, kind, importance)
    found = gguf.quants.quantize(rows, gguf.GGMLQuantizationType[kind.value])
    return np.ascontiguousarray(found).view(np.uint8).ravel()


def look(
    file: FileTensors,
    weights: "Mapping[str, Callable[[], NDArray[np.float32] | None]]",
    check: Callable[[], None] = lambda: None,
    matrix: Importance | None = None,
) -> Looked:
    """Compare a file's tensors with what they must be.

    Args:
        file: The file.
        weights: What each must be, in the order of the file's rows, by its name in the file; None of one that the
            model does not have.
        check: Asked before each.
        matrix: What the file was quantised with.
    """
    faults = [
        Fault(name, "is none of the model's", "不属于该模型")
        for name in file.names
        if name not in weights and name not in _FACTORS
    ]
    least = 1.0
    for name, numbers in weights.items():
        check()
        weight = numbers()
        if weight is None:
            faults.append(Fault(name, "is none of the model's", "不属于该模型"))
            continue
        if name not in file.names:
            faults.append(Fault(name, "is not in the file", "不在文件中"))
            continue
        share, fault = file.compared(name, weight, matrix)
        least = min(least, share)
        faults += [fault] if fault else []
    return Looked(len(weights), least, tuple(faults))
