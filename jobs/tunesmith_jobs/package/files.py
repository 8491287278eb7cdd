"""Which GGUF files a package has, what they are called, what they take.

Knows parameters and plans; writes no weights.
"""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from tunesmith.artifacts import checkpoint_name
from tunesmith.gguf import FileType
from tunesmith.model_step import ModelDocument
from tunesmith.spec.package import PackageSpec
from tunesmith_jobs.failures import NoRoom

_UNSAFE = '/\\:*?"<>|\0'
_SPARE_BYTES = 2**26
_SPARE_SHARE = 0.02
FAILED = "failed"
"""The folder of files that are not the model: kept apart, for who looks for the reason."""


class Order(NamedTuple):
    """A file that is to be written."""

    name: str
    type: FileType
    is_lora: bool = False
    with_adapter: bool = False
    """Whether an adapter is merged into it."""


def orders(spec: PackageSpec, name: str, step: int, *, is_adapter: bool) -> list[Order]:
    """The files of a package, the whole model's first.

    Args:
        spec: The parameters.
        name: The task's whose model it is, or the model's.
        step: The checkpoint's; 0 where it is not known.
        is_adapter: Whether the model is an adapter over a base.
    """
    stem = "".join("_" if letter in _UNSAFE else letter for letter in name).strip(" .") or "model"
    is_base = is_adapter and not spec.merge_lora
    stem += "-base" if is_base else f"-{step}" if step else ""
    found = [
        Order(
            f"{stem}-{kind}.gguf" if kind else f"{stem}.gguf",
            FileType(kind) if kind else FileType.F16,
            with_adapter=is_adapter and spec.merge_lora,
        )
        for kind in spec.file_types
    ]
    if spec.export_lora_gguf:
        which = checkpoint_name(step) if step else stem.removesuffix("-base")
        found.append(Order(f"{which}-lora.gguf", FileType.F32, is_lora=True))
    return found


def matrix_name(files: Sequence[Order]) -> str:
    """What the file of the importance matrix is called beside those that were quantised with it."""
    first = next(order for order in files if not order.is_lora)
    stem = first.name.removesuffix(".gguf").removesuffix(f"-{first.type}")
    return f"{stem}-imatrix.gguf"


def require_room(needed: Mapping[str, int], places: Sequence[Path]) -> None:
    """See that the disks hold what is to be written.

    Args:
        needed: Bytes by the names of the files.
        places: Folders that are written into.

    Raises:
        NoRoom: One does not; with the numbers.
    """
    total = sum(needed.values())
    for place in places:
        there = next(folder for folder in (place, *place.parents) if folder.is_dir())
        free = shutil.disk_usage(there).free
        if total * (1 + _SPARE_SHARE) + _SPARE_BYTES > free:
            listed = ", ".join(f"`{name}` {size / 1e9:.2f} GB" for name, size in needed.items())
            raise NoRoom(
                f"The files need {total / 1e9:.2f} GB ({listed}), and `{there}` has {free / 1e9:.2f} GB left. Free "
                "space, take fewer or smaller types, or give another `output_dir`."
            )


def zip_name(document: ModelDocument) -> str:
    """What the adapter's zip file is called."""
    return f"{checkpoint_name(document.step)}-adapter.zip" if document.step else "adapter.zip"
