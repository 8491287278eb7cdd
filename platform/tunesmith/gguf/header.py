"""What a GGUF file says of itself, without its tensors: some fields, read past all others.

For sizes that memory is asked for by; llama.cpp reads the file itself. Knows the format; knows no model.
"""

import struct
from pathlib import Path
from typing import BinaryIO

from tunesmith.errors import InvalidModel

_MAGIC = b"GGUF"
_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_STRING, _ARRAY = 8, 9
_MOST_FIELDS = 10_000
_LONGEST = 2**24
"""Bytes of a string: a chat template is far shorter."""


def numbers_of(file: Path) -> dict[str, int]:
    """The whole numbers that a file says of its architecture, by their names without it (`context_length`, ...).

    Args:
        file: The file; whoever packaged it is known, its content is not trusted.

    Raises:
        InvalidModel: It is no GGUF file, or is cut off.
    """
    try:
        with file.open("rb") as stream:
            return _numbers(stream)
    except (struct.error, ValueError, UnicodeDecodeError) as error:
        raise InvalidModel(f"`{file.name}` is no GGUF file that can be read.") from error
    except OSError as error:
        raise InvalidModel(
            f"`{file.name}` cannot be read: {error.strerror}.", hint="Package it again."
        ) from error


def _numbers(stream: BinaryIO) -> dict[str, int]:
    if stream.read(4) != _MAGIC:
        raise ValueError("magic")
    _, _, count = _unpacked(stream, "<IQQ")
    if count > _MOST_FIELDS:
        raise ValueError("too many fields")
    found: dict[str, int] = {}
    kind = ""
    for _ in range(count):
        name = _text(stream)
        (value_type,) = _unpacked(stream, "<I")
        value = _value(stream, value_type)
        if name == "general.architecture" and isinstance(value, str):
            kind = value
        elif isinstance(value, int) and not isinstance(value, bool):
            found[name] = value
    return {
        name.removeprefix(f"{kind}."): value for name, value in found.items() if name.startswith(f"{kind}.")
    }


def _value(stream: BinaryIO, value_type: int) -> object:
    if value_type == _STRING:
        return _text(stream)
    if value_type != _ARRAY:
        return _unpacked(stream, f"<{_SCALARS[value_type]}")[0] if value_type in _SCALARS else _unknown()
    of, count = _unpacked(stream, "<IQ")
    if of in _SCALARS:
        stream.seek(count * struct.calcsize(_SCALARS[of]), 1)
    elif of == _STRING:
        for _ in range(count):
            stream.seek(_unpacked(stream, "<Q")[0], 1)
    else:
        _unknown()
    return None


def _unknown() -> object:
    raise ValueError("a field of an unknown type")


def _text(stream: BinaryIO) -> str:
    (length,) = _unpacked(stream, "<Q")
    if length > _LONGEST:
        raise ValueError("too long")
    return stream.read(length).decode()


def _unpacked(stream: BinaryIO, form: str) -> tuple[int, ...]:
    return struct.unpack(form, stream.read(struct.calcsize(form)))
