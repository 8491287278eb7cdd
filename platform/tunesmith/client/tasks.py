"""Tasks, from Python: submit, list, show, change, stop, delete, wait; and what they report.

Knows the tasks' endpoints and views; knows no HTTP.
"""

import secrets
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypedDict, Unpack

from pydantic import BaseModel

from tunesmith import views
from tunesmith.client.calls import Calls
from tunesmith.client.stream import follow, readable
from tunesmith.client.transport import Transport
from tunesmith.errors import TooManyRequests, Unavailable
from tunesmith.lifecycle import State
from tunesmith.spec.task import NewTask


class TaskFilter(TypedDict, total=False):
    """Which tasks a list shows; what is left out does not narrow it."""

    state: Sequence[State | str] | None
    kind: str | None
    project: str | None
    name: str | None
    """A part of the name."""
    tag: str | None
    without_tag: str | Sequence[str] | None
    """None with this tag, or with any of these."""


class CopyEnvelope(TypedDict, total=False):
    """What besides parameters is different in a task made from another; what is left out is the same."""

    name: str
    notes: str
    tags: Sequence[str]
    project: str
    priority: int


class Tasks(Calls):
    """Every call on tasks; they are the client's own methods."""

    def __init__(self, transport: Transport, patience: float) -> None:
        super().__init__(transport)
        self._patience = patience

    def create_task(
        self, new: NewTask | Mapping[str, Any], idempotency_key: str | None = None
    ) -> views.TaskView:
        """Submit a task.

        Args:
            new: What to do; a mapping is checked by the server.
            idempotency_key: The same key and body again answer the same task. One is made when none is given,
                so that a repeat after a lost answer makes no second task.

        Raises:
            InvalidInput: Something in it cannot be trained on; each problem names its place and its cure.
            IdempotencyConflict: The key was used with another body.
        """
        body = _body(new)
        headers = {"Idempotency-Key": idempotency_key or secrets.token_urlsafe(18)}
        return self._view(
            views.TaskView, self._transport.call("POST", "/v1/tasks", body=body, headers=headers)
        )

    def check_task(self, new: NewTask | Mapping[str, Any]) -> views.TaskCheck:
        """Look at a task as a submit would, and make none.

        Args:
            new: What to do, as in `create_task`.

        Raises:
            InvalidInput: Something in it cannot be worked on; each problem names its place and its cure.
        """
        body = _body(new)
        return self._view(views.TaskCheck, self._transport.call("POST", "/v1/tasks:check", body=body))

    def tasks_page(
        self, limit: int = 50, after: str | None = None, **wanted: Unpack[TaskFilter]
    ) -> views.Page[views.TaskView]:
        """One page of the tasks, newest first; go on with `after=<next>`."""
        query = _query(wanted) | {"limit": limit, "after": after}
        return self._get(views.Page[views.TaskView], "/v1/tasks", query)

    def tasks(self, **wanted: Unpack[TaskFilter]) -> Iterator[views.TaskView]:
        """Every task, newest first, page by page as they are read."""
        return self._pages(views.TaskView, "/v1/tasks", 200, _query(wanted))

    def task(self, task: str) -> views.TaskView:
        """A task as it stands.

        Args:
            task: Its id, or its name when no other task has it.

        Raises:
            NotFound: There is none.
            Conflict: Several tasks have this name.
        """
        return self._find(task)

    def update_task(
        self,
        task: str,
        *,
        name: str | None = None,
        notes: str | None = None,
        tags: Sequence[str] | None = None,
        priority: int | None = None,
    ) -> views.TaskView:
        """Change a task's name, notes or tags, and its priority while it is pending; what is None stays."""
        change: dict[str, Any] = {"name": name, "notes": notes, "priority": priority}
        change["tags"] = None if tags is None else list(tags)
        body = {key: value for key, value in change.items() if value is not None}
        return self._view(views.TaskView, self._transport.call("PATCH", self._path(task), body=body))

    def clone_task(
        self, task: str, spec: Mapping[str, Any] | None = None, **envelope: Unpack[CopyEnvelope]
    ) -> views.TaskView:
        """Submit a new task with the parameters of another.

        Args:
            task: The other one, by its id or unique name.
            spec: Parameters that are different.
            envelope: Its name (`<name> (copy)` if not given), notes, tags, project and priority.
        """
        return self._made_from(f"{self._path(task)}:clone", {"spec": dict(spec or {}), **envelope})

    def new_stage(
        self,
        task: str,
        spec: Mapping[str, Any] | None = None,
        *,
        step: int | None = None,
        **envelope: Unpack[CopyEnvelope],
    ) -> views.TaskView:
        """Submit a new task that starts from the weights of another's checkpoint.

        Args:
            task: The other one, by its id or unique name.
            spec: Parameters that are different: other rows, another learning rate.
            step: The checkpoint's step; the newest if not given.
            envelope: Its name, notes, tags, project and priority.

        Raises:
            NotFound: There is no such checkpoint.
        """
        body = {"spec": dict(spec or {}), **({} if step is None else {"step": step}), **envelope}
        return self._made_from(f"{self._path(task)}:new-stage", body)

    def continue_task(
        self, task: str, *, num_train_epochs: float | None = None, max_steps: int | None = None
    ) -> views.TaskView:
        """Let a task that is over go on at its newest checkpoint: the same task, the step count goes on.

        Args:
            task: Which one, by its id or unique name.
            num_train_epochs: More epochs than it had.
            max_steps: More steps than it had.

        Raises:
            Conflict: It is not over; or it has completed, and no more steps are asked for.
        """
        more = {"num_train_epochs": num_train_epochs, "max_steps": max_steps}
        body = {name: value for name, value in more.items() if value is not None}
        # Repeated after a lost answer it would find the task going on, and be refused.
        raw = self._transport.call("POST", f"{self._path(task)}:continue", body=body, repeats=False)
        return self._view(views.TaskView, raw)

    def diff_tasks(self, a: str, b: str) -> views.TaskDiff:
        """The parameters in which two tasks differ, with their labels."""
        return self._get(views.TaskDiff, "/v1/tasks:diff", {"a": self._id(a), "b": self._id(b)})

    def stop_task(self, task: str) -> views.TaskView:
        """Stop a task; a running one saves a checkpoint first. Stopping twice changes nothing."""
        return self._view(views.TaskView, self._transport.call("POST", f"{self._path(task)}:stop"))

    def delete_task(self, task: str, *, files: bool = False) -> None:
        """Delete a task that is over.

        Args:
            task: Which one, by its id or unique name.
            files: Delete its checkpoints and final model too; the base model is never touched.

        Raises:
            Conflict: It is not over.
        """
        self._delete(self._path(task), {"files": files})

    def wait(
        self,
        task: str,
        timeout: float | None = None,
        look: Callable[[views.TaskView], None] = lambda view: None,
    ) -> views.TaskView:
        """Wait until a task has ended, over restarts of the server.

        Args:
            task: Its id or unique name.
            timeout: Seconds; None waits for as long as it takes.
            look: Called with the task as it is, every two seconds or more often.

        Raises:
            TimeoutError: It had not ended in time.
            CannotConnect: No server for `patience` seconds.
        """
        started = time.monotonic()
        named, pause, away_since = task, 0.2, None
        while True:
            try:
                view = self.task(named)
                if view.state.is_terminal:
                    return view
                named, away_since = view.id, None
                look(view)
            except (Unavailable, TooManyRequests):
                moment = time.monotonic()
                away_since = away_since or moment
                if moment - away_since > self._patience:
                    raise
            if timeout is not None and time.monotonic() - started + pause > timeout:
                raise TimeoutError(f"Task `{named}` had not ended after {timeout:g} s.")
            time.sleep(pause)
            pause = min(pause * 1.5, 2.0)

    # --- what a task reports

    def events(
        self, task: str, after: int = 0, kind: Sequence[str] | None = None
    ) -> Iterator[views.EventView]:
        """A task's event log, oldest first, page by page as it is read.

        Args:
            task: Whose, by its id or unique name.
            after: Number of the last event already read.
            kind: Only these kinds.
        """
        while True:
            query = {"after": after, "limit": 1000, "kind": list(kind) if kind else None}
            page = self._get(views.Page[dict[str, Any]], f"{self._path(task)}/events", query)
            yield from _known(page.data)
            if not page.has_more or page.next is None:
                return
            after = int(page.next)

    def metrics(self, task: str, names: Sequence[str] | None = None) -> views.Metrics:
        """A task's curves, one point a step; only the named ones if given.

        A curve of more than 4000 points is reduced, its extremes kept; `series.export` has every point.
        """
        query = {"name": list(names) if names else None}
        return self._get(views.Metrics, f"{self._path(task)}/metrics", query)

    def checkpoints(self, task: str) -> list[views.CheckpointView]:
        """A task's checkpoints that are complete and verified."""
        return self._get(views.Page[views.CheckpointView], f"{self._path(task)}/checkpoints").data

    def rows_of_step(self, task: str, step: int) -> views.StepRows:
        """Which rows of the training file an optimizer step took, or will take.

        Raises:
            NotFound: The task has not read its rows yet.
        """
        return self._get(views.StepRows, f"{self._path(task)}/rows", {"step": step})

    def save_checkpoint(self, task: str) -> views.SaveRequestView:
        """Ask a running task for a checkpoint after its next step.

        Raises:
            Conflict: It is not running.
        """
        return self._view(
            views.SaveRequestView, self._transport.call("POST", f"{self._path(task)}/checkpoints:save")
        )

    def pin_checkpoint(self, task: str, step: int, *, pinned: bool = True) -> views.CheckpointView:
        """Keep a checkpoint whatever `save_total_limit` says; or let it go again."""
        verb = "pin" if pinned else "unpin"
        path = f"{self._path(task)}/checkpoints/{step}:{verb}"
        return self._view(views.CheckpointView, self._transport.call("POST", path))

    def logs(
        self, task: str, tail: int = 200, level: Sequence[str] | None = None, after: int | None = None
    ) -> list[views.LogView]:
        """A task's last log lines, or those after an event.

        Args:
            task: Whose, by its id or unique name.
            tail: Lines at the most.
            level: Only these levels.
            after: Only lines after this event number.
        """
        query = {"tail": tail, "level": list(level) if level else None, "after": after}
        return self._get(views.Page[views.LogView], f"{self._path(task)}/logs", query).data

    def stream(self, task: str, after: int = 0) -> Iterator[views.EventView]:
        """A task's events live, each once and in order, until it has ended.

        Connects again by itself when the server restarts, breaks off or falls silent: no gap, no duplicate.

        Args:
            task: Whose, by its id or unique name.
            after: Number of the last event already read.

        Raises:
            CannotConnect: No server for `patience` seconds.
        """
        return follow(self._transport, f"{self._path(task)}/stream", after, self._patience)

    def _made_from(self, path: str, body: Mapping[str, Any]) -> views.TaskView:
        headers = {"Idempotency-Key": secrets.token_urlsafe(18)}
        return self._view(views.TaskView, self._transport.call("POST", path, body=body, headers=headers))


def _body(new: NewTask | Mapping[str, Any]) -> dict[str, Any]:
    if isinstance(new, BaseModel):
        return new.model_dump(mode="json", exclude_unset=True) | {"kind": new.kind}
    return dict(new)


def _query(wanted: TaskFilter) -> dict[str, Any]:
    return {
        "state": [str(state) for state in wanted.get("state") or ()] or None,
        "kind": wanted.get("kind"),
        "project": wanted.get("project"),
        "name": wanted.get("name"),
        "tag": wanted.get("tag"),
        "without_tag": wanted.get("without_tag"),
    }


def _known(raw: Iterable[Any]) -> Iterator[views.EventView]:
    return (event for event in map(readable, raw) if event is not None)
