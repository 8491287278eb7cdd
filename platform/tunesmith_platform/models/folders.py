"""Looks at models' folders: which one a source names, and what its config, tokenizer and headers say.

Knows files and where they may lie; knows no rows.
"""

from pathlib import Path
from typing import NamedTuple

from tunesmith.errors import ErrorBody, InvalidModel, TunesmithError, Unavailable
from tunesmith.fingerprint import Stamp, stamps
from tunesmith.model_folder import ModelFacts, is_from_hub, refuse_weight_file
from tunesmith_platform.models.fingerprints import stamps_of
from tunesmith_platform.paths import allowed_folder
from tunesmith_platform.sandbox import checks
from tunesmith_platform.settings import Settings


class Look(NamedTuple):
    """What a folder's files say."""

    facts: ModelFacts | None
    problem: ErrorBody | None
    stamps: dict[str, Stamp]


def named_folder(source: str, settings: Settings) -> tuple[Path, str | None]:
    """The folder that a source names, and the hub id by which it was named."""
    roots = settings.roots()
    if Path(source).is_absolute():
        return allowed_folder(source, roots), None
    refuse_weight_file(source)
    owner, _, name = source.rpartition("/")
    folder = settings.models_dir / name
    is_here = name not in ("", ".", "..") and ".." not in owner and "\x00" not in source and folder.is_dir()
    if not is_here or (owner and not is_from_hub(folder, source)):
        raise InvalidModel(
            f"The model `{source}` is not here.",
            hint=f"Run `tunesmith models pull {source}` on the machine of the platform: what is pulled is found by "
            "itself. A folder of your own is given by its absolute path.",
            field="source",
        )
    return allowed_folder(str(folder.absolute()), roots), source if owner else None


def look_at(folder: Path, settings: Settings, *, is_fresh: bool = False) -> Look:
    """Read a folder's config, tokenizer and headers; its weights are not read.

    Raises:
        Unavailable: Too many files are being looked at.
    """
    try:
        allowed_folder(str(folder), settings.roots())
        facts = checks.model_facts(folder, is_fresh=is_fresh)
        return Look(facts, None, stamps(folder))
    except Unavailable:
        raise  # that says nothing of the folder
    except TunesmithError as error:
        return Look(None, error.body(), stamps_of(folder) or {})
    except OSError as error:
        gone = InvalidModel(f"`{folder}` cannot be read: {error.strerror}.", hint="Check its permissions.")
        return Look(None, gone.body(), {})
