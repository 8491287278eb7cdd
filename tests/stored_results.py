"""What a task left in its storage, looked at as whoever reads it later does. No test itself."""

import hashlib

from tunesmith.artifacts import MANIFEST, Manifest
from tunesmith.storage import open_storage


def is_whole(uri: str) -> bool:
    """Whether all files of a result are in the storage as its manifest says."""
    storage = open_storage(uri)
    manifest = Manifest.decode(storage.read(MANIFEST) or b"")
    assert manifest is not None, uri
    found = {one.path: hashlib.sha256(storage.read(one.path) or b"").hexdigest() for one in manifest.files}
    return found == {one.path: one.sha256 for one in manifest.files}
