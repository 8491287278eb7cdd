"""Removing and marking in a storage, which may be no folder of this machine.

What is a folder here is handed to those who know folders. Knows storages; knows nothing of tasks.
"""

from typing import TYPE_CHECKING

from tunesmith.artifacts import MANIFEST, Manifest
from tunesmith.removal.folders import remove_any, remove_empty
from tunesmith.removal.ownership import MARK, is_free, is_id, manifest_of, refused, require_place, writer_of
from tunesmith.removal.results import named_files, remove_result

if TYPE_CHECKING:
    from tunesmith.storage import Storage


def claim_storage(storage: "Storage", owner: str, names: tuple[str, ...] = ()) -> bool:
    """Mark the place that a storage stands for; returns whether it is the owner's.

    Args:
        storage: The place.
        owner: Whose it is to be.
        names: What the owner will write there: where something stands under one of them already, only the path can
            prove that it is the owner's. Without names it is known to be the owner's.
    """
    data = storage.read(MARK)
    if data is not None:
        return data.decode(errors="replace").strip() == owner
    is_named = is_id(owner) and owner in storage.uri.split("/")
    if not is_named and any(storage.list(name) for name in names):
        return False
    storage.write(MARK, owner.encode())
    return True


def result_in(storage: "Storage", path: str) -> Manifest | None:
    """The manifest of a result in a storage; None where there is none that can be read."""
    here = storage.local(path)
    if here is not None:
        return manifest_of(here)
    data = storage.read(f"{path}/{MANIFEST}")
    return Manifest.decode(data) if data else None


def remove_stored(storage: "Storage", path: str, task_id: str, *, unfinished: bool = False) -> bool:
    """Remove a task's result from a storage; returns whether nothing is left at its place.

    Args:
        storage: Where it lies.
        path: Its folder there.
        task_id: The task.
        unfinished: See `require_place`.

    Raises:
        NotOurs: It is not the task's.
        OSError: The storage does not let it go.
    """
    here = storage.local(path)
    if here is not None:
        if is_free(here):
            remove_empty(here)
            return True
        require_place(here, task_id, unfinished=unfinished)
        if writer_of(here) == task_id:
            return not remove_result(here, task_id)
        remove_any(here)
        return True
    there = storage.files(path)
    if not there:
        storage.remove_empty(path)
        return True
    manifest = result_in(storage, path)
    if manifest is not None and manifest.task_id == task_id:
        ours = {MANIFEST, *named_files(manifest)}
    elif unfinished and MANIFEST not in there:
        ours = set(there)
    else:
        raise refused(f"{storage.uri}/{path}")
    # What is removed must first stop to count as whole.
    for name in sorted(ours & set(there), key=lambda name: name != MANIFEST):
        storage.remove_file(f"{path}/{name}")
    return storage.remove_empty(path)


def remove_names(storage: "Storage", path: str, *names: str) -> bool:
    """Remove files of ours from a folder of a storage by their names, then the folder where nothing else is in it.

    For folders whose name is an id that we gave, or the hash of what they hold. Returns whether the folder is gone;
    a storage's own root never goes.
    """
    for name in names:
        storage.remove_file(f"{path}/{name}" if path else name)
    return bool(path) and storage.remove_empty(path)
