"""What the attempts of an upload do: bring a result from the storage to a repository of the Hub.

In the driver's own process, without Ray. Knows manifests, the outlet and an upload's steps; `hub` talks to the Hub.
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from tunesmith.activity import ActivityKind
from tunesmith.artifacts import MANIFEST, Manifest, ManifestFile
from tunesmith.errors import InvalidData, InvalidInput
from tunesmith.events import LogLine, Progress
from tunesmith.lifecycle import Desired, Reason
from tunesmith.outcome import Outcome
from tunesmith.proxies import going_outside
from tunesmith.secret_values import named
from tunesmith.spec.upload import UploadSpec
from tunesmith.storage import Storage, open_storage
from tunesmith.upload_job import UploadDocument
from tunesmith_jobs.document import is_stop_requested
from tunesmith_jobs.failures import Stopped, StorageFailed, Superseded
from tunesmith_jobs.outlet import Outlet
from tunesmith_jobs.program import Program, WorkerContext
from tunesmith_jobs.upload.hub import CARD, SAMPLE_BYTES, Repository

_PARTS = 1000
_SPEED_SECONDS = 1.0
_Read = TypeVar("_Read")


class Uploading(Program[UploadDocument]):
    """Uploads, in the driver's own process."""

    document = UploadDocument

    def work(self, document: UploadDocument, outlet: Outlet, context: WorkerContext) -> Outcome:
        """See `Program.work`."""
        with going_outside():  # the Hub may lie behind a proxy
            return _Upload(document, outlet, context.scratch).run()


class _Upload:
    """One attempt."""

    def __init__(self, document: UploadDocument, outlet: Outlet, scratch: Path) -> None:
        self._document, self._outlet, self._scratch = document, outlet, scratch
        self._spec = UploadSpec.stored(document.spec)
        self._reported_at = 0.0
        self._began = time.monotonic()

    def run(self) -> Outcome:
        spec = self._spec
        self._check()
        storage, manifest = self._stored()
        # What is kept apart in a folder below is not the model.
        files = [file for file in manifest.files if "/" not in file.path]
        repository = Repository(spec.repo_id, spec.revision, self._token(), self._check)
        # What the Hub would refuse once all is there is asked before anything is: made, fetched or sent.
        if any(file.path == CARD for file in files):
            repository.check_card(self._read(lambda: storage.read(CARD) or b""))
        repository.ensure(public=spec.public)
        repository.check_files({file.path: (file, self._begin_of(storage, file)) for file in files})
        folder = self._read(lambda: storage.get_folder("", self._scratch / "result"))
        self._say(f"`{spec.repo_id}` at {repository.endpoint} is there. Files that go there: {len(files)}.")
        total = sum(file.bytes for file in files)
        with self._outlet.activities.doing(ActivityKind.UPLOADING, total=total) as doing:

            def more(count: int) -> None:
                doing.done = max(0, min(total, doing.done + count))
                self._report(doing.done, total)

            for file in sorted(files, key=lambda one: one.bytes):
                was_there = repository.send(folder / file.path, file, more)
                if was_there:
                    more(file.bytes)
                self._say(f"`{file.path}`: " + ("the Hub has it already." if was_there else "sent."))
            self._check()
            commit = repository.commit(f"{self._document.name}: {len(files)} files")
        self._report(total, total)
        words = f"Files: {len(files)}, {total / 1e6:.1f} MB, in `{spec.repo_id}` (commit {commit[:12]})."
        return Outcome.because(Reason.COMPLETED, words)

    def _stored(self) -> tuple[Storage, Manifest]:
        """Where the files lie, and which they are.

        Raises:
            InvalidData: One is not as it was stored.
            StorageFailed: The storage does not say.
        """
        uri = self._document.model_uri
        storage = self._read(lambda: open_storage(uri))
        manifest = Manifest.decode(self._read(lambda: storage.read(MANIFEST)) or b"")
        if manifest is None:
            raise StorageFailed(f"`{uri}` holds no whole result any more.")
        sizes = self._read(lambda: storage.sizes(""))
        if other := [file.path for file in manifest.files if sizes.get(file.path) != file.bytes]:
            raise InvalidData(f"`{other[0]}` is not what was stored.", hint="Make the package again.")
        return storage, manifest

    def _begin_of(self, storage: Storage, file: ManifestFile) -> bytes:
        """How a file begins, as far as the Hub wants to know.

        Raises:
            StorageFailed: The storage does not give it.
        """
        count = min(SAMPLE_BYTES, file.bytes)
        return self._read(lambda: b"".join(storage.pieces(file.path, 0, count)))

    def _read(self, call: Callable[[], _Read]) -> _Read:
        """What the storage gives.

        Raises:
            StorageFailed: It gives nothing.
        """
        try:
            return call()
        except OSError as error:
            raise StorageFailed(f"`{self._document.model_uri}` cannot be read: {error}") from error

    def _token(self) -> str:
        """The token, from the environment or the file that the Hub's own library reads.

        Raises:
            InvalidInput: There is none.
        """
        if self._spec.variable not in self._document.environment:
            raise InvalidInput(f"`{self._spec.token}` may not be read here.", field="token")
        found = named(self._spec.variable)
        if not found:
            from huggingface_hub import get_token

            found = get_token() or ""
        if not found:
            raise InvalidInput(
                f"There is no token: `{self._spec.variable}` is not set where jobs run.",
                hint=f"Set `{self._spec.variable}`, or `{self._spec.variable}_FILE` to a file that holds it, before "
                "`tunesmith up`; on Kubernetes, from a secret.",
                field="token",
            )
        return found

    def _check(self) -> None:
        if self._outlet.superseded:
            raise Superseded
        if self._outlet.desired is Desired.STOP or is_stop_requested(self._document):
            raise Stopped(
                "Stopped on request. The Hub keeps what was sent; the same upload again goes on there."
            )

    def _report(self, done: int, total: int) -> None:
        now = time.monotonic()
        if done < total and now - self._reported_at < _SPEED_SECONDS:
            return
        self._check()
        self._reported_at = now
        left = (now - self._began) * (total - done) / done if done else None
        # Of each thousandth of it: a count of bytes is no step that anybody reads.
        self._outlet.emit(
            Progress(step=done * _PARTS // max(1, total), total_steps=_PARTS, seconds_left=left)
        )

    def _say(self, message: str) -> None:
        self._outlet.emit(LogLine(source="driver", message=message))
