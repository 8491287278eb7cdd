"""Names of data sets and of their files. Pure: knows no registry."""

import re

from tunesmith.errors import InvalidInput
from tunesmith.spec.dataset import DATASET_NAME

_VERSION = re.compile(r"^(?P<name>.+?)(?:@(?P<number>[0-9]{1,9}))?$", re.DOTALL)


def is_name(given: str) -> bool:
    """Whether a data set is named, and not a file by its path."""
    return not any(sign in given for sign in "./\x00")


def split(dataset: str) -> tuple[str, int | None]:
    """The parts of `name@number`."""
    match = _VERSION.match(dataset)
    assert match is not None
    number = match["number"]
    return match["name"], int(number) if number else None


def name_of(file_name: str) -> str:
    """A data set's name from a file's: without its endings."""
    stem = file_name.split(".", 1)[0] if not file_name.startswith(".") else file_name[1:]
    name = re.sub(r"[^\w\-]+", "-", stem).strip("-_")[:100]
    return name if re.match(DATASET_NAME, name) else "data"


def file_name_of(given: str) -> str:
    """A file's name as we keep it: no folder, nothing that a shell or a browser reads in another way."""
    name = re.sub(r"[^\w.\-]", "_", given.rpartition("/")[2]).lstrip(".")
    return name[-120:].lstrip(".") or "data"


def safe_file_name(given: str) -> str:
    """See `NewUpload.file_name`.

    Raises:
        InvalidInput: It names a folder too.
    """
    if "/" in given or "\\" in given or "\x00" in given or given in (".", ".."):
        raise InvalidInput(
            f"`{given[:80]}` is no file's name.", hint="Leave its folder out.", field="file_name"
        )
    return file_name_of(given)
