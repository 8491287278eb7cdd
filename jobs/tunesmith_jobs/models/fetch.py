"""A model's or an adapter's folder on this machine: the place itself, or a copy of what lies in a storage elsewhere.

Knows the storage and manifests; knows nothing of what is in the folder.
"""

from pathlib import Path

from tunesmith.artifacts import MANIFEST, faults_of
from tunesmith.errors import InvalidModel
from tunesmith.storage import local_path, open_storage


def fetch_folder(uri: str, scratch: Path) -> Path:
    """A folder on this machine: the place itself, or a copy in `scratch`."""
    folder = local_path(uri)
    if folder is not None:
        return folder
    location, _, name = uri.rstrip("/").rpartition("/")
    scratch.mkdir(parents=True, exist_ok=True)
    return open_storage(location).get_folder(name, scratch)


def saved_faults(folder: Path) -> list[str]:
    """Why a folder is not what was saved there; empty where it is, or where no manifest says what was."""
    return faults_of(folder) if (folder / MANIFEST).is_file() else []


def fetch_model(uri: str, scratch: Path) -> Path:
    """A model's folder on this machine, as it was saved.

    Raises:
        InvalidModel: It is not what was saved there.
    """
    folder = fetch_folder(uri, scratch)
    if faults := saved_faults(folder):
        raise InvalidModel(
            f"`{uri}` is not what was saved: {faults[0]}.", hint="Take another checkpoint, or train again."
        )
    return folder
