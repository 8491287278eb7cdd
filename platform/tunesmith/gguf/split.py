"""A model's file in several, each under a size: what llama.cpp calls a split, and opens by the first of them.

Names and the three keys are llama.cpp's (`gguf-split`): `NAME-00001-of-00003.gguf`, `split.no`, `split.count`,
`split.tensors.count`; the first file alone has everything else that is said. Knows sizes; writes nothing.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from tunesmith.errors import InvalidInput
from tunesmith.gguf.tensors import Planned

if TYPE_CHECKING:
    from tunesmith.gguf.file import Value

MAX_PARTS = 999
"""Files that a model may be split into; llama.cpp's names have room for more, and nobody would want them."""
_UNITS = {"M": 10**6, "G": 10**9}
_ALIGNMENT = 32
_NAME = re.compile(r"(?P<stem>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})\.gguf")
_HEAD = 24
"""Magic, version, and the counts of tensors and of keys."""
_SPLIT_KEYS = sum(8 + len(key) + 4 + size for key, size in
                  (("split.no", 2), ("split.count", 2), ("split.tensors.count", 4)))  # fmt: skip


class Part(NamedTuple):
    """One of a split's files."""

    path: Path
    tensors: tuple[Planned, ...]


def size_of(words: str) -> int:
    """Bytes of a size as parameters have it: `500M`, `2G`."""
    return int(words[:-1]) * _UNITS[words[-1]]


def part_name(target: Path, number: int, count: int) -> Path:
    """What a split's file is called.

    Args:
        target: The name of the whole.
        number: Which one, from 1.
        count: How many there are.
    """
    return target.with_name(f"{target.name.removesuffix('.gguf')}-{number:05d}-of-{count:05d}.gguf")


def parts_beside(first: Path) -> list[Path]:
    """A split's files in their order, told by its first one's name; a file that is no split's is alone."""
    found = _NAME.fullmatch(first.name)
    if found is None:
        return [first]
    count = int(found["count"])
    whole = first.with_name(f"{found['stem']}.gguf")
    return [part_name(whole, number, count) for number in range(1, count + 1)]


def divided(
    target: Path,
    architecture: str,
    metadata: "Mapping[str, Value]",
    tensors: Sequence[Planned],
    most: int | None,
) -> list[Part]:
    """The files that a model is written into: one under its own name where it is no larger than that.

    Args:
        target: The name of the whole.
        architecture: llama.cpp's word.
        metadata: What the first file says.
        tensors: In their order.
        most: Bytes of a file; None puts all into one. One tensor that is larger is a file of its own.

    Raises:
        InvalidInput: It would be very many files.
    """
    head = _HEAD + _said("general.architecture", architecture) + _ALIGNMENT
    head += sum(_said(key, value) for key, value in metadata.items())
    if most is None or head + sum(_taken(tensor) for tensor in tensors) <= most:
        return [Part(target, tuple(tensors))]
    groups: list[list[Planned]] = [[]]
    size = head + _SPLIT_KEYS
    for tensor in tensors:
        # The first may stay without a tensor: it holds the words, which no other has.
        if size + _taken(tensor) > most and (groups[-1] or len(groups) == 1):
            groups.append([])
            size = _HEAD + _SPLIT_KEYS + _ALIGNMENT
        groups[-1].append(tensor)
        size += _taken(tensor)
    if len(groups) > MAX_PARTS:
        raise InvalidInput(
            f"In files of {most / 1e6:.0f} MB the model would be {len(groups)} files.",
            hint="Give a larger `split_size`.",
            field="split_size",
        )
    return [
        Part(part_name(target, number, len(groups)), tuple(group))
        for number, group in enumerate(groups, start=1)
    ]


def _taken(tensor: Planned) -> int:
    """What a tensor takes at the most: its numbers, what fills them up, its line in the head."""
    line = 8 + len(tensor.name.encode()) + 4 + 8 * len(tensor.shape) + 4 + 8
    return -(-tensor.bytes // _ALIGNMENT) * _ALIGNMENT + line


def _said(key: str, value: "Value") -> int:
    """The bytes of a key and what it says."""
    begin = 8 + len(key.encode()) + 4
    if isinstance(value, list):
        return begin + 4 + 8 + sum(_size(each) for each in value)
    return begin + (1 if isinstance(value, bool) else _size(value))


def _size(value: float | str) -> int:
    return 8 + len(value.encode()) if isinstance(value, str) else 4
