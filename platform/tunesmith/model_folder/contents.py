"""Which files may stand in a model's, a tokenizer's or an adapter's folder: by kind, on a list.

What is read is named by `files` and `tunesmith_jobs.models.loading`; the rest of this list may lie beside it and is
never opened. A pickle, a program, a link, a pipe is refused by its name, however it is spelled.
"""

import os
import re
import stat
from pathlib import Path

from tunesmith.artifacts import MANIFEST
from tunesmith.model_folder.problems import CONVERT, PICKLES, PROGRAMS, REMOTE_CODE, UNNEEDED, bad

_MOST = 10_000
_STATE = re.compile(r"(optimizer|scheduler|scaler)\.pt|rng_state(_\d+)?\.pth")
_READ = (".safetensors", ".json", ".jinja", ".model", ".txt")
_ASIDE = (
    ".md", ".rst", ".pdf", ".html", ".png", ".jpg", ".jpeg", ".gif", ".svg", ".webp", ".ico", ".mp4", ".csv", ".tsv",
    ".jsonl", ".parquet", ".arrow", ".yaml", ".yml", ".toml", ".cfg", ".ini", ".log", ".gguf", ".onnx", ".onnx_data",
    ".h5", ".msgpack", ".ot", ".tflite", ".mlmodel", ".vocab", ".spm", ".bpe", ".tiktoken", ".merges", ".sha256",
    ".sha256sum", ".asc", ".sig", ".lock", ".metadata", ".part", ".bib", ".cff", ".xml",
)  # fmt: skip
"""Texts, pictures, tables and weights in formats that hold no program: nobody opens them here."""


def refuse_contents(folder: Path) -> None:
    """Refuse a folder that holds anything but files of the kinds on the list.

    A folder in it is not looked into: nothing in it is ever read.

    Raises:
        InvalidModel: Names the first file that may not be there.
    """
    try:
        with os.scandir(folder) as entries:
            found = sorted(
                (entry.name, entry.stat(follow_symlinks=False).st_mode)
                for _, entry in zip(range(_MOST + 1), entries, strict=False)
            )
    except OSError as error:
        raise bad(f"`{folder}` cannot be read: {error.strerror}.", "Check its permissions.") from error
    if len(found) > _MOST:
        raise bad(f"`{folder}` holds more than {_MOST} files.", "Give the folder of one model.")
    is_checkpoint = any(name == MANIFEST for name, _ in found)
    for name, mode in found:
        if is_checkpoint and stat.S_ISREG(mode) and _STATE.fullmatch(name):
            continue  # of a checkpoint that was saved before its states were safetensors: read by its own task alone
        problem = _problem(name, mode)
        if problem:
            what, cure = problem
            if cure is CONVERT and any(other.endswith(".safetensors") for other, _ in found):
                cure = UNNEEDED
            raise bad(f"`{folder}` holds `{name}`, {what}, which is refused.", cure, name)


def _problem(name: str, mode: int) -> tuple[str, str] | None:
    """What is wrong with an entry, and the cure."""
    if stat.S_ISLNK(mode):
        return "a link", (
            "Copy the file itself to that place (`cp -rL FOLDER COPY`); `tunesmith models pull` makes whole copies."
        )
    if stat.S_ISDIR(mode):
        return None
    if not stat.S_ISREG(mode):
        return "a pipe, a socket or a device", "Remove it: a model folder holds plain files."
    # Dots and spaces at the end change nothing for some systems.
    suffix = Path(name.rstrip(". ").lower()).suffix
    if suffix in PICKLES:
        return "a pickle, which may run code when it is loaded", CONVERT
    if suffix in PROGRAMS:
        return "a program", REMOTE_CODE
    if suffix in (*_READ, *_ASIDE) or not suffix:
        return None
    return f"a `{suffix}` file, which is none of a model's", "Move it to another place: no model needs it."


def is_plain_file(path: Path) -> bool:
    """Whether a path is a file itself: no link to one, no pipe."""
    try:
        return stat.S_ISREG(path.lstat().st_mode)
    except (OSError, ValueError):
        return False
