"""Rows out of a folder that `save_to_disk` of `datasets` left: Arrow files, read batch by batch.

Its own description only says which files there are; nothing in it is run. Knows that layout and Arrow.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tunesmith.errors import InvalidData, InvalidInput
from tunesmith.rows.files.arrow_values import python_rows
from tunesmith.rows.files.decoding import Row

ARROW = ".arrow"
_STATE = "state.json"
_SPLITS = "dataset_dict.json"
_MAX_BYTES = 16 * 1024**2
_SLICE = 256


def is_saved(folder: Path) -> bool:
    """Whether `save_to_disk` left a folder."""
    return folder.is_dir() and ((folder / _STATE).is_file() or (folder / _SPLITS).is_file())


def saved_files(folder: Path, split: str | None) -> list[Path]:
    """The Arrow files of a saved data set, in their order.

    Args:
        folder: What `save_to_disk` left.
        split: Which part, where it was saved with its splits; `train` when None.

    Raises:
        InvalidInput: It names no files, or files outside the folder.
    """
    if (folder / _SPLITS).is_file():
        there = [str(name) for name in _described(folder / _SPLITS).get("splits") or []]
        wanted = split or "train"
        if wanted not in there:
            listed = ", ".join(f"`{name}`" for name in there) or "none"
            raise InvalidInput(
                f"`{folder.name}` has no split `{wanted}`.", hint=f"It has {listed}.", field="split"
            )
        folder = folder / wanted
    found = _described(folder / _STATE)
    names = [part.get("filename") for part in found.get("_data_files") or [] if isinstance(part, dict)]
    if found.get("_indices_data_files") or not names:
        raise InvalidInput(
            f"`{folder.name}` keeps its rows in an order of their own, or has none.",
            hint="Save it again after `flatten_indices()`, or write it as Parquet.",
            field="path",
        )
    files = [folder / str(name) for name in names]
    real = folder.resolve()
    for file in files:
        if file.suffix != ARROW or file.resolve().parent != real or not file.is_file():
            raise InvalidInput(
                f"`{file.name}` is no Arrow file in `{folder.name}`.",
                hint="Copy the folder whole.",
                field="path",
            )
    return files


def arrow_rows(file: Path) -> Iterator[Row]:
    """The rows of an Arrow file, of which one batch is in memory at a time.

    Raises:
        InvalidData: It is broken.
    """
    # Heavy, and needed here alone.
    import pyarrow as pa

    try:
        with pa.memory_map(str(file)) as source, pa.ipc.open_stream(source) as stream:
            for batch in stream:
                batch.validate(full=True)  # the file may lie about itself
                for start in range(0, batch.num_rows, _SLICE):
                    yield from python_rows(batch.slice(start, _SLICE))
    except (pa.ArrowException, OSError, ValueError) as error:
        words = " ".join(str(error).split())[:200].rstrip(".")
        raise InvalidData(
            f"`{file.name}` cannot be read as Arrow: {words}.", hint="Save the data set again."
        ) from error


def _described(file: Path) -> dict[str, Any]:
    try:
        if file.stat().st_size > _MAX_BYTES:
            raise ValueError("it is too large")
        found = json.loads(file.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise InvalidInput(
            f"`{file.name}` cannot be read: {error}.", hint="Copy the folder whole.", field="path"
        ) from error
    return found if isinstance(found, dict) else {}
