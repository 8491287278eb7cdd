"""Finds the files and models that a task names: by a path in the allowed folders, or by what a registry calls them."""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple, Protocol

from tunesmith.dataset_views import Part
from tunesmith.errors import InvalidInput, InvalidModel, PathNotAllowed
from tunesmith.model_folder import is_from_hub, refuse_weight_file
from tunesmith.spec.base import Spec
from tunesmith.spec.problems import did_you_mean
from tunesmith_platform.dataset_names import is_name
from tunesmith_platform.paths import allowed_folder, allowed_path
from tunesmith_platform.scope import Scope
from tunesmith_platform.settings import Settings

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w-]*(:[\w\[\]%:]+)?")


class Models(Protocol):
    """The registry of base models as somebody sees it, as far as it is asked here."""

    def find(self, name: str) -> Path | None:
        """The folder of the model with this name or hub id; None when there is none."""

    def sha256(self, folder: Path) -> str | None:
        """The fingerprint of a model's files as they are now; None while it is being computed."""


class StoredFile(NamedTuple):
    """A version's file on this machine."""

    path: Path
    version: str
    """`name@number`."""
    sha256: str
    parts: tuple[Part, ...] = ()
    """What each data set gave, where it was mixed from several."""


class Datasets(Protocol):
    """The registry of data sets as somebody sees it, as far as it is asked here."""

    def find(self, dataset: str) -> StoredFile:
        """The file of `name` or `name@number`."""

    def pinned(self, spec: Spec, fields: Iterable[str]) -> dict[str, str]:
        """Of those parameters that name a data set: the version that they mean now."""

    def expect_free(self, name: str) -> None:
        """See that rows can be entered under a name."""


class AllModels(Protocol):
    """The registry of base models."""

    def seen_by(self, scope: Scope) -> Models:
        """As a scope sees it."""


class AllDatasets(Protocol):
    """The registry of data sets."""

    def seen_by(self, scope: Scope) -> Datasets:
        """As a scope sees it."""


def find_file(given: str, settings: Settings, datasets: Datasets | None) -> tuple[Path, StoredFile | None]:
    """A data file: by its absolute path, or as a data set's `name` or `name@number`.

    Raises:
        InvalidInput: There is none, or it lies where the platform may not read.
    """
    if datasets is None or not is_name(given):
        if _HUB_ID.fullmatch(given.removeprefix("hf://")):
            raise InvalidInput(
                f"`{given}` is neither an absolute path nor the name of a data set here.",
                hint="Rows of the Hub are loaded first: `tunesmith train` does it by itself, `tunesmith data run load` "
                "and `POST /v1/datasets:run` on their own.",
            )
        if not Path(given).is_absolute():
            raise PathNotAllowed(
                f"There is no file and no data set `{given[:200]}`.",
                hint="Give a file's absolute path, or a name that `tunesmith data list` shows.",
            )
        return _allowed_rows(given, settings.row_roots()), None
    version = datasets.find(given)
    return version.path, version


def _allowed_rows(given: str, roots: list[Path]) -> Path:
    """The real path of a data file.

    Raises:
        PathNotAllowed: It lies where the platform may not read; says how its rows get in.
    """
    try:
        return allowed_path(given, roots)
    except PathNotAllowed as error:
        raise PathNotAllowed(
            error.message,
            hint="Add the file with `tunesmith data add FILE`, or allow its folder with `tunesmith up --allow DIR`. "
            f"Allowed are {', '.join(f'`{root}`' for root in roots)}.",
        ) from error


def find_model(given: str, settings: Settings, models: Models | None) -> Path:
    """A model's folder: by its path, its name or hub id in the registry, or its folder's name in the models folder.

    Raises:
        InvalidInput: There is none, or it lies where the platform may not read.
    """
    roots = settings.roots()
    if Path(given).is_absolute():
        return allowed_folder(given, settings.model_roots())
    refuse_weight_file(given)
    found = models.find(given) if models else None
    if found is not None:
        return allowed_folder(str(found), roots)
    owner, _, name = given.rpartition("/")
    folder = settings.models_dir / name
    is_here = name not in ("", "..") and ".." not in owner.split("/") and folder.is_dir()
    if not is_here or (owner and not is_from_hub(folder, given)):
        raise InvalidModel(
            f"There is no model `{given}` here.", hint=_meant_model(given, settings.models_dir)
        )
    return allowed_folder(str(folder.absolute()), roots)


def _meant_model(given: str, models: Path) -> str:
    """What to do about a model that is not here: one of that spelling may be."""
    try:
        there = sorted(entry.name for entry in models.iterdir() if not entry.name.startswith("."))
    except OSError:
        there = []
    meant = did_you_mean(given.rpartition("/")[2], there)
    pull = f"Pull it with `tunesmith models pull {given}`, or give an absolute path to its folder; "
    return f"Did you mean `{meant}`?" if meant else f"{pull}`tunesmith models list` shows what is here."
