"""Webhooks and mails: what administrators do with them, what is to be sent, and sending it.

A notification is put into the delivery log exactly once, in the transaction that moves the cursor over its event; it
is delivered at least once. No transaction is open while one is on its way.
"""

import datetime as dt
import functools
import hashlib
import hmac
import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from sqlalchemy.orm import Session

from tunesmith import views
from tunesmith.errors import InvalidInput, TooManyRequests
from tunesmith.job import read_secret
from tunesmith.language import Language
from tunesmith.lifecycle import State
from tunesmith.notifications import (
    EMAIL,
    WARNINGS,
    AddedWebhook,
    DeliveryState,
    DeliveryView,
    NewWebhook,
    NoticeEvent,
    WebhookView,
)
from tunesmith_platform.addresses import refusal
from tunesmith_platform.clock import new_id, now
from tunesmith_platform.db.engine import Database, advisory_lock
from tunesmith_platform.db.tables import DeliveryRow, EventRow, TaskRow, WebhookRow
from tunesmith_platform.loops import Troubles, contained
from tunesmith_platform.notifications import messages, repository, sending
from tunesmith_platform.notifications.sending import Answer
from tunesmith_platform.scope import INSTALLATION, Scope
from tunesmith_platform.settings import Settings
from tunesmith_platform.tasks import repository as tasks

logger = logging.getLogger(__name__)

MAX_WEBHOOKS = 100
PAUSES = tuple(dt.timedelta(seconds=seconds) for seconds in (5, 30, 120, 600, 3600, 6 * 3600))
"""How long after each failed try the next one is made; after the last, none."""
_CLAIM = dt.timedelta(seconds=60)
"""Longer than a try takes: after that its process must have died."""
_BATCH = 500
"""Tasks whose logs are looked through in one transaction."""
_ENDS = {
    State.COMPLETED: NoticeEvent.FINISHED,
    State.FAILED: NoticeEvent.FAILED,
    State.STOPPED: NoticeEvent.STOPPED,
}


class _Receiver(NamedTuple):
    """Whom an event is told."""

    receiver: str
    """A webhook's id, or `email`."""
    language: Language
    whose: Scope
    """As whom the delivery is made: the webhook's owner, for a mail the task's."""


class NotificationService:
    """Webhooks, the delivery log, and sending."""

    def __init__(self, database: Database, settings: Settings) -> None:
        self._database = database
        self._settings = settings
        self._troubles = Troubles(type(self).__name__)

    # --- what administrators do

    def add(self, scope: Scope, new: NewWebhook) -> AddedWebhook:
        """Add a webhook.

        Raises:
            InvalidInput: Its URL is none that may be posted to.
            TooManyRequests: There are enough.
        """
        sending.check_variables(new.url, self._settings.webhook_environment)
        place = sending.place_of(new.url)
        try:
            addresses = sending.resolve(place)
        except OSError:
            addresses = []  # a name may become known later; each delivery asks again
        refused = refusal(addresses, self._settings.notify_addresses)
        if refused:
            raise InvalidInput(
                refused,
                field="url",
                hint="The settings say where webhooks may go: "
                """`TUNESMITH_NOTIFY_ADDRESSES='["public", "private", "loopback"]'`.""",
            )
        with self._database.write() as session:
            advisory_lock(session, "webhooks")
            if len(repository.every_webhook(session, INSTALLATION)) >= MAX_WEBHOOKS:
                raise TooManyRequests(f"There are {MAX_WEBHOOKS} webhooks.", hint="Remove one first.")
            row = WebhookRow(
                **scope.stamp(),
                id=new_id("hook"),
                url=new.url,
                only_project=new.project,
                events=[event.value for event in dict.fromkeys(new.events)],
                language=new.language,
                created_at=now(),
            )
            session.add(row)
        secret = _secret(self._settings.report_secret_file, row.id)
        return AddedWebhook(**_webhook(row).model_dump(), secret=secret)

    def page(self, scope: Scope, after: str | None, limit: int) -> views.Page[WebhookView]:
        """Webhooks, oldest first."""
        with self._database.read() as session:
            rows = repository.webhooks(session, scope, after, limit)
        return views.Page.of([_webhook(row) for row in rows], limit, lambda webhook: webhook.id)

    def remove(self, scope: Scope, webhook_id: str) -> None:
        """Remove a webhook with its delivery log; what is on its way is dropped."""
        with self._database.write() as session:
            repository.remove_webhook(session, scope, repository.require(session, scope, webhook_id))

    def deliveries(
        self, scope: Scope, receiver: str | None, after: int | None, limit: int
    ) -> views.Page[DeliveryView]:
        """The delivery log, newest first."""
        with self._database.read() as session:
            if receiver is not None and receiver != EMAIL:
                repository.require(session, scope, receiver)
            rows = repository.deliveries(session, scope, receiver, after, limit)
        return views.Page.of([_delivery(row) for row in rows], limit, lambda delivery: delivery.id)

    def test(self, scope: Scope, receiver: str) -> DeliveryView:
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
        with self._database.write() as session:
            language, whose = self._settings.smtp_language, scope
            if receiver != EMAIL:
                webhook = repository.require(session, scope, receiver)
                language, whose = Language(webhook.language), Scope.of_administrator(webhook)
            payload = messages.trial(moment.isoformat(), language)
            row = _row(whose, receiver, NoticeEvent.TEST, payload, moment)
            # From the start: should this process die now, no loop sends later what was asked for now.
            row.state, row.message, row.ended_at = DeliveryState.FAILED, "It was not sent to its end.", moment
            session.add(row)
        answer = self._send(row)
        with self._database.write() as session:
            kept = repository.require_delivery(session, scope, row.id)
            _record(kept, answer, pauses=())
            return _delivery(kept)

    # --- what the loop does

    @property
    def _mails(self) -> bool:
        return bool(self._settings.smtp_host and self._settings.smtp_to)

    def enqueue(self) -> int:
        """Put what has happened since the last look into the delivery log, each exactly once; how many."""
        enqueued = 0
        while True:
            with self._database.read() as session:
                behind = repository.behind(session, INSTALLATION, _BATCH)
            if behind:
                enqueued += self._enqueue(behind)
            if len(behind) < _BATCH:
                return enqueued

    def _enqueue(self, task_ids: Sequence[str]) -> int:
        """Many tasks in one transaction: most have nothing to tell, and a burst of submits is no burst of writes."""
        with self._database.write() as session:
            cursors = repository.held_cursors(session, INSTALLATION, task_ids)
            newest = repository.newest(session, INSTALLATION, list(cursors))
            rows: list[DeliveryRow] = []
            for entry in repository.unseen(session, INSTALLATION, list(newest)):
                events: list[NoticeEvent | None] = []
                # What cannot be told of must not keep the rest back: the cursor moves over it too. Only what needs no
                # database is tried so, for what that cannot do now it can later.
                name = f"{entry.task_id} event {entry.n}"
                self._troubles.attempt(name, functools.partial(_read_event, entry, events))
                if not events or events[0] is None or entry.n > newest[entry.task_id]:
                    continue
                task = tasks.require(session, INSTALLATION, entry.task_id)
                receivers = self._receivers(session, task, events[0])
                self._troubles.attempt(
                    name, functools.partial(_word, task, entry, events[0], receivers, rows)
                )
            session.add_all(rows)
            repository.move_cursors(session, INSTALLATION, newest)
            return len(rows)

    def _receivers(self, session: Session, task: TaskRow, event: NoticeEvent) -> list[_Receiver]:
        """Who is told of an event: those whose owner may see its task. How that went is its owner's to see."""
        found = []
        for row in repository.every_webhook(session, INSTALLATION):
            whose = Scope.of_administrator(row)
            is_asked = row.only_project in (None, task.project) and event in row.events
            if is_asked and whose.sees(task.owner, task.project):
                found.append(_Receiver(row.id, Language(row.language), whose))
        if self._mails and event is not NoticeEvent.WARNING:
            found.append(_Receiver(EMAIL, self._settings.smtp_language, Scope.acting_for(task)))
        return found

    def claim_due(self, limit: int) -> Sequence[DeliveryRow]:
        """Take deliveries that are to be tried now; no other process takes the same ones."""
        moment = now()
        with self._database.read() as session:
            due = repository.due(session, INSTALLATION, moment, limit)
        if not due:
            return []
        with self._database.write() as session:
            return [row for row in due if repository.claim(session, INSTALLATION, row, moment + _CLAIM)]

    def deliver(self, row: DeliveryRow) -> None:
        """Try a delivery that was claimed, and record how it went."""
        try:
            answer = contained(lambda: self._send(row))
        except (
            Exception
        ) as error:  # one that cannot be sent is tried like one that nobody takes: not for ever
            logger.exception("delivery %s could not be sent", row.id)
            answer = Answer(False, message=f"It could not be sent: {type(error).__name__}.")
        with self._database.write() as session:
            kept = repository.delivery(session, INSTALLATION, row.id)
            if kept is not None and kept.state == DeliveryState.PENDING:
                _record(kept, answer, PAUSES)

    def _send(self, row: DeliveryRow) -> Answer:
        if row.receiver == EMAIL:
            subject, letter = messages.subject(row.payload), messages.letter(row.payload)
            return sending.mail(self._settings, subject, letter, row.id)
        with self._database.read() as session:
            webhook = repository.find(session, INSTALLATION, row.receiver)
        if webhook is None:
            return Answer(False, message="The webhook was removed.")
        try:
            url = sending.filled(webhook.url, self._settings.webhook_environment)
        except InvalidInput as error:
            return Answer(False, message=error.message)
        return sending.post(
            url,
            _secret(self._settings.report_secret_file, webhook.id),
            row.event,
            row.id,
            json.dumps(row.payload, ensure_ascii=False, sort_keys=True).encode(),
            allowed=self._settings.notify_addresses,
        )


def _secret(secret_file: Path, webhook_id: str) -> str:
    """A webhook's secret: derived, so that no copy of the database holds it."""
    key = read_secret(secret_file).encode()
    return f"whsec_{hmac.new(key, f'webhook:{webhook_id}'.encode(), hashlib.sha256).hexdigest()}"


def _row(
    scope: Scope,
    receiver: str,
    event: NoticeEvent,
    payload: dict[str, Any],
    next_at: dt.datetime,
    *,
    task_id: str | None = None,
    n: int | None = None,
) -> DeliveryRow:
    return DeliveryRow(
        **scope.stamp(),
        receiver=receiver,
        event=event,
        task_id=task_id,
        n=n,
        payload=payload,
        state=DeliveryState.PENDING,
        tries=0,
        next_at=next_at,
        message="",
        sent_to="",
        created_at=now(),
    )


def _record(row: DeliveryRow, answer: Answer, pauses: Sequence[dt.timedelta]) -> None:
    """Write down how a try went."""
    row.tries += 1
    row.status, row.message, row.sent_to = answer.status, answer.message, answer.sent_to
    if not answer.ok and row.tries <= len(pauses):
        row.next_at = now() + pauses[row.tries - 1]
        return
    row.state = DeliveryState.DELIVERED if answer.ok else DeliveryState.FAILED
    row.ended_at = now()


def _read_event(entry: EventRow, into: list[NoticeEvent | None]) -> None:
    into.append(_event_of(entry))


def _word(
    task: TaskRow,
    entry: EventRow,
    event: NoticeEvent,
    receivers: Sequence[_Receiver],
    into: list[DeliveryRow],
) -> None:
    into += [
        _row(
            to.whose,
            to.receiver,
            event,
            messages.payload(task, entry, event, to.language),
            now(),
            task_id=task.id,
            n=entry.n,
        )
        for to in receivers
    ]


def _event_of(entry: EventRow) -> NoticeEvent | None:
    """What an entry of the event log is to be notified of as."""
    if entry.kind == "state":
        return _ENDS.get(State(entry.payload["state"]))
    code = entry.payload.get("code")
    if code == "quota_low":
        return NoticeEvent.QUOTA_LOW
    return NoticeEvent.WARNING if code in WARNINGS else None


def _webhook(row: WebhookRow) -> WebhookView:
    parts = urlsplit(row.url)
    # Receivers often want their key in the query: it is not shown again.
    shown = parts._replace(query="…" if parts.query else "").geturl()
    return WebhookView(
        id=row.id,
        url=shown,
        project=row.only_project,
        events=[NoticeEvent(event) for event in row.events],
        language=Language(row.language),
        by=row.owner,
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
        sent_to=row.sent_to,
        payload=row.payload,
        created_at=row.created_at,
        next_at=row.next_at if row.state == DeliveryState.PENDING else None,
        ended_at=row.ended_at,
    )
