"""A task's folders in a storage elsewhere: they appear whole, their manifest last, and take nothing of others away.

Files of another folder on the same server are copied by it. Knows storages and manifests; knows nothing of what is
inside a folder.
"""

import hashlib
from collections.abc import Callable
from pathlib import Path

from tunesmith.artifacts import MANIFEST, Manifest, ManifestFile
from tunesmith.errors import NotOurs
from tunesmith.removal import remove_names, result_in
from tunesmith.storage import S3Storage, Storage, open_storage
from tunesmith.storage_copy import give_up_uploads


class RemoteFolders:
    """The folders of one task.

    Args:
        storage: The task's artifact folder.
        task_id: Whose it is.
        is_own: Whether what carries no manifest in it is the task's too.
    """

    def __init__(self, storage: Storage, task_id: str, is_own: Callable[[], bool]) -> None:
        self._storage, self._task_id, self._is_own = storage, task_id, is_own
        self._opened: dict[str, set[str]] = {}
        self._copied: dict[str, list[ManifestFile]] = {}

    def copied(self, path: str) -> list[ManifestFile]:
        """What was copied into a folder that is not stored yet."""
        return self._copied.get(path, [])

    def put(self, folder: Path, path: str, manifest: Manifest, advance: Callable[[int], None]) -> None:
        """Bring a folder there, beside what was copied into it: its manifest last, what it replaces by name.

        Args:
            folder: Its files; those that were copied are not in it.
            path: Where it goes.
            manifest: Of all its files.
            advance: Told how many bytes more are there.

        Raises:
            NotOurs: Something stands there that this task did not make.
        """
        stale = self._open(path)
        del self._opened[path]  # should this fail, it is looked at again
        self._storage.put_folder(folder, path, advance)
        kept = {file.path for file in manifest.files} | {MANIFEST}
        # An older file of weights beside newer ones would be the one that is loaded.
        remove_names(self._storage, path, *(stale - kept))
        self._storage.write(f"{path}/{MANIFEST}", manifest.encode())
        self._copied.pop(path, None)

    def copy(
        self, uri: str, name: str, path: str, sha256: str, advance: Callable[[int], None]
    ) -> ManifestFile | None:
        """Have the server copy a file into a folder that is to be put: its bytes come here to be read alone.

        Args:
            uri: The folder that has it.
            name: What it is called there.
            path: Where it goes: the folder's path, and its name in it.
            sha256: What the copy must be.
            advance: Told how many bytes more of the copy were read; what it raises ends it.

        Returns:
            None where no server holds both, or the copy is of other bytes: it is gone then.

        Raises:
            NotOurs: Something stands there that this task did not make.
            OSError: The server refuses, or does not answer.
        """
        source = open_storage(uri)
        if not isinstance(source, S3Storage) or not isinstance(self._storage, S3Storage):
            return None
        folder, _, own = path.rpartition("/")
        stale = self._open(folder)
        if not self._storage.copy_from(source, name, path):
            return None
        stale.add(own)  # it goes again, should the folder be put without it
        size, digest = self._storage.sizes(folder)[own], hashlib.sha256()
        # The copy is read, not what it is of: that may be another one by now.
        for piece in self._storage.pieces(path, 0, size):
            digest.update(piece)
            advance(len(piece))
        if digest.hexdigest() != sha256:
            remove_names(self._storage, folder, own)
            return None
        made = ManifestFile(path=own, bytes=size, sha256=sha256)
        self._copied.setdefault(folder, []).append(made)
        return made

    def _open(self, path: str) -> set[str]:
        """What lies at a folder's place, once it no longer counts as whole; looked at once until the folder is put."""
        if path in self._opened:
            return self._opened[path]
        before = result_in(self._storage, path)
        is_ours = before.task_id == self._task_id if before is not None else self._is_own()
        there = set(self._storage.files(path))
        if there and not is_ours:
            raise NotOurs(
                f"`{self._storage.uri}/{path}` is not what this task made: it is left as it is.",
                hint="Move it away: the task saves into its own folder.",
            )
        # What is replaced must first stop to count as whole.
        remove_names(self._storage, path, MANIFEST)
        give_up_uploads(f"{self._storage.uri}/{path}")
        # Of an upload that was cut off nobody wrote down what it brought: it lies in this task's own place.
        self._opened[path] = {file.path for file in before.files} if before is not None else there
        return self._opened[path]
