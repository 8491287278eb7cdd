"""A task's results in storage: checkpoints and models are brought there whole, their manifest last, and read back.

Where the storage is a local folder they appear there at once and on disk. Knows folders and the storage; knows nothing
of what is inside a checkpoint, nor of threads.
"""

import hashlib
import logging
import os
import shutil
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from tunesmith.activity import ActivityKind
from tunesmith.artifacts import (
    CHECKPOINTS,
    MANIFEST,
    RESULTS,
    Manifest,
    ManifestFile,
    checkpoint_name,
    checkpoint_step,
    faults_of,
    list_files,
)
from tunesmith.errors import NotOurs
from tunesmith.events import Warned
from tunesmith.removal import (
    claim_storage,
    discard,
    finish_removals,
    lay,
    remove_result,
    remove_stored,
    require_place,
    staged,
    writer_of,
)
from tunesmith.storage import open_storage
from tunesmith_jobs.activities import Activities, bytes_below
from tunesmith_jobs.remote_folders import RemoteFolders

_PIECE_BYTES = 2**22
_SETTLE_BYTES = 2**28
_log = logging.getLogger("tunesmith_jobs.checkpoints")


class Owner(NamedTuple):
    """Whose files these are; goes into every manifest."""

    task_id: str
    attempt: int
    base_model: str
    """What it is called outside of this machine."""
    chat_template_sha256: str | None


def write_pieces(
    path: Path, pieces: Iterable[bytes | memoryview], advance: Callable[[int], None] = lambda count: None
) -> str:
    """Write a file from its pieces, each in smaller ones; returns its sha256, taken on the way."""
    digest = hashlib.sha256()
    unsettled = 0
    with path.open("wb", buffering=0) as file:
        for piece in map(memoryview, pieces):
            for begin in range(0, len(piece), _PIECE_BYTES):
                part = piece[begin : begin + _PIECE_BYTES]
                digest.update(part)
                unsettled += len(part)
                advance(len(part))
                while part:
                    part = part[file.write(part) :]
                if unsettled >= _SETTLE_BYTES:
                    # Else the last wait for the disk would be for all of it, and nobody could see it get on.
                    os.fsync(file.fileno())
                    unsettled = 0
    return digest.hexdigest()


class ArtifactStore:
    """A task's artifact folder in storage, and the user's own folder beside it when one was asked for."""

    def __init__(
        self,
        artifact_uri: str,
        owner: Owner,
        output_dir: Path | None = None,
        warn: Callable[[Warned], None] = lambda _: None,
        activities: Activities | None = None,
    ) -> None:
        """Nothing is written yet.

        Args:
            artifact_uri: The artifact folder.
            owner: Whose it is.
            output_dir: The user's own folder.
            warn: Told once of each place in it that others hold.
            activities: Told how far it is with what it brings there.
        """
        self._activities = activities or Activities()
        self._storage = open_storage(artifact_uri)
        self._uri = artifact_uri.rstrip("/")
        self._owner = owner
        self._output_dir = output_dir
        self._warn = warn
        self._is_claimed: bool | None = None
        self._remote = RemoteFolders(self._storage, owner.task_id, self._is_own)
        self.not_shown: dict[Path, str] = {}
        """Places in the user's folder that others hold, and why nothing was published there."""

    def steps(self) -> list[int]:
        """The steps of all checkpoint folders, oldest first; whole or not."""
        found = (checkpoint_step(name) for name in self._storage.list(CHECKPOINTS))
        return sorted(step for step in found if step is not None)

    def newest(
        self,
        scratch: Path,
        warn: Callable[[Warned], None],
        look: Callable[[Path, int], list[str]] = lambda folder, step: [],
        passed: Collection[int] = (),
    ) -> tuple[int, Path] | None:
        """The newest checkpoint of this task that verifies, as a local folder; others are passed over with a warning.

        Args:
            scratch: Takes a copy, where the storage lies elsewhere.
            warn: Told of each that is passed over.
            look: Says what is wrong with the inside of one whose files are those that were saved.
            passed: Steps whose checkpoints were tried, and told of.
        """
        for step in reversed(self.steps()):
            if step in passed:
                continue
            folder = self._storage.get_folder(f"{CHECKPOINTS}/{checkpoint_name(step)}", scratch)
            faults = faults_of(folder) or self._strange(folder, step) or look(folder, step)
            if not faults:
                return step, folder
            more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
            warn(
                Warned(
                    code="checkpoint_damaged",
                    message=f"`{checkpoint_name(step)}` is not used: {faults[0]}{more}.",
                    hint="Training goes on from the checkpoint before it, or from the start.",
                )
            )
        return None

    def _strange(self, folder: Path, step: int) -> list[str]:
        """Whether a whole checkpoint is of another task, or of another step than its name says."""
        manifest = Manifest.decode((folder / MANIFEST).read_bytes())
        assert manifest is not None
        if manifest.task_id != self._owner.task_id:
            return [f"it is of another task (`{manifest.task_id}`)"]
        if manifest.kind != "checkpoint" or manifest.step != step:
            return [f"its manifest is of a {manifest.kind} of step {manifest.step}"]
        return []

    def put(
        self,
        folder: Path,
        path: str,
        step: int,
        kind: str = "checkpoint",
        sums: Mapping[Path, str] | None = None,
        base: str | None = None,
    ) -> tuple[Manifest, str]:
        """Bring a local folder to storage, its manifest last, and both on disk where the storage is a local folder.

        Args:
            folder: The folder; consumed.
            path: Where it goes.
            step: The step that it was saved at.
            kind: What it holds.
            sums: The sha256 of files in it that are known already.
            base: Where its base lies, where its card asks the manifest for that; what it is called when not given.

        Returns:
            The manifest and the URI of what was stored.

        Raises:
            NotOurs: Something stands there that this task did not make.
        """
        with self._activities.doing(ActivityKind.SAVING, total=bytes_below(folder)) as doing:
            files = list_files(folder, sums, doing.advance)
        files = sorted(files + self._remote.copied(path), key=lambda file: file.path)
        owner = self._owner if base is None else self._owner._replace(base_model=base)
        manifest = Manifest.model_validate({**owner._asdict(), "step": step, "kind": kind, "files": files})
        here = self._storage.local(path)
        if here is not None:
            self._put_here(folder, here, manifest)
        else:
            self._put_there(folder, path, manifest)
        self._show(folder, path, manifest)
        return manifest, f"{self._uri}/{path}"

    def _put_here(self, folder: Path, target: Path, manifest: Manifest) -> None:
        """Let a folder appear whole and on disk, in place of an earlier one of this task."""
        task_id = self._owner.task_id
        target.parent.mkdir(parents=True, exist_ok=True)
        require_place(target, task_id, unfinished=self._is_own())
        busy = self._activities
        with staged(target, task_id) as new:
            try:
                new.rmdir()
                folder.rename(new)
            except OSError:  # another file system
                with busy.doing(
                    ActivityKind.UPLOADING, total=manifest.total_bytes, measure=lambda: bytes_below(new)
                ):
                    shutil.copytree(folder, new)
            (new / MANIFEST).write_bytes(manifest.encode())
            with busy.doing(ActivityKind.SAVING, total=manifest.total_bytes) as doing:
                for path in (*sorted(new.rglob("*")), new):
                    _settle(path)
                    doing.advance(path.stat().st_size if path.is_file() else 0)
            lay(new, target, task_id, unfinished=self._is_own())
            _settle(target.parent)

    def _put_there(self, folder: Path, path: str, manifest: Manifest) -> None:
        """Bring a folder to a storage that is no folder here."""
        with self._activities.doing(ActivityKind.UPLOADING, total=manifest.total_bytes) as doing:
            doing.advance(sum(file.bytes for file in self._remote.copied(path)))
            self._remote.put(folder, path, manifest, doing.advance)

    def copy_there(
        self, uri: str, name: str, path: str, sha256: str, advance: Callable[[int], None]
    ) -> ManifestFile | None:
        """See `RemoteFolders.copy`; None too where the file is to be shown in the user's own folder."""
        return self._remote.copy(uri, name, path, sha256, advance) if self._output_dir is None else None

    def _is_own(self) -> bool:
        """Whether the artifact folder is this task's alone, so that what carries no manifest in it is too."""
        if self._is_claimed is None:
            names = (CHECKPOINTS, *RESULTS)
            for folder in (self._storage.local(CHECKPOINTS), self._storage.local(), self._output_dir):
                if folder is not None:
                    finish_removals(folder, self._owner.task_id)
            # A folder from before there were marks, whose path does not name the task: its checkpoints tell.
            is_proven = any(self._is_ours(step) for step in reversed(self.steps()))
            self._is_claimed = claim_storage(self._storage, self._owner.task_id, () if is_proven else names)
        return self._is_claimed

    def _is_ours(self, step: int) -> bool:
        manifest = self.manifest(step)
        return manifest is not None and manifest.task_id == self._owner.task_id

    def _show(self, folder: Path, path: str, manifest: Manifest) -> None:
        """Show what was stored in the user's own folder too, unless something of others' stands there."""
        if self._output_dir is None:
            return
        target, fetched = self._output_dir / path.rsplit("/", 1)[-1], folder.parent / "publish"
        # What was brought elsewhere lies here still: it is not fetched back, and linked where that can be.
        source = self._storage.local(path) or (folder if folder.is_dir() else None)

        def shown() -> int:
            return bytes_below(fetched, *target.parent.glob(f".{target.name}.*"))

        try:
            with self._activities.doing(ActivityKind.SAVING, measure=shown):
                source = source or self._storage.get_folder(path, fetched)
                left = publish(source, target, self._owner.task_id, manifest)
        except NotOurs as error:
            if target not in self.not_shown:
                _log.warning("%s is not published: %s", path, error)
                self._warn(
                    Warned(
                        code="not_published",
                        message=f"`{path}` is in the storage and not in `{self._output_dir}`: {error.message}",
                        hint=error.hint,
                    )
                )
            self.not_shown[target] = error.message
            return
        finally:
            if self._storage.local(path) is None:
                discard(fetched)  # a copy from which it was shown
        self.not_shown.pop(target, None)
        if left:
            _log.warning("`%s` and more had been laid into `%s`: it was moved beside it", left[0], target)

    def write(self, path: str, data: bytes) -> None:
        """Write a file that is not part of a checkpoint."""
        self._is_own()
        self._storage.write(path, data)

    def remove_checkpoint(self, step: int) -> bool:
        """Remove a checkpoint; it stops to count as whole before its files go.

        Returns:
            Whether nothing is left of it: what others laid into it stays.

        Raises:
            NotOurs: It is not this task's.
        """
        path = f"{CHECKPOINTS}/{checkpoint_name(step)}"
        task_id = self._owner.task_id
        is_gone = remove_stored(self._storage, path, task_id, unfinished=self._is_own())
        if self._output_dir is not None:
            published = self._output_dir / checkpoint_name(step)
            if writer_of(published) == task_id:
                try:
                    remove_result(published, task_id)
                except (NotOurs, OSError) as error:  # the task's own copy is what counts
                    _log.warning("`%s` is left: %s", published, error)
        return is_gone

    def is_whole(self, step: int, manifest: Manifest) -> bool:
        """Whether the storage gives back a checkpoint's manifest, and all its files in their sizes; makes no hash."""
        path = f"{CHECKPOINTS}/{checkpoint_name(step)}"
        if self._storage.read(f"{path}/{MANIFEST}") != manifest.encode():
            return False
        return {file.path: file.bytes for file in manifest.files}.items() <= self._storage.sizes(path).items()

    def manifest(self, step: int) -> Manifest | None:
        """A checkpoint's manifest; None where the storage gives none back."""
        try:
            data = self._storage.read(f"{CHECKPOINTS}/{checkpoint_name(step)}/{MANIFEST}")
        except OSError:
            _log.warning("the manifest of checkpoint-%s could not be read", step, exc_info=True)
            return None
        return Manifest.decode(data) if data is not None else None

    def uri(self, step: int) -> str:
        """Where a checkpoint lies."""
        return f"{self._uri}/{CHECKPOINTS}/{checkpoint_name(step)}"

    def checkpoint_folder(self, step: int, scratch: Path) -> Path:
        """A checkpoint as a local folder, unverified."""
        return self._storage.get_folder(f"{CHECKPOINTS}/{checkpoint_name(step)}", scratch)


def _settle(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def link_or_copy(source: Path, target: Path) -> None:
    """A hard link where the file system allows it, else a copy. Our files are never changed in place."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def publish(source: Path, target: Path, task_id: str, manifest: Manifest) -> list[Path]:
    """Show a whole folder at `target` too; it appears there complete, in place of the task's own earlier one.

    Args:
        source: Its files; with its manifest or without.
        target: Where it is shown.
        task_id: Whose it is.
        manifest: What tells its files.

    Returns:
        What others had laid into the earlier one: it lies in a folder beside it now.

    Raises:
        NotOurs: Something else stands there; it is left as it is.
    """
    require_place(target, task_id)
    target.parent.mkdir(parents=True, exist_ok=True)
    with staged(target, task_id) as new:
        for file in sorted(source.rglob("*")):
            if file.is_file() and file.name != MANIFEST:
                link_or_copy(file, new / file.relative_to(source))
        (new / MANIFEST).write_bytes(manifest.encode())
        return lay(new, target, task_id)
