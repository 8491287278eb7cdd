"""Which task serves a base model: there is one for each base and user, begun by whoever asks first.

The row of a base names its newest start, and the task is made under that name as a key: however many ask at once, in
however many servers, and wherever one of them dies, there is one task. Knows rows and tasks; asks no replica.
"""

import datetime as dt
from collections.abc import Sequence
from typing import Any, NamedTuple

from sqlalchemy.orm import Session

from tunesmith.chat.document import route_of
from tunesmith.chat.proof import ENGINE, ProofState, ProofView
from tunesmith.chat.views import ChatState, ServedView
from tunesmith.chat.wire import ServedModel
from tunesmith.errors import Conflict, NotFound, Unavailable
from tunesmith.job import read_secret, report_token, serve_token
from tunesmith.lifecycle import Desired, State
from tunesmith.spec.chat import new_chat
from tunesmith.spec.kinds import Room
from tunesmith.spec.task import new_task
from tunesmith_platform.chats import proofs, repository
from tunesmith_platform.chats.names import Weights, base_key, short_name
from tunesmith_platform.clock import new_id, now
from tunesmith_platform.db.engine import Database
from tunesmith_platform.db.tables import ChatRow, ProofRow, TaskRow
from tunesmith_platform.queue import repository as queue
from tunesmith_platform.scope import Scope
from tunesmith_platform.settings import Settings
from tunesmith_platform.tasks import repository as tasks
from tunesmith_platform.tasks.service import TaskService

_NOTED = dt.timedelta(seconds=10)
"""How exactly it is noted when a base was asked last."""
_FAILED_FOR = dt.timedelta(seconds=30)
"""For so long whoever asks is told why a base could not be served; after that it is tried again."""
_LISTED = 200
_PINNED = 64
_LISTED_PROOFS = 2000
_STATES: dict[str, ChatState] = {
    "starting": "starting",
    "deploying": "deploying",
    "idle": "idle",
    "failed": "failed",
}


class Place(NamedTuple):
    """Where a base is served.

    Attributes:
        task_id: The task that serves it.
        url: Where it is asked; None while it cannot be yet.
        token: What is shown there.
        words: What it does while it cannot be asked.
    """

    task_id: str
    url: str | None
    token: str
    words: str


class ChatService:
    """Served base models: begin, look, list.

    Args:
        database: Where the rows are.
        settings: Where Ray Serve listens.
        making: Makes the tasks.
    """

    def __init__(self, database: Database, settings: Settings, making: TaskService) -> None:
        self._database = database
        self._settings = settings
        self._tasks = making

    def place(self, scope: Scope, base: str, first: ServedModel | None = None) -> Place:
        """Where a base is served; it begins to be where it is not.

        Args:
            scope: Whose.
            base: Its folder or URI.
            first: What is loaded with the base, where that begins to be served.

        Raises:
            Unavailable: The task that was to serve it has just failed; says why.
            InvalidInput: It cannot be served.
        """
        key = base_key(base)
        with self._database.read() as session:
            row = repository.find(session, scope, key)
            task = _task_of(session, scope, row)
        if row is None or row.task_id is None or task is None or not _is_live(task):
            if row is not None and task is not None and task.state == State.FAILED:
                self._refuse_failed(task, base)
            task, row = self._begin(scope, base, row, first)
        elif now() - row.asked_at > _NOTED:
            self._note_asked(scope, key)
        return self._place(task, row)

    def serving(self, scope: Scope, base: str) -> Place | None:
        """Where a base is served now; None where it is not."""
        with self._database.read() as session:
            row = repository.find(session, scope, base_key(base))
            task = _task_of(session, scope, row)
        return self._place(task, row) if row and task and _is_live(task) else None

    def list(self, scope: Scope) -> list[ServedView]:
        """The bases that are served or were, the one asked last first."""
        with self._database.read() as session:
            rows = [(row, _task_of(session, scope, row)) for row in repository.every(session, scope, _LISTED)]
        return [_view(row, task) for row, task in rows]

    def proof(self, scope: Scope, weights: str) -> ProofView:
        """What is known of some weights, of what answered with them last."""
        with self._database.read() as session:
            return _newest(repository.proofs_of(session, scope, [weights]))

    def proofs(self, scope: Scope) -> dict[str, ProofView]:
        """What is known of everything that was loaded, by the weights, and by the name that they had."""
        found: dict[str, ProofView] = {}
        with self._database.read() as session:
            rows = repository.own_proofs(session, scope, _LISTED_PROOFS)
        for row in rows:
            found.setdefault(row.weights, proofs.view(row))
            found.setdefault(row.model, proofs.view(row))
        return found

    def prove(self, scope: Scope, found: Weights) -> None:
        """Have it looked at anew whether what answers is the model.

        Raises:
            NotFound: It was never loaded.
            Conflict: There is nothing to prove, or that is being done.
        """
        with self._database.write() as session:
            rows = [
                row for row in repository.proofs_of(session, scope, [found.weights]) if row.engine == ENGINE
            ]
            if not rows:
                raise NotFound(
                    f"`{found.name}` was not loaded by llama.cpp yet: there is nothing to prove.",
                    hint="Ask it something, or load it.",
                    field="model",
                )
            row = rows[0]
            if row.state == ProofState.PENDING:
                raise Conflict(f"A proof of `{found.name}` is under way already.", field="model")
            proofs.again(row, found.name)

    def note_pin(self, scope: Scope, model: ServedModel, *, pinned: bool) -> None:
        """Remember that an adapter stays loaded, whatever becomes of its base's task; or that it need not."""
        with self._database.write() as session:
            row = repository.find(session, scope, base_key(model.base_path), locked=True)
            if row is None:
                return
            others = [one for one in row.pinned if one.get("weights") != model.weights]
            row.pinned = [*others, model.model_dump(mode="json")][-_PINNED:] if pinned else others

    def make_room(self, scope: Scope, but: str) -> bool:
        """Let a base go that is in no memory, so that another finds place among those that are served.

        Args:
            scope: Whose.
            but: The task that is to find place.
        """
        with self._database.read() as session:
            waiting = tasks.known(session, scope, but)
            if waiting is None or waiting.state != State.PENDING or waiting.is_attempt_open:
                return False
            if queue.count_open(session, scope, Room.CHAT) < self._settings.max_chat_jobs:
                return False
            rows = reversed(repository.every(session, scope, _LISTED))
            idle = [_task_of(session, scope, row) for row in rows if row.state == "idle"]
            found = next((one.id for one in idle if one and one.id != but and _is_live(one)), None)
        if found is None:
            return False
        self._tasks.stop(scope, found)
        return True

    # --- beginning

    def _begin(
        self, scope: Scope, base: str, seen: ChatRow | None, first: ServedModel | None
    ) -> tuple[TaskRow, ChatRow]:
        """Make the task that serves a base, or find the one that another has made meanwhile."""
        ended = seen.start if seen is not None and seen.task_id is not None else None
        loads = first.model_dump(mode="json") if first is not None else {}
        start = self._database.retry_on_conflict(lambda session: _start(session, scope, base, ended, loads))
        body = new_chat({"model_name_or_path": base}, name=f"chat_{short_name(base)}"[:120])
        new = new_task(str(body.pop("kind")), body.pop("spec"), body)
        made, _ = self._tasks.create(scope, new, start)

        def note(session: Session) -> ChatRow | None:
            row = repository.find(session, scope, base_key(base), locked=True)
            if row is not None and row.start == start and row.task_id is None:
                row.task_id = made.id
            return row

        row = self._database.retry_on_conflict(note)
        assert row is not None
        with self._database.read() as session:
            return tasks.require(session, scope, made.id), row

    def _refuse_failed(self, task: TaskRow, base: str) -> None:
        """Say why a base is not served, as long as it has only just failed.

        Raises:
            Unavailable: It has.
        """
        left = _FAILED_FOR - (now() - (task.ended_at or task.created_at))
        if left > dt.timedelta():
            raise Unavailable(
                f"`{short_name(base)}` could not be served: {task.message}",
                hint=f"`tunesmith tasks logs {task.id}` says more; a question in {left.seconds + 1} s tries again.",
                details={"task_id": task.id, "retry_after": left.seconds + 1},
            )

    def _note_asked(self, scope: Scope, key: str) -> None:
        with self._database.write() as session:
            row = repository.find(session, scope, key, locked=True)
            if row is not None:
                row.asked_at = now()

    # --- looking

    def _place(self, task: TaskRow, row: ChatRow) -> Place:
        settings = self._settings
        words = row.message if row.task_id == task.id and row.state == "deploying" else ""
        url = None
        if task.state == State.RUNNING and task.is_attempt_open and row.attempt == task.attempt:
            root = f"http://{_bracketed(settings.serve_host)}:{settings.serve_port}"
            url = f"{root}{route_of(task.id, task.attempt)}"
        token = report_token(read_secret(settings.report_secret_file), task.id, task.attempt)
        return Place(task.id, url, serve_token(token), words or task.message or "It is starting.")


def _start(session: Session, scope: Scope, base: str, ended: str | None, first: dict[str, Any]) -> str:
    """The name of the start that is to be made now: another one where the last has ended."""
    row = repository.find(session, scope, base_key(base), locked=True)
    if row is None:
        row = ChatRow(
            **scope.stamp(),
            base_key=base_key(base),
            base=base,
            start=new_id("start"),
            task_id=None,
            attempt=None,
            state="starting",
            message="",
            loaded={},
            created_at=now(),
            asked_at=now(),
            pinned=[],
            first=first,
        )
        repository.put(session, scope, row)
    elif ended is not None and row.start == ended:
        row.start, row.task_id, row.attempt = new_id("start"), None, None
        row.state, row.message, row.loaded, row.asked_at = "starting", "", {}, now()
        row.first = first
    return row.start


def _newest(rows: Sequence[ProofRow]) -> ProofView:
    """What is known of weights, by what answered with them last."""
    return proofs.view(rows[0] if rows else None)


def _task_of(session: Session, scope: Scope, row: ChatRow | None) -> TaskRow | None:
    return tasks.known(session, scope, row.task_id) if row is not None and row.task_id is not None else None


def _is_live(task: TaskRow) -> bool:
    return not State(task.state).is_terminal and task.desired == Desired.RUN


def _view(row: ChatRow, task: TaskRow | None) -> ServedView:
    is_live = task is not None and _is_live(task)
    state: ChatState = _STATES.get(row.state, "ready") if is_live else "ended"
    if task is not None and task.state == State.FAILED:
        state = "failed"
    return ServedView(
        task_id=row.task_id,
        base=row.base,
        name=short_name(row.base),
        state=state,
        message=(row.message if is_live else "") or (task.message if task is not None else ""),
        loaded=row.loaded if is_live else {},
        asked_at=row.asked_at,
    )


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
