"""What tells a model's weights from all others: the manifest of what we saved, or a folder's files as they stand.

Whoever names a model, packages it or proves it says the same here of the same weights. Knows folders; reads no weight.
"""

import hashlib
from pathlib import Path

from tunesmith.artifacts import MANIFEST
from tunesmith.errors import InvalidModel
from tunesmith.fingerprint import stamps


def folder_print(folder: Path) -> str:
    """What tells a folder's weights from all others, without reading them: path, sizes, times of change.

    Raises:
        InvalidModel: It cannot be looked at.
    """
    try:
        found = stamps(folder)
    except OSError as error:
        raise InvalidModel(f"`{folder}` cannot be read: {error.strerror}.", hint="Bring it back.") from error
    digest = hashlib.sha256(f"{folder}\n".encode())
    for name, stamp in found.items():
        digest.update(f"{name} {stamp.size} {stamp.changed_ns}\n".encode())
    return digest.hexdigest()


def manifest_print(manifest: bytes) -> str:
    """What tells the weights of a checkpoint or a final model from all others: its manifest names their sums."""
    return hashlib.sha256(manifest).hexdigest()


def weights_of(folder: Path, *, is_saved: bool) -> str:
    """What tells the weights in a folder from all others.

    Args:
        folder: The model's or the adapter's, on this machine.
        is_saved: Whether a task of ours saved it: then its manifest says.

    Raises:
        InvalidModel: It cannot be looked at.
    """
    manifest = folder / MANIFEST
    if is_saved and manifest.is_file():
        return manifest_print(manifest.read_bytes())
    return folder_print(folder)
