"""One folder of those that tasks may use, for who chooses a file or a folder in a browser.

Lists names and sizes of what a task could be given, and opens no file. Links that lead out of the allowed roots are
left out, and so are names that begin with a dot. What a LoRA's file sets is read by the sandbox. Knows no task and no
user: what may be named may be listed.
"""

import os
from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field

from tunesmith.errors import Conflict, NotFound, PathNotAllowed
from tunesmith_platform.paths import allowed_path
from tunesmith_platform.sandbox import checks

MOST = 1000
"""How many entries of a folder are looked at: more are not chosen from by hand."""
_MODEL_FILE = "config.json"


class FolderEntry(BaseModel):
    """A file or a folder."""

    name: str
    path: str
    is_folder: bool
    is_model: bool = Field(False, description="A folder that holds a `config.json`, as a model's does.")
    bytes: int | None = Field(None, description="Of a file.")


class FolderView(BaseModel):
    """What lies in a folder: folders first, each by name."""

    path: str | None = Field(description="None where the allowed roots themselves are listed.")
    parent: str | None = Field(description="The folder above, where it may be listed too.")
    entries: list[FolderEntry]
    has_more: bool = Field(description="Whether the folder holds more than are listed.")


class LoraFileView(BaseModel):
    """What a file of a LoRA (`peft_config_path`) sets; its values count instead of the form's."""

    path: str
    values: dict[str, Any]


def read_lora(given: str, roots: list[Path]) -> LoraFileView:
    """A LoRA's file inside the allowed roots, read as a task would read it.

    Args:
        given: Its absolute path, as a client names it.
        roots: The allowed roots, their links followed.

    Raises:
        PathNotAllowed: It is not absolute, or lies outside the roots.
        InvalidInput: It cannot be read, or sets what no LoRA has.
    """
    file = allowed_path(given, roots)
    return LoraFileView(path=str(file), values=checks.lora_file(file, "path"))


def list_folder(given: str | None, roots: list[Path]) -> FolderView:
    """A folder inside the allowed roots; the roots themselves where none is given.

    Args:
        given: Its absolute path, as a client names it.
        roots: The allowed roots, their links followed.

    Raises:
        PathNotAllowed: It is not absolute, or lies outside the roots.
        NotFound: There is no such folder.
        Conflict: The platform may not read it.
        InvalidInput: It holds a NUL character.
    """
    if given is None:
        there = [entry for root in dict.fromkeys(roots) if (entry := _entry(root, str(root), roots))]
        return FolderView(path=None, parent=None, entries=there, has_more=False)
    folder = allowed_path(given, roots)
    try:
        with os.scandir(folder) as found:
            names = [entry.name for _, entry in zip(range(MOST + 1), found, strict=False)]
    except (FileNotFoundError, NotADirectoryError) as error:
        raise NotFound(f"There is no folder `{given}`.", hint="Choose one that is listed.") from error
    except OSError as error:
        raise Conflict(
            f"The platform cannot read `{given}`: {error.strerror}.",
            hint="Its owner has to let the platform's user read it.",
        ) from error
    shown = [name for name in names[:MOST] if not name.startswith(".")]
    entries = [entry for name in shown if (entry := _entry(folder / name, name, roots))]
    return FolderView(
        path=str(folder),
        parent=str(folder.parent) if folder not in roots else None,
        entries=sorted(entries, key=lambda entry: (not entry.is_folder, entry.name.lower(), entry.name)),
        has_more=len(names) > MOST,
    )


def _entry(path: Path, name: str, roots: list[Path]) -> FolderEntry | None:
    """What a task could be given; None of what leads out, is gone, or is neither a file nor a folder."""
    try:
        real = allowed_path(str(path), roots)
        is_folder = real.is_dir()
        if not is_folder and not real.is_file():
            return None
        name.encode()  # a name that is no UTF-8 cannot be sent, nor asked for
        size = None if is_folder else real.stat().st_size
        is_model = is_folder and (real / _MODEL_FILE).is_file()
    except (PathNotAllowed, OSError, UnicodeEncodeError):
        return None
    return FolderEntry(name=name, path=str(path), is_folder=is_folder, is_model=is_model, bytes=size)
