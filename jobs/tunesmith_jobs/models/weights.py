"""Weights as a safetensors file, written tensor by tensor: the same bytes that the library writes.

The library writes a file in one go and keeps the interpreter's lock meanwhile: nobody could say how far it is, or end
it. Knows torch and the file format; knows nothing of models.
"""

import contextlib
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from tunesmith_jobs.artifact_store import write_pieces

NAMES = {
    torch.float64: "F64", torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.int64: "I64",
    torch.int32: "I32", torch.int16: "I16", torch.int8: "I8", torch.uint8: "U8", torch.bool: "BOOL",
    torch.uint16: "U16", torch.uint32: "U32", torch.uint64: "U64", torch.complex64: "C64",
    torch.float8_e4m3fn: "F8_E4M3", torch.float8_e5m2: "F8_E5M2",
}  # fmt: skip
"""What the format calls torch's types."""
TYPES = (
    torch.bool, torch.uint8, torch.int8, torch.int16, torch.float16, torch.bfloat16, torch.int32, torch.float32,
    torch.float64, torch.int64,
)  # fmt: skip
"""The types of weights, in the order that the format gives them: the last ones come first in a file."""
_ORDER = {kind: number for number, kind in enumerate(TYPES)}


def bytes_of(tensor: torch.Tensor) -> memoryview:
    """A tensor's numbers as they lie in memory, on the CPU."""
    return memoryview(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())


def write_weights(
    tensors: Mapping[str, torch.Tensor],
    file: Path,
    metadata: Mapping[str, str] | None,
    advance: Callable[[int], None],
) -> None:
    """Write tensors as a safetensors file.

    Args:
        tensors: By their names; their types are among `TYPES`.
        file: Where they go.
        metadata: What the file's header says beside them.
        advance: Told how many bytes more are written; what it raises ends the writing within a tensor.
    """
    named = sorted(tensors.items(), key=lambda item: (-_ORDER[item[1].dtype], item[0]))
    entries: dict[str, Any] = {"__metadata__": dict(metadata)} if metadata else {}
    begin = 0
    for name, tensor in named:
        end = begin + tensor.nbytes
        entries[name] = {
            "dtype": NAMES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [begin, end],
        }
        begin = end
    text = json.dumps(entries, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)

    def pieces() -> Iterator[bytes | memoryview]:
        yield len(text).to_bytes(8, "little") + text
        for _, tensor in named:
            yield bytes_of(tensor)  # one at a time: what lies on a GPU is copied for it

    write_pieces(file, pieces(), advance)


@contextlib.contextmanager
def written_in_pieces(advance: Callable[[int], None] = lambda count: None) -> Iterator[None]:
    """Let `save_pretrained` of transformers write its files so, while the context lasts.

    Args:
        advance: As in `write_weights`.
    """
    from transformers import modeling_utils

    library = modeling_utils.safe_save_file

    def save(
        tensors: Mapping[str, torch.Tensor], filename: str, metadata: Mapping[str, str] | None = None
    ) -> None:
        if all(tensor.dtype in _ORDER and tensor.layout == torch.strided for tensor in tensors.values()):
            write_weights(tensors, Path(filename), metadata, advance)
        else:
            library(tensors, filename, metadata=metadata)

    modeling_utils.safe_save_file = save
    try:
        yield
    finally:
        modeling_utils.safe_save_file = library
