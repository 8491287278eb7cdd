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
_WORST = 8
"""Rows of a tensor that are encoded again because their blocks are the furthest from the model's: what a type blurs at
most is there, and what is wrong is further off. A block of zeros is off by its own square, one of another place by
twice that, one whose sign is lost by four times."""
_FURTHER = 1.5
"""Times what a row is off that is encoded again: by the last bit of a sum a block may be rounded otherwise."""
_SPARE_SHARE = 0.02
"""Of a block's square, besides: where hardly anything is off."""
_NOTHING = 1e-12
"""A square that is none: of rows without any weight."""
_SCAN_NUMBERS = 2**22
"""That are looked at at once: some copies of them, in fp32, are all the memory that takes."""
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
            step = max(1, _SCAN_NUMBERS // max(1, int(tensor.shape[0])))
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
        off, square = _off_by(tensor, rows, stored, max(32, kind.block.numbers))
        worst = np.sort(np.argsort((off / (square + _NOTHING)).max(-1))[-_WORST:])
        there = np.ascontiguousarray(stored[worst])
        again = _encoded(np.ascontiguousarray(rows[worst]), width, kind, importance).reshape(there.shape)
        made = np.square(_numbers(again, tensor) - rows[worst]).reshape(*off[worst].shape, -1).sum(-1)
        is_far = off[worst] > _FURTHER * made + _SPARE_SHARE * square[worst] + _NOTHING
        if is_far.any():
            row = int(worst[np.argwhere(is_far.any(-1))[0, 0]])
            return share, Fault(
                name,
                f"holds in row {row} numbers that are further from the model's than this type has to be",
                f"第 {row} 行的数值与模型相差过大，超出此类型应有的误差",
            )
        return share, None


def _off_by(
    tensor: Any, rows: "NDArray[np.float32]", stored: "NDArray[np.uint8]", block: int
) -> "tuple[NDArray[np.float32], NDArray[np.float32]]":
    """How far each block of every row is from the model's, and how large it is there: squares (rows x blocks).

    Args:
        tensor: The file's.
        rows: What it must be.
        stored: Its bytes, a row each.
        block: Numbers of one.
    """
    import numpy as np

    width = rows.shape[-1]
    block = block if width % block == 0 else width
    step = max(1, _SCAN_NUMBERS // width)
    found = []
    for begin in range(0, len(rows), step):
        right = rows[begin : begin + step]
        apart = _numbers(np.ascontiguousarray(stored[begin : begin + step]), tensor) - right
        found.append(
            [np.square(one).reshape(len(right), width // block, block).sum(-1) for one in (apart, right)]
        )
    off, square = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return off, square


def _numbers(raw: "NDArray[np.uint8]", tensor: Any) -> "NDArray[np.float32]":
    """What rows of a tensor's bytes stand for (rows x width)."""
    from gguf import quants

    return quants.dequantize(raw.view(tensor.data.dtype), tensor.tensor_type)


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
