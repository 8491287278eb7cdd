"""Rows from local files, a bucket, a folder that `save_to_disk` left, or the Hugging Face Hub through `datasets`.

Nothing that comes with a data set is run: loading scripts and pickles are refused before a row is read. Knows where
rows lie; knows nothing of the other operations.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tunesmith.errors import InvalidData, InvalidInput
from tunesmith.rows.files.decoding import Row
from tunesmith.rows.files.decompress import bare_name
from tunesmith.spec.loading import FORMATS, LoadSpec
from tunesmith.storage import local_path, open_storage
from tunesmith_jobs.data.meter import estimated_rows
from tunesmith_jobs.data.saved import ARROW, arrow_rows, is_saved, saved_files
from tunesmith_jobs.data.table import Table

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")
_HUB_SECONDS = 10.0
_SAFE_BUILDERS = frozenset({"arrow", "csv", "json", "parquet", "text"})
_RUNS_CODE = (".py", ".pyc", ".ipynb", ".pkl", ".pickle", ".dill", ".joblib", ".pt", ".pth")


class DatasetSource:
    """Where a data set's rows come from, in their own order; `shuffle` and `fraction` are left to the caller.

    Args:
        spec: What to load.
        scratch: A folder for what has to be brought here first.

    Raises:
        InvalidInput: It is not there, or cannot be loaded without running code.
    """

    def __init__(self, spec: LoadSpec, scratch: Path) -> None:
        self._spec = spec
        self._files: list[Path] = []
        self._data: Any = None
        if spec.provider == "huggingface":
            self._data = _from_hub(spec)
        elif spec.path is not None and is_saved(Path(spec.path)):
            self._files = saved_files(Path(spec.path), spec.split)
        else:
            self._files = local_files(brought(spec, scratch))

    def about_rows(self) -> int:
        """About how many there are; 0 where that is not known."""
        if self._data is not None:
            return len(self._data) if hasattr(self._data, "__len__") else 0
        return 0 if self._is_arrow else estimated_rows(self._files)

    @property
    def _is_arrow(self) -> bool:
        return any(file.suffix == ARROW for file in self._files)

    def rows(self) -> Iterator[Row]:
        """The rows.

        Raises:
            InvalidData: One is broken.
        """
        if self._data is not None:
            for row in self._data:
                if not isinstance(row, dict):
                    raise InvalidData(f"`{self._spec.path}` has rows that are no objects.")
                yield row
        for file in self._files:
            yield from arrow_rows(file) if file.suffix == ARROW else Table(file)


def brought(spec: LoadSpec, scratch: Path) -> LoadSpec:
    """The same with copies of what lies in a bucket."""
    found: dict[str, Any] = {}
    for name in ("path", "data_dir"):
        given = getattr(spec, name)
        if given is not None and local_path(given) is None:
            found[name] = str(_copied(given, scratch, is_folder=name == "data_dir"))
    files = spec.data_files
    if isinstance(files, str):
        files = [files]
    if isinstance(files, list) and any(local_path(file) is None for file in files):
        found["data_files"] = [
            str(_copied(file, scratch / str(number), is_folder=False)) if local_path(file) is None else file
            for number, file in enumerate(files)
        ]
    return spec.model_copy(update=found)


def _copied(uri: str, scratch: Path, *, is_folder: bool) -> Path:
    folder, _, name = uri.rstrip("/").rpartition("/")
    scratch.mkdir(parents=True, exist_ok=True)
    try:
        if not is_folder and format_of(Path(name)) is not None:
            open_storage(folder).get_file(name, scratch / name)
            return scratch / name
        storage = open_storage(uri)
        names = [name for name in storage.list() if format_of(Path(name)) is not None]
        for name in names:
            storage.get_file(name, scratch / name)
    except FileNotFoundError:
        names = []
    except OSError as error:
        raise InvalidInput(
            f"`{uri}` cannot be read: {error}", hint="Check the bucket and its keys."
        ) from None
    if not names:
        raise InvalidInput(f"`{uri}` holds no data file.", hint="Check the bucket and the key.", field="path")
    return scratch


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


def _from_hub(spec: LoadSpec) -> Any:
    """The data set as `datasets` has it."""
    # Heavy, and needed here alone.
    import datasets

    path = str(spec.path)
    _refuse_code(path)
    if not Path(path).is_absolute():
        _refuse_silence(path)
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
        raise InvalidInput(
            f"`{path}` could not be loaded: {words}",
            hint="Check the name, `split`, `revision` and `token`, and that this machine reaches the Hub.",
            field="path",
        ) from None
    return data


def _refuse_silence(path: str) -> None:
    """See that the Hub answers at all: the library would try again for half a minute, and not say why."""
    from huggingface_hub import constants
    from huggingface_hub.utils import get_session

    if constants.HF_HUB_OFFLINE:
        return
    try:
        get_session().head(constants.ENDPOINT, timeout=_HUB_SECONDS)
    except Exception as error:
        # Whichever library speaks HTTP has errors of its own.
        raise InvalidInput(
            f"`{path}` could not be loaded: the Hub at `{constants.ENDPOINT}` does not answer "
            f"({' '.join(str(error).split())[:200] or type(error).__name__}).",
            hint="Check that this machine reaches the Hub, or name a mirror by `HF_ENDPOINT`.",
            field="path",
        ) from None


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
