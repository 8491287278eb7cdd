"""The replica of a chat on Ray Serve: one process that holds a base model and its adapters, and answers.

Reads its attempt's document, which lies in storage: neither parameters nor tokens are Ray's to know. Looks about twice
a second at what its driver says: it ends the answers when a stop is wanted, and removes its own application when the
driver is gone, so that nothing lives on without a task. Knows Ray Serve; what it does with a question is `asking`'s.
"""

import asyncio
import contextlib
import logging
import os
import pkgutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from tunesmith.chat.document import ChatDocument
from tunesmith.chat.wire import Pin, ServedModel
from tunesmith.job import serve_token
from tunesmith.plain_text import as_json
from tunesmith.removal import claim, discard
from tunesmith.spec.chat import ChatSpec
from tunesmith_jobs.document import read_bytes
from tunesmith_jobs.models.busy import Busy
from tunesmith_serve.ahead import base_of
from tunesmith_serve.asking import Questions
from tunesmith_serve.board import Board, Lease, PinsNote, RayStore, ReplicaNote
from tunesmith_serve.engine import Engine, EngineSettings
from tunesmith_serve.http import ChatApp
from tunesmith_serve.limits import Limits
from tunesmith_serve.prompts import Prompts
from tunesmith_serve.shelf import Shelf

LOOK_SECONDS = 0.5
MAX_WAITING = 64
"""So many questions may wait in a replica beside those that are answered."""
_TURNS = 4
"""So many questions share the room of one, in turns, before others wait for their first word."""
GONE = "The task that serves this model is gone."
_log = logging.getLogger("tunesmith_serve.replica")


def engine_settings(document: ChatDocument, cpus: float, use_gpu: bool, scratch: Path) -> EngineSettings:
    """What a document's engine is made with.

    Args:
        document: Of the attempt.
        cpus: Processors that are reserved; 0: it shares all that there are.
        use_gpu: Whether a GPU is.
        scratch: A folder of its own.
    """
    spec = ChatSpec.stored(document.spec)
    return EngineSettings(
        engine=spec.engine,
        base=Path(document.model_uri),
        training=document.training,
        threads=spec.threads or max(1, int(cpus or len(os.sched_getaffinity(0)))),
        use_gpu=use_gpu,
        context_length=spec.context_length,
        max_running=spec.max_running,
        max_adapters=spec.max_adapters,
        cache=Path(document.cache_dir),
        scratch=scratch,
        owner=document.task_id,
        file=document.file,
    )


def places(max_running: int) -> tuple[int, int]:
    """How many questions the engine is asked at once, and how many more wait: it lets some take turns.

    Args:
        max_running: So many are computed at once.
    """
    asked = min(_TURNS * max_running, max_running + MAX_WAITING)
    return asked, max_running + MAX_WAITING - asked


class Replica:
    """What Ray Serve starts.

    Args:
        uri: Of the attempt's document.
        cpus: Processors that are reserved.
        use_gpu: Whether a GPU is.
        engine: What makes the engine, as `module:function`; takes `EngineSettings`.
    """

    async def __init__(self, uri: str, cpus: float, use_gpu: bool, engine: str) -> None:  # type: ignore[misc]  # Ray Serve waits for it
        document = ChatDocument.model_validate_json(await asyncio.to_thread(read_bytes, uri))
        spec = ChatSpec.stored(document.spec)
        name = os.urandom(4).hex()
        self._application = document.application
        self._owner = document.task_id
        self._scratch = Path(document.work_dir) / "serve" / name
        claim(self._scratch, self._owner)
        settings = engine_settings(document, cpus, use_gpu, self._scratch / "engine")
        make: Callable[[EngineSettings], Engine] = pkgutil.resolve_name(engine)
        self._engine = make(settings)
        self._prompts = Prompts(settings.cache)
        self._note = ReplicaNote(replica=name)
        self._busy = Busy(settings.cache)
        shelf = Shelf(self._engine, spec.max_adapters, self._note.add)
        limits = Limits(*places(spec.max_running))
        self._questions = Questions(self._engine, self._prompts, shelf, limits, document.model_uri)
        self._app = ChatApp(serve_token(document.token), self._questions)
        self._board = Board(self._application, RayStore())
        before = await asyncio.to_thread(self._before)
        self._following = asyncio.create_task(self._follow())
        self._first = asyncio.create_task(self._bring_first(document, *before))

    async def __call__(self, request: Request) -> Response:
        """Answer a request."""
        return _Handed(self._app)

    async def __del__(self) -> None:
        """End everything that was started; Ray Serve calls it once, when no question is under way."""
        self._questions.end("The model is being put away.")
        for task in (self._following, self._first):
            task.cancel()
        await self._prompts.close()
        await self._engine.close()
        await asyncio.to_thread(self._busy.over, self._note.replica)
        await asyncio.to_thread(discard, self._scratch, self._owner)

    async def _bring_first(self, document: ChatDocument, pins: PinsNote | None, is_first: bool) -> None:
        model = document.first or base_of(document)
        pinned = document.pinned if pins is None else pins.models
        for one in pinned:
            self._questions.pin(Pin(weights=one.weights, model=one))
        # A replica that came after another was woken by a question, which brings its own model.
        brought = [document.first] if document.first is not None and is_first else []
        doing = [self._prompts.prepare(model)]
        doing += [self._questions.bring(one) for one in (*brought, *pinned)]
        for failure in await asyncio.gather(*doing, return_exceptions=True):
            if failure is not None:  # whoever asks is told
                _log.warning("what the first question would wait for was not done: %s", failure)

    def _before(self) -> tuple[PinsNote | None, bool]:
        """What a replica before this one left, and whether there was none."""
        try:
            return self._board.pins(), self._board.replica() is None
        except Exception:  # the cluster's store may be away for a while
            _log.exception("what was pinned before could not be read")
            return None, False

    async def _follow(self) -> None:
        """Hear what the driver says, and say what is done here."""
        lease, said, is_lost = Lease(), b"", False
        kept: list[ServedModel] = []
        while True:
            try:
                note = await asyncio.to_thread(self._board.driver)
                was_lost, is_lost = is_lost, lease.look(note)
                why = GONE if is_lost else note.stop if note is not None else ""
                if why:
                    self._questions.end(why)
                elif was_lost:
                    self._questions.resume()
                if is_lost and not was_lost:
                    await asyncio.to_thread(self._remove)
                if self._questions.limits.running:
                    await asyncio.to_thread(self._busy.note, self._note.replica)
                self._note.status = self._questions.status
                self._note.is_ended = bool(why) and not self._questions.limits.taken
                words = as_json(self._note)
                if words != said:
                    await asyncio.to_thread(self._board.leave, self._note)
                    said = words
                if self._questions.pinned != kept:
                    kept = list(self._questions.pinned)
                    await asyncio.to_thread(self._board.leave, PinsNote(models=kept))
            except (
                Exception
            ):  # the cluster's store may be away for a while; its driver then renews nothing either
                _log.exception("the driver could not be heard")
                if lease.look(None):
                    self._questions.end(GONE)
            await asyncio.sleep(LOOK_SECONDS)

    def _remove(self) -> None:
        """Remove the own application: its driver is gone."""
        from ray import serve

        _log.warning("the driver is gone: the application `%s` is removed", self._application)
        with contextlib.suppress(Exception):
            serve.delete(self._application, _blocking=False)
        self._board.clear()


class _Handed(Response):
    """A response that an ASGI application writes itself."""

    def __init__(self, app: ChatApp) -> None:
        super().__init__()
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await self._app(scope, receive, send)
