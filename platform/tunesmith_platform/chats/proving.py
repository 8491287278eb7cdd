"""The loop that has proven what answers: a task for all weights that were loaded and of which nothing is known.

Level-triggered, under a lease of its own: it looks at which proofs wait and at how their tasks stand, so that one is
submitted once, however often the platform or a task is killed. One that ends without a word is tried again, a few times
and later each time. A task is its owner's, in a room of its own, at the lowest priority.
"""

import contextlib
import datetime as dt
from typing import Any, Protocol

from tunesmith import views
from tunesmith.chat.proof import ProofState
from tunesmith.errors import InvalidInput, NotFound, TunesmithError, Unavailable
from tunesmith.lifecycle import State
from tunesmith.spec.prove import PROOF_TAG, new_proof
from tunesmith.spec.task import new_task
from tunesmith_platform.chats import repository
from tunesmith_platform.chats.asking import Asking
from tunesmith_platform.chats.names import Weights
from tunesmith_platform.clock import now
from tunesmith_platform.db.engine import Database
from tunesmith_platform.db.tables import ProofRow
from tunesmith_platform.hub import Hub
from tunesmith_platform.keys import repository as keys
from tunesmith_platform.leases import Lease
from tunesmith_platform.loops import Loop
from tunesmith_platform.scope import INSTALLATION, Scope
from tunesmith_platform.tasks.service import TaskService

_LEASE = dt.timedelta(seconds=60)
_TRIES = 3
_AGAIN_AFTER = dt.timedelta(seconds=60)
"""Once more after so long, then after twice as long."""
_AT_ONCE = 50
_PRIORITY = -100


class Services(Protocol):
    """The parts that the loop works with."""

    database: Database
    hub: Hub
    tasks: TaskService
    asking: Asking


class ProofLoop(Loop):
    """Has what answers proven."""

    idle_seconds = 5.0

    def __init__(self, services: Services) -> None:
        super().__init__(services.hub)
        self._services = services
        self._lease = Lease(services.database, "proofs of chats", _LEASE)

    def end(self) -> None:
        """Let another process take over at once."""
        self._lease.release()

    def tick(self) -> None:
        """One round."""
        with self._services.database.read() as session:
            waiting = repository.proofs_in(session, INSTALLATION, ProofState.PENDING, _AT_ONCE)
        if waiting and self._lease.take():
            self.each(waiting, self.advance, name=lambda row: row.key)

    def advance(self, row: ProofRow) -> None:
        """Bring one proof on."""
        if not self._lease.take():
            return
        scope = Scope.acting_for(row)
        if row.task_id is None:
            if row.tries == 0 or now() - row.changed_at > _AGAIN_AFTER * 2 ** (row.tries - 1):
                self._begin(scope, row)
            return
        try:
            task = self._services.tasks.get(scope, row.task_id)
        except NotFound:
            self._ended(scope, row, "Its task was deleted.", is_last=True)
            return
        if task.state.is_terminal:
            words = f"Its task ended without a proof ({task.state}): {task.message}"
            self._ended(scope, row, words, is_last=task.state is State.STOPPED)

    def _begin(self, scope: Scope, row: ProofRow) -> None:
        """Submit its task; the same one again where it was submitted and that was not noted."""
        try:
            made = self._submit(scope, row)
        except Unavailable:
            raise  # it is tried again
        except TunesmithError as error:
            self._ended(scope, row, error.message, is_last=isinstance(error, InvalidInput))
            return
        self._change(scope, row, task_id=made.id, project=made.project)

    def _find(self, scope: Scope, row: ProofRow) -> tuple[Scope, Weights]:
        """The weights, and the project they are of: its owner's, who asked them from another, may work there today.

        Raises:
            TunesmithError: They are in none; what is said is of the row's own.
        """
        try:
            return scope, self._named(scope, row)
        except TunesmithError as error:
            with self._services.database.read() as session:
                projects = keys.projects_of(session, row.owner, now())
            for project in projects:
                there = scope.everything().within(project)
                with contextlib.suppress(TunesmithError):
                    return there, self._named(there, row)
            raise error from None

    def _named(self, scope: Scope, row: ProofRow) -> Weights:
        found = self._services.asking.look_up(scope, row.model)
        if found.weights != row.weights:
            raise NotFound(f"`{row.model}` stands for other weights now.")
        if found.file is not None:
            raise InvalidInput("The package's proof is of another llama.cpp: package it again.")
        return found

    def _submit(self, scope: Scope, row: ProofRow) -> views.TaskView:
        scope, found = self._find(scope, row)
        body = new_proof(
            _model_of(found),
            name=f"proof {row.model}"[:120],
            project=scope.project,
            priority=_PRIORITY,
            tags=[PROOF_TAG],
            notes=f"Holds what answers for `{row.model}` against the model itself.",
        )
        new = new_task(str(body.pop("kind")), body.pop("spec"), body)
        return self._services.tasks.create(scope, new, f"proof.{row.key}.{row.tries}.{row.created_at}")[0]

    def _ended(self, scope: Scope, row: ProofRow, why: str, *, is_last: bool = False) -> None:
        """Note that a try came to nothing; after a few it is left at that."""
        tries = row.tries + 1
        if tries < _TRIES and not is_last:
            self._change(scope, row, task_id=None, tries=tries)
            return
        words = {"en": f"It could not be proven. {why}", "zh": f"未能完成证明。{why}"}
        found = row.found | {"words": words}
        self._change(scope, row, state=ProofState.UNPROVEN, tries=tries, found=found)

    def _change(self, scope: Scope, row: ProofRow, **values: Any) -> None:
        """Change what is known, unless that was done meanwhile."""
        with self._services.database.write() as session:
            self._lease.require(session)
            stored = repository.proof(session, scope, row.key, locked=True)
            if stored is None or (stored.state, stored.task_id) != (row.state, row.task_id):
                return
            for name, value in values.items():
                setattr(stored, name, value)
            stored.changed_at = now()


def _model_of(found: Weights) -> dict[str, Any]:
    """How a task names some weights."""
    if found.step is not None:
        return {"task_id": found.task_id, "checkpoint": found.step}
    return {"model_name_or_path": found.uri}
