"""Rows from local files or from the Hugging Face Hub, the latter through `datasets`.

Nothing that comes with a data set is run: loading scripts and pickles are refused before a row is read. Knows where
rows lie; knows nothing of the other operations.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tunesmith.errors import InvalidData, InvalidInput
from tunesmith.rows.reading import Row
from tunesmith.rows.unpacking import bare_name
from tunesmith.spec.dataset import FORMATS, LoadSpec
from tunesmith_jobs.data.table import Table

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")
_SAFE_BUILDERS = frozenset({"arrow", "csv", "json", "parquet", "text"})
_RUNS_CODE = (".py", ".pyc", ".ipynb", ".pkl", ".pickle", ".dill", ".joblib", ".pt", ".pth")


def loaded(spec: LoadSpec) -> Iterator[Row]:
    """A data set's rows in their own order; `shuffle` is left to the caller, `fraction` too.

    Raises:
        InvalidInput: It is not there, or cannot be loaded without running code.
        InvalidData: A row is broken.
    """
    if spec.provider == "local":
        for file in local_files(spec):
            yield from Table(file)
    else:
        yield from _from_hub(spec)


def local_files(spec: LoadSpec) -> list[Path]:
    """The files of a local data set, in their order.

    Raises:
        InvalidInput: There is none, or one is of another format.
    """
    if isinstance(spec.data_files, dict):
        wanted = spec.split or "train"
        if wanted not in spec.data_files:
            raise InvalidInput(
                f"`data_files` has no split `{wanted}`.",
                hint=f"It has {', '.join(f'`{name}`' for name in spec.data_files)}.",
                field="data_files",
            )
        given = spec.data_files[wanted]
    else:
        given = spec.data_files or []
    files = [Path(file) for file in ([given] if isinstance(given, str) else given)]
    folder = spec.data_dir or (spec.path if spec.path and Path(spec.path).is_dir() else None)
    if folder is not None:
        files = _in_folder(Path(folder), spec.loader)
    elif spec.path is not None:
        files = [Path(spec.path)]
    for file in files:
        found = format_of(file)
        if found is None:
            raise InvalidInput(
                f"`{file.name}` is no file that is read here.",
                hint="JSON, JSONL, CSV, Parquet and text are, as they are or packed with gzip or zstd.",
                field="data_files",
            )
        if spec.loader is not None and found != spec.loader:
            raise InvalidInput(
                f"`loader={spec.loader}`, but `{file.name}` is {found}.",
                hint=f"Give `loader: {found}`, or leave it out.",
                field="loader",
            )
    return files


def format_of(file: Path) -> str | None:
    """The loader of a file by its ending; None where it has none."""
    name = bare_name(file)
    return next((loader for loader, endings in FORMATS.items() if name.endswith(endings)), None)


def _in_folder(folder: Path, loader: str | None) -> list[Path]:
    try:
        names = sorted(entry for entry in folder.iterdir() if entry.is_file())
    except OSError as error:
        raise InvalidInput(f"`{folder}` cannot be read: {error.strerror}.", field="data_dir") from error
    found = [file for file in names if format_of(file) in ([loader] if loader else FORMATS)]
    if not found:
        what = f"{loader} file" if loader else "data file"
        raise InvalidInput(f"`{folder}` holds no {what}.", hint="Check the folder.", field="data_dir")
    kinds = sorted({str(format_of(file)) for file in found})
    if len(kinds) > 1:
        raise InvalidInput(
            f"`{folder}` holds {' and '.join(kinds)} files.", hint="Say which with `loader`.", field="loader"
        )
    return found


def _from_hub(spec: LoadSpec) -> Iterator[Row]:
    # Heavy, and needed here alone.
    import datasets

    path = str(spec.path)
    _refuse_code(path)
    options: dict[str, Any] = {
        "path": path,
        "name": spec.name,
        "revision": spec.revision,
        "token": spec.token,
        "cache_dir": spec.cache_dir,
        "data_dir": spec.data_dir,
        "data_files": spec.data_files,
    }
    options = {name: value for name, value in options.items() if value is not None}
    split = spec.split or "train"
    try:
        builder = datasets.load_dataset_builder(**options)
        _refuse_builder(builder, path)
        data = datasets.load_dataset(
            **options, split=split, streaming=spec.streaming, save_infos=spec.save_infos
        )
    except InvalidInput:
        raise
    except Exception as error:
        # The library raises nearly anything; what it says is for the user.
        words = " ".join(str(error).split())[:600] or type(error).__name__
        if spec.token:
            words = words.replace(spec.token, "***")
        raise InvalidInput(
            f"`{path}` could not be loaded: {words}",
            hint="Check the name, `split`, `revision` and `token`, and that this machine reaches the Hub.",
            field="path",
        ) from None
    for row in data:
        if not isinstance(row, dict):
            raise InvalidData(f"`{path}` has rows that are no objects.")
        yield row


def _refuse_code(path: str) -> None:
    """Refuse a local mirror that brings code or pickles. Of the Hub itself, `datasets` runs no script."""
    folder = Path(path)
    if not folder.is_absolute():
        if not HUB_ID.fullmatch(path) or folder.exists():
            raise InvalidInput(
                f"`{path}` is no Hub id.",
                hint="Write `owner/name`, or an absolute path to a local mirror.",
                field="path",
            )
        return
    if not folder.is_dir():
        raise InvalidInput(f"`{path}` is no folder.", hint="Check the path.", field="path")
    for file in folder.rglob("*"):
        if file.name.lower().endswith(_RUNS_CODE):
            raise InvalidInput(
                f"`{file.relative_to(folder)}` is code or a pickle, which runs code: neither is ever loaded here.",
                hint="Convert the data set to Parquet or JSONL, or remove the file if the rows do not need it.",
                field="path",
            )


def _refuse_builder(builder: Any, path: str) -> None:
    """Take only what `datasets` reads as plain tables and texts: a pickle has a builder of its own."""
    module = type(builder).__module__.split(".")
    name = module[2] if module[:2] == ["datasets", "packaged_modules"] and len(module) > 2 else module[-1]
    if name not in _SAFE_BUILDERS:
        raise InvalidInput(
            f"`{path}` is read by `{name}`, which is not used here.",
            hint="Parquet, JSON, CSV, text and Arrow are; convert the data set first.",
            field="path",
        )
