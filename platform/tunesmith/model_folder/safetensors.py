"""The header of a safetensors file: which tensors it names, checked against its size. Reads no weights."""

import json
import math
import stat
from pathlib import Path

from pydantic import BaseModel, Field

from tunesmith.model_folder.problems import bad
from tunesmith.rows.files.json_file import is_lfs_pointer, lfs_pointer

MAX_HEADER_BYTES = 100 * 1024**2
_BITS = {
    "F64": 64, "I64": 64, "U64": 64, "C64": 64, "F32": 32, "I32": 32, "U32": 32, "F16": 16, "BF16": 16, "I16": 16,
    "U16": 16, "I8": 8, "U8": 8, "BOOL": 8, "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8, "F4": 4,
}  # fmt: skip


class Tensor(BaseModel):
    """A tensor as the header names it."""

    dtype: str
    shape: list[int] = Field(max_length=32)
    data_offsets: tuple[int, int]


def read_safetensors_header(file: Path) -> dict[str, Tensor]:
    """The tensors that a safetensors file names, checked against the file's size.

    Raises:
        InvalidModel: It is cut off, is no safetensors file, or its sizes do not add up.
    """
    cure = "The download or the copy broke off: copy the file again and compare its size with the original's."
    try:
        found = file.stat()
        if not stat.S_ISREG(found.st_mode):  # a pipe would be waited for
            raise bad(f"`{file}` is no file.", cure, file.name)
        size = found.st_size
        with file.open("rb") as stream:
            head = stream.read(64)
            if is_lfs_pointer(head):
                raise lfs_pointer(file)
            length = int.from_bytes(head[:8], "little")
            if size < 8 or not 2 <= length <= MAX_HEADER_BYTES or length > size - 8:
                raise bad(f"`{file}` is cut off, or is no safetensors file.", cure, file.name)
            stream.seek(8)
            header = json.loads(stream.read(length))
        header.pop("__metadata__", None)
        tensors = {str(name): Tensor.model_validate(entry) for name, entry in header.items()}
    except OSError as error:
        raise bad(
            f"`{file}` cannot be read: {error.strerror}.", "Check its permissions.", file.name
        ) from error
    except (ValueError, TypeError, AttributeError, RecursionError) as error:  # the header is no object
        raise bad(f"`{file}` has a broken safetensors header.", cure, file.name) from error
    at = 0
    for name, tensor in sorted(tensors.items(), key=lambda item: item[1].data_offsets):
        begin, end = tensor.data_offsets
        bits = _BITS.get(tensor.dtype)
        wrong = bits is not None and (end - begin) * 8 != math.prod(tensor.shape) * bits
        if begin != at or end < begin or min(tensor.shape, default=0) < 0 or wrong:
            raise bad(f"`{file}`: the size of `{name}` does not fit its shape and place.", cure, file.name)
        at = end
    if at != size - 8 - length:
        raise bad(f"`{file}` has {size} bytes; its header says {at + 8 + length}.", cure, file.name)
    return tensors
