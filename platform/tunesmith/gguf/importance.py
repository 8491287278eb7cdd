"""How much each number of a matrix matters: an importance matrix, and the file that llama.cpp reads one from.

A column of a matrix counts as much as what it is multiplied with is large: the mean of its squares over some text, as
`llama-imatrix` takes it. Knows the file's form; knows nothing of how the squares were come by.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunesmith.errors import InvalidInput
from tunesmith.gguf.file import Content, Value, library, write_file
from tunesmith.gguf.problems import cannot
from tunesmith.gguf.tensors import Planned
from tunesmith.gguf.types import TensorType

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_ENDS = (".in_sum2", ".counts")
_NEED = (
    TensorType.IQ3_XXS,
    TensorType.IQ2_S,
    TensorType.IQ2_XS,
    TensorType.IQ2_XXS,
    TensorType.IQ1_M,
    TensorType.IQ1_S,
)
_ENDS_OF_MODEL = ("token_embd.weight", "output.weight")
"""Never in a matrix, unless asked for: the embedding is looked up, and the head gets more bits."""
_BLOCK = 256


@dataclass(frozen=True)
class Importance:
    """An importance matrix.

    Attributes:
        sums: Of each matrix, by its name in the file, the sum of what each column was multiplied with, squared: fp32,
            one number a column.
        counts: How many tokens that is the sum of.
        chunk: Tokens that were looked at at once, at most.
        chunks: How often.
        sources: What they were taken from, for who reads the file.
        is_to_come: See `to_come`.
    """

    sums: "Mapping[str, NDArray[np.float32]]"
    counts: Mapping[str, int]
    chunk: int
    chunks: int
    sources: tuple[str, ...] = field(default=())
    is_to_come: bool = False

    @classmethod
    def to_come(cls) -> "Importance":
        """One that is not computed yet: what files will take is known, and nothing can be written."""
        return cls({}, {}, 0, 0, is_to_come=True)

    def of(self, name: str, width: int, kind: TensorType) -> "NDArray[np.float32] | None":
        """How much the columns of a matrix matter; None where that is not known, and its type does not need it.

        Args:
            name: The matrix's, in the file.
            width: Its columns.
            kind: What it is to be stored as.

        Raises:
            NotConvertible: The type needs it.
        """
        import numpy as np

        found = self.sums.get(name)
        if found is not None and found.size == width:
            # As llama.cpp's quantiser divides: in fp32.
            mean: NDArray[np.float32] = found.astype(np.float32) / np.float32(self.counts[name])
            return mean
        if kind in _NEED and not self.is_to_come and name not in _ENDS_OF_MODEL:
            raise cannot(
                name,
                f"is not in the importance matrix, and {kind} needs it"
                if found is None
                else f"has {width} columns, and {found.size} in the importance matrix",
                file="importance matrix",
                hint="Let the matrix be computed from this model, or take a larger type.",
            )
        return None


def collected(
    sums: "Mapping[str, NDArray[np.float64]]",
    counts: Mapping[str, int],
    *,
    chunk: int,
    chunks: int,
    sources: tuple[str, ...] = (),
) -> Importance:
    """An importance matrix of sums. Where a block of columns was never anything but 0 all of them matter the same.

    llama.cpp's kernels make such a block 0 and say nothing of it: the model would lose what other texts need.
    """
    import numpy as np

    found = {}
    for name, given in sums.items():
        values = given.astype(np.float32)
        for begin in range(0, values.size, _BLOCK):
            block = values[begin : begin + _BLOCK]
            if not block.any():
                block[:] = counts[name]
        found[name] = values
    return Importance(found, dict(counts), chunk, chunks, sources)


def write_importance(importance: Importance, target: Path) -> None:
    """Write the file that `llama-quantize --imatrix` reads.

    Raises:
        NotOurs: Something has that name already.
        NotInstalled: `gguf` is not.
        OSError: The system does not take it.
    """
    tensors = []
    for name in sorted(importance.sums):
        values = tuple(importance.sums[name].tolist())
        tensors += [
            Planned(f"{name}.in_sum2", (len(values),), TensorType.F32, (), values=values),
            Planned(f"{name}.counts", (1,), TensorType.F32, (), values=(float(importance.counts[name]),)),
        ]
    metadata: dict[str, Value] = {
        "general.type": "imatrix",
        "imatrix.datasets": list(importance.sources) or ["unknown"],
        "imatrix.chunk_count": importance.chunks,
        "imatrix.chunk_size": importance.chunk,
    }
    write_file(target, Content("imatrix", metadata, tensors))


def read_importance(file: Path) -> Importance:
    """Read such a file, whoever wrote it.

    Raises:
        InvalidInput: It is none, or not whole.
        NotInstalled: `gguf` is not.
    """
    import numpy as np

    library()
    from gguf import GGUFReader

    try:
        reader = GGUFReader(file)
        values = {tensor.name: np.array(tensor.data, np.float32).ravel() for tensor in reader.tensors}
        said = {name: _said(reader, f"imatrix.{name}") for name in ("chunk_size", "chunk_count", "datasets")}
    except (ValueError, OSError, KeyError, IndexError) as error:
        raise _none(file, str(error)) from error
    names = [name.removesuffix(_ENDS[0]) for name in values if name.endswith(_ENDS[0])]
    if not names or said["chunk_size"] is None:
        raise _none(file, "it holds no sums of squares")
    sums, counts = {}, {}
    for name in names:
        count = values.get(f"{name}{_ENDS[1]}")
        if count is None or count.size != 1 or not np.isfinite(values[f"{name}{_ENDS[0]}"]).all():
            raise _none(file, f"`{name}` has no count, or several, or numbers that are none")
        if count[0] > 0:
            sums[name], counts[name] = values[f"{name}{_ENDS[0]}"], int(count[0])
    sources = said["datasets"]
    return Importance(
        sums,
        counts,
        int(said["chunk_size"]),
        int(said["chunk_count"] or 0),
        tuple(sources) if isinstance(sources, list) else (),
    )


def _said(reader: Any, name: str) -> Any:
    found = reader.get_field(name)
    return None if found is None else found.contents()


def _none(file: Path, why: str) -> InvalidInput:
    return InvalidInput(
        f"`{file.name}` is no importance matrix: {why}.",
        hint="Give the GGUF file that `llama-imatrix` writes.",
    )
