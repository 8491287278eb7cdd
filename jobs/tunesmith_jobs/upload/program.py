"""What the attempts of an upload do: bring a result from the storage to a repository of the Hub.

In the driver's own process, without Ray. Knows manifests, the outlet and an upload's steps; `hub` talks to the Hub.
"""

import os
import time
from pathlib import Path

from tunesmith.activity import ActivityKind
from tunesmith.artifacts import MANIFEST, Manifest
from tunesmith.errors import InvalidInput
from tunesmith.events import LogLine, Progress
from tunesmith.lifecycle import Desired, Reason
from tunesmith.outcome import Outcome
from tunesmith.proxies import going_outside
from tunesmith.spec.upload import UploadSpec
from tunesmith.storage import open_storage
from tunesmith.upload_job import UploadDocument
from tunesmith_jobs.document import is_stop_requested
from tunesmith_jobs.failures import Stopped, StorageFailed, Superseded
from tunesmith_jobs.outlet import Outlet
from tunesmith_jobs.program import Program, WorkerContext
from tunesmith_jobs.upload.hub import Repository

_PARTS = 1000
_SPEED_SECONDS = 1.0


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
        folder, manifest = self._fetched()
        # What is kept apart in a folder below is not the model.
        files = [file for file in manifest.files if "/" not in file.path]
        repository = Repository(spec.repo_id, spec.revision, self._token(), self._check)
        repository.ensure(public=spec.public)
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

    def _fetched(self) -> tuple[Path, Manifest]:
        """The files on this machine: where they lie, or a copy of them.

        Raises:
            StorageFailed: The storage does not give them.
        """
        uri = self._document.model_uri
        try:
            storage = open_storage(uri)
            manifest = Manifest.decode(storage.read(MANIFEST) or b"")
            if manifest is None:
                raise StorageFailed(f"`{uri}` holds no whole result any more.")
            return storage.get_folder("", self._scratch / "result"), manifest
        except OSError as error:
            raise StorageFailed(f"`{uri}` cannot be read: {error}") from error

    def _token(self) -> str:
        """The token, from the environment or the file that the Hub's own library reads.

        Raises:
            InvalidInput: There is none.
        """
        if self._spec.variable not in self._document.environment:
            raise InvalidInput(f"`{self._spec.token}` may not be read here.", field="token")
        found = os.environ.get(self._spec.variable, "").strip()
        if not found:
            from huggingface_hub import get_token

            found = get_token() or ""
        if not found:
            raise InvalidInput(
                f"There is no token: `{self._spec.variable}` is not set where jobs run.",
                hint=f"Set `{self._spec.variable}`, or `HF_TOKEN_PATH` to a file that holds it, before `tunesmith up`; "
                "on Kubernetes, from a secret.",
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
