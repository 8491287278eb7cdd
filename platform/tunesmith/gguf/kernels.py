"""ggml's own quantising of rows: the kernels of the llama.cpp that answers from the file, called by ctypes.

So a file's blocks are those of llama.cpp's quantiser, by construction; `platform/decisions/` says what they were
compared with. Knows the wheel `xllamacpp`, which exports them; loads it where a quantised file is written.
"""

import ctypes
import functools
import os
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunesmith.errors import NotInstalled
from tunesmith.gguf.types import TensorType

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_PACKAGE = "xllamacpp"
_NEED_IMPORTANCE = (TensorType.IQ2_XXS, TensorType.IQ2_XS, TensorType.IQ1_S)
"""Types whose kernels end the process where nothing says how much a number matters."""


def require_kernels() -> None:
    """See that the kernels are there, before anything is written.

    Raises:
        NotInstalled: They are not.
    """
    _kernels()


def quantised(
    numbers: "NDArray[np.float32]",
    width: int,
    kind: TensorType,
    importance: "NDArray[np.float32] | None" = None,
) -> "NDArray[np.uint8]":
    """Rows as their blocks.

    Args:
        numbers: Whole rows, one after another; finite.
        width: Numbers of a row; a multiple of the type's block.
        kind: The type.
        importance: How much each number of a row matters, `width` of them; all the same where None.

    Returns:
        The blocks' bytes, one after another.

    Raises:
        NotInstalled: The kernels are not there.
    """
    import numpy as np

    block = kind.block
    assert not kind.is_cast
    assert width % block.numbers == 0
    assert numbers.size % width == 0
    given = np.ascontiguousarray(numbers, np.float32).reshape(-1, width)
    made = np.empty((len(given), width // block.numbers * block.bytes), np.uint8)
    matters = None
    if importance is not None:
        matters = np.ascontiguousarray(importance, np.float32)
        assert matters.size == width
    assert matters is not None or kind not in _NEED_IMPORTANCE, kind
    number, kernels = _number(kind), _kernels()

    def some(rows: slice) -> None:
        part, out = given[rows], made[rows]
        written = kernels.ggml_quantize_chunk(
            number,
            part.ctypes.data,
            out.ctypes.data,
            0,
            len(part),
            width,
            None if matters is None else matters.ctypes.data,
        )
        assert written == out.nbytes

    # Rows are quantised each by itself, and the kernel lets other threads run.
    step = max(1, -(-len(given) // _threads()))
    parts = [slice(begin, begin + step) for begin in range(0, len(given), step)]
    if len(parts) == 1:
        some(parts[0])
    else:
        list(_pool().map(some, parts))
    return made.ravel()


def _threads() -> int:
    """As many as this process may compute with: what is reserved for a job is said in the environment."""
    said = os.environ.get("OMP_NUM_THREADS", "")
    return max(1, int(said)) if said.isdecimal() else 1


@functools.cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(_threads(), "quantising")


@functools.cache
def _number(kind: TensorType) -> int:
    """ggml's number of a type, for which its tables are made."""
    import gguf

    number = int(gguf.GGMLQuantizationType[kind.value])
    _kernels().ggml_quantize_init(number)
    return number


@functools.cache
def _kernels() -> Any:
    spec = find_spec(_PACKAGE)
    files = list(Path(spec.origin).parent.glob("*.so")) if spec and spec.origin else []
    if not files:
        raise NotInstalled(
            "The package `xllamacpp`, which holds llama.cpp, is not installed: quantised files are made with it.",
            hint='`pip install "tunesmith[llama-cpp]"`, or write the file as F16.',
        )
    found = ctypes.CDLL(str(files[0]))
    found.ggml_quantize_init.argtypes = [ctypes.c_int]
    found.ggml_quantize_init.restype = None
    found.ggml_quantize_chunk.restype = ctypes.c_size_t
    found.ggml_quantize_chunk.argtypes = [
        ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64, ctypes.c_int64, ctypes.c_void_p,
    ]  # fmt: skip
    return found
