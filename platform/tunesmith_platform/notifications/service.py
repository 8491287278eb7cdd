"""Webhooks and mails: what administrators do with them, what is to be sent, and sending it.

A notification is put into the delivery log exactly once, in the transaction that moves the cursor over its event; it
is delivered at least once. No transaction is open while one is on its way.
"""

import datetime as dt
import hashlib
import hmac
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from sqlalchemy.orm import Session

from tunesmith import views
from tunesmith.errors import InvalidInput, TooManyRequests
from tunesmith.job import read_secret
from tunesmith.lifecycle import REASONS, Reason, State
from tunesmith.notifications import (
    EMAIL,
    AddedWebhook,
    DeliveryState,
    DeliveryView,
    NewWebhook,
    NoticeEvent,
    WebhookView,
)
from tunesmith_platform.clock import new_id, now
from tunesmith_platform.db.engine import Database
from tunesmith_platform.db.tables import DeliveryRow, EventRow, TaskRow, WebhookRow
from tunesmith_platform.notifications import repository, sending
from tunesmith_platform.notifications.sending import Answer
from tunesmith_platform.settings import Settings

MAX_WEBHOOKS = 100
PAUSES = tuple(dt.timedelta(seconds=seconds) for seconds in (5, 30, 120, 600, 3600, 6 * 3600))
"""How long after each failed try the next one is made; after the last, none."""
_CLAIM = dt.timedelta(seconds=60)
"""Longer than a try takes: after that its process must have died."""
_ENDS = {
    State.COMPLETED: NoticeEvent.FINISHED,
    State.FAILED: NoticeEvent.FAILED,
    State.STOPPED: NoticeEvent.STOPPED,
}
_WORDS = {
    NoticeEvent.FINISHED: "has completed",
    NoticeEvent.FAILED: "has failed",
    NoticeEvent.STOPPED: "was stopped",
    NoticeEvent.QUOTA_LOW: "leaves little of its training quota",
}


class NotificationService:
    """Webhooks, the delivery log, and sending."""

    def __init__(self, database: Database, settings: Settings) -> None:
        self._database = database
        self._settings = settings

    # --- what administrators do

    def add(self, new: NewWebhook, principal: str) -> AddedWebhook:
        """Add a webhook.

        Raises:
            InvalidInput: Its URL is none that may be posted to.
            TooManyRequests: There are enough.
        """
        place = sending.place_of(new.url)
        try:
            addresses = sending.resolve(place)
        except OSError:
            addresses = []  # a name may become known later; each delivery asks again
        refused = sending.refusal(addresses, self._settings.notify_private_addresses)
        if refused:
            raise InvalidInput(
                refused,
                field="url",
                hint="An administrator of the platform may allow it: `TUNESMITH_NOTIFY_PRIVATE_ADDRESSES=true`.",
            )
        with self._database.write() as session:
            if len(repository.every_webhook(session)) >= MAX_WEBHOOKS:
                raise TooManyRequests(f"There are {MAX_WEBHOOKS} webhooks.", hint="Remove one first.")
            row = WebhookRow(
                id=new_id("hook"),
                url=new.url,
                project=new.project,
                events=[event.value for event in dict.fromkeys(new.events)],
                by=principal,
                created_at=now(),
            )
            session.add(row)
        secret = _secret(self._settings.report_secret_file, row.id)
        return AddedWebhook(**_webhook(row).model_dump(), secret=secret)

    def page(self, after: str | None, limit: int) -> views.Page[WebhookView]:
        """Webhooks, oldest first."""
        with self._database.read() as session:
            rows = repository.webhooks(session, after, limit)
        data = [_webhook(row) for row in rows[:limit]]
        more = len(rows) > limit
        return views.Page(data=data, has_more=more, next=data[-1].id if more else None)

    def remove(self, webhook_id: str) -> None:
        """Remove a webhook with its delivery log; what is on its way is dropped."""
        with self._database.write() as session:
            repository.remove_webhook(session, repository.require(session, webhook_id))

    def deliveries(self, receiver: str | None, after: int | None, limit: int) -> views.Page[DeliveryView]:
        """The delivery log, newest first."""
        with self._database.read() as session:
            if receiver is not None and receiver != EMAIL:
                repository.require(session, receiver)
            rows = repository.deliveries(session, receiver, after, limit)
        data = [_delivery(row) for row in rows[:limit]]
        more = len(rows) > limit
        return views.Page(data=data, has_more=more, next=str(data[-1].id) if more else None)

    def test(self, receiver: str) -> DeliveryView:
        """Send a notification that says it is a test, now and once.

        Args:
            receiver: A webhook's id, or `email`.

        Raises:
            InvalidInput: No mail server is set.
        """
        if receiver == EMAIL and not self._mails:
            raise InvalidInput(
                "No mail is sent: no server or no receiver is set.",
                hint="Set `TUNESMITH_SMTP_HOST` and `TUNESMITH_SMTP_TO`.",
            )
        moment = now()
        text = "This is a test of Tunesmith's notifications."
        payload = {"event": NoticeEvent.TEST, "time": moment.isoformat(), "text": text}
        with self._database.write() as session:
            if receiver != EMAIL:
                repository.require(session, receiver)
            row = _row(receiver, NoticeEvent.TEST, payload, moment + _CLAIM)
            session.add(row)
        answer = self._send(row)
        with self._database.write() as session:
            kept = session.get_one(DeliveryRow, row.id)
            _record(kept, answer, pauses=())
            return _delivery(kept)

    # --- what the loop does

    @property
    def _mails(self) -> bool:
        return bool(self._settings.smtp_host and self._settings.smtp_to)

    def enqueue(self) -> int:
        """Put what has happened since the last look into the delivery log, each exactly once; how many."""
        with self._database.read() as session:
            behind = repository.behind(session)
        return sum(self._enqueue(task_id) for task_id in behind)

    def _enqueue(self, task_id: str) -> int:
        with self._database.write() as session:
            task = session.get(TaskRow, task_id)
            if task is None:  # deleted meanwhile
                return 0
            cursor = repository.held_cursor(session, task_id)
            newest = task.events
            entries = [
                (entry, event)
                for entry in repository.between(session, task_id, cursor.n, newest)
                if (event := _event_of(entry)) is not None
            ]
            cursor.n = max(cursor.n, newest)
            rows = [
                _row(receiver, event, _payload(task, entry, event), now(), task_id=task_id, n=entry.n)
                for entry, event in entries
                for receiver in self._receivers(session, task.project, event)
            ]
            session.add_all(rows)
            return len(rows)

    def _receivers(self, session: Session, project: str, event: NoticeEvent) -> list[str]:
        found = [
            row.id
            for row in repository.every_webhook(session)
            if row.project in (None, project) and event in row.events
        ]
        return [*found, EMAIL] if self._mails else found

    def claim_due(self, limit: int) -> Sequence[DeliveryRow]:
        """Take deliveries that are to be tried now; no other process takes the same ones."""
        moment = now()
        with self._database.read() as session:
            due = repository.due(session, moment, limit)
        if not due:
            return []
        with self._database.write() as session:
            return [row for row in due if repository.claim(session, row, moment + _CLAIM)]

    def deliver(self, row: DeliveryRow) -> None:
        """Try a delivery that was claimed, and record how it went."""
        answer = self._send(row)
        with self._database.write() as session:
            kept = session.get(DeliveryRow, row.id)
            if kept is not None and kept.state == DeliveryState.PENDING:
                _record(kept, answer, PAUSES)

    def _send(self, row: DeliveryRow) -> Answer:
        if row.receiver == EMAIL:
            subject = f"Tunesmith: {row.payload['text']}".splitlines()[0][:200]
            return sending.mail(self._settings, subject, _letter(row.payload), row.id)
        with self._database.read() as session:
            webhook = session.get(WebhookRow, row.receiver)
        if webhook is None:
            return Answer(False, message="The webhook was removed.")
        return sending.post(
            webhook.url,
            _secret(self._settings.report_secret_file, webhook.id),
            row.event,
            row.id,
            json.dumps(row.payload, ensure_ascii=False, sort_keys=True).encode(),
            allow_private=self._settings.notify_private_addresses,
        )


def _secret(secret_file: Path, webhook_id: str) -> str:
    """A webhook's secret: derived, so that no copy of the database holds it."""
    key = read_secret(secret_file).encode()
    return f"whsec_{hmac.new(key, f'webhook:{webhook_id}'.encode(), hashlib.sha256).hexdigest()}"


def _row(
    receiver: str,
    event: NoticeEvent,
    payload: dict[str, Any],
    next_at: dt.datetime,
    *,
    task_id: str | None = None,
    n: int | None = None,
) -> DeliveryRow:
    return DeliveryRow(
        receiver=receiver,
        event=event,
        task_id=task_id,
        n=n,
        payload=payload,
        state=DeliveryState.PENDING,
        tries=0,
        next_at=next_at,
        message="",
        created_at=now(),
    )


def _record(row: DeliveryRow, answer: Answer, pauses: Sequence[dt.timedelta]) -> None:
    """Write down how a try went."""
    row.tries += 1
    row.status, row.message = answer.status, answer.message
    if not answer.ok and row.tries <= len(pauses):
        row.next_at = now() + pauses[row.tries - 1]
        return
    row.state = DeliveryState.DELIVERED if answer.ok else DeliveryState.FAILED
    row.ended_at = now()


def _event_of(entry: EventRow) -> NoticeEvent | None:
    """What an entry of the event log is to be notified of as."""
    if entry.kind == "state":
        return _ENDS.get(State(entry.payload["state"]))
    return NoticeEvent.QUOTA_LOW if entry.payload.get("code") == "quota_low" else None


def _payload(task: TaskRow, entry: EventRow, event: NoticeEvent) -> dict[str, Any]:
    """What is posted: the event as it was, and what is needed to tell whose it is."""
    reason = entry.payload.get("reason")
    facts = REASONS[Reason(reason)] if reason else None
    message = entry.payload.get("message") or ""
    return {
        "event": event,
        "time": entry.time.isoformat(),
        "text": f"Task {task.name} {_WORDS[event]}. {message}".strip(),
        "task": {
            "id": task.id,
            "name": task.name,
            "project": task.project,
            "state": entry.payload.get("state", task.state),
            "reason": reason,
            "message": message,
            "fault": facts.fault if facts else None,
            "next_step": facts.next_step if facts else entry.payload.get("hint"),
            "step": task.progress.get("step", 0),
            "total_steps": task.progress.get("total_steps", 0),
            "loss": task.progress.get("loss"),
            "model_uri": task.model_uri,
        },
    }


def _letter(payload: dict[str, Any]) -> str:
    """A notification as the text of a mail."""
    task = payload.get("task")
    if not task:
        return f"{payload['text']}\n"
    lines = [
        payload["text"],
        "",
        f"Task:     {task['name']} ({task['id']})",
        f"Project:  {task['project']}",
        f"Step:     {task['step']} of {task['total_steps']}",
    ]
    if task["next_step"]:
        lines.append(f"Next:     {task['next_step']}")
    if payload["event"] == NoticeEvent.FAILED:
        lines.append(f"Details:  tunesmith tasks autopsy {task['id']}")
    return "\n".join(lines) + "\n"


def _webhook(row: WebhookRow) -> WebhookView:
    parts = urlsplit(row.url)
    # Receivers often want their key in the query: it is not shown again.
    shown = parts._replace(query="…" if parts.query else "").geturl()
    return WebhookView(
        id=row.id,
        url=shown,
        project=row.project,
        events=[NoticeEvent(event) for event in row.events],
        by=row.by,
        created_at=row.created_at,
    )


def _delivery(row: DeliveryRow) -> DeliveryView:
    return DeliveryView(
        id=row.id,
        receiver=row.receiver,
        event=NoticeEvent(row.event),
        task_id=row.task_id,
        state=DeliveryState(row.state),
        tries=row.tries,
        status=row.status,
        message=row.message,
        payload=row.payload,
        created_at=row.created_at,
        next_at=row.next_at if row.state == DeliveryState.PENDING else None,
        ended_at=row.ended_at,
    )
