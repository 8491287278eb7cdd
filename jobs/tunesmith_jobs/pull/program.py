"""What the attempts of a pull do: bring a model from a hub to the models folder, complete or not at all.

In the driver's own process, without Ray. Knows the outlet and a pull's parameters; `models.pull` fetches.
"""

import contextlib
import os
import time
from pathlib import Path

from tunesmith.activity import ActivityKind
from tunesmith.errors import TunesmithError
from tunesmith.events import LogLine, Progress
from tunesmith.lifecycle import Desired, Reason
from tunesmith.outcome import Outcome
from tunesmith.proxies import going_outside
from tunesmith.pull_job import PullDocument
from tunesmith.secret_values import named
from tunesmith.spec.pull import PullSpec
from tunesmith_jobs.activities import Doing
from tunesmith_jobs.document import is_stop_requested
from tunesmith_jobs.failures import Stopped, Superseded
from tunesmith_jobs.models.pull import Hub, Wish, pull
from tunesmith_jobs.outlet import Outlet
from tunesmith_jobs.program import Program, WorkerContext

_PARTS = 1000
_SAID_SECONDS = 1.0


class Pulling(Program[PullDocument]):
    """Pulls, in the driver's own process."""

    document = PullDocument

    def work(self, document: PullDocument, outlet: Outlet, context: WorkerContext) -> Outcome:
        """See `Program.work`."""
        # Bytes that the library's own transfer (Xet) moves can be neither counted nor stopped.
        os.environ["HF_HUB_DISABLE_XET"] = "1"
        with going_outside():  # the hub may lie behind a proxy
            return _Pull(document, outlet).run()


class _Pull:
    """One attempt."""

    def __init__(self, document: PullDocument, outlet: Outlet) -> None:
        self._document, self._outlet = document, outlet
        self._spec = PullSpec.stored(document.spec)
        self._began = time.monotonic()
        self._said_at = 0.0

    def run(self) -> Outcome:
        spec = self._spec
        self._check()
        with contextlib.ExitStack() as stack:
            doing: Doing | None = None

            def watch(done: int, total: int) -> None:
                nonlocal doing
                if doing is None:  # how much it is, is known with the first piece
                    doing = stack.enter_context(
                        self._outlet.activities.doing(ActivityKind.DOWNLOADING, total=total)
                    )
                doing.done = done
                self._report(done, total)

            wish = Wish(Hub(spec.hub), spec.revision, self._token(), watch)
            try:
                folder = pull(spec.repo_id, Path(self._document.models_dir), self._say, wish)
            except TunesmithError:
                self._check()  # a stop ends what the hub's library was doing as an error of it
                raise
        self._outlet.emit(Progress(step=_PARTS, total_steps=_PARTS, seconds_left=0.0))
        return Outcome.because(Reason.COMPLETED, f"`{spec.repo_id}` is there as `{folder.name}`.")

    def _token(self) -> str | None:
        """The token, from the environment; None where there is none, or none may be read."""
        if self._spec.variable not in self._document.environment:
            return None
        return named(self._spec.variable) or None

    def _check(self) -> None:
        if self._outlet.superseded:
            raise Superseded
        if self._outlet.desired is Desired.STOP or is_stop_requested(self._document):
            raise Stopped("Stopped on request. Nothing of the model is kept.")

    def _report(self, done: int, total: int) -> None:
        now = time.monotonic()
        if now - self._said_at < _SAID_SECONDS:
            return
        self._said_at = now
        self._check()
        left = (now - self._began) * (total - done) / done if done else None
        # Of each thousandth of it: a count of bytes is no step that anybody reads.
        self._outlet.emit(
            Progress(step=done * _PARTS // max(1, total), total_steps=_PARTS, seconds_left=left)
        )

    def _say(self, message: str) -> None:
        self._outlet.emit(LogLine(source="driver", message=message))
