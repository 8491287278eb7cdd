"""What users do with conversations that are kept. Each method is one transaction.

A conversation is its user's alone: whoever else sees all tasks sees none of them. Knows rows; asks no model. What was
said goes into these tables and nowhere else.
"""

import datetime as dt
import functools
import logging
from collections.abc import Callable, Iterator

from sqlalchemy.orm import Session

from tunesmith.chat.conversations import (
    ConversationChange,
    ConversationDetail,
    ConversationView,
    Exported,
    NewConversation,
    Rating,
    TurnView,
)
from tunesmith.errors import Conflict, NotFound
from tunesmith.plain_text import plain_text
from tunesmith.spec.chat import ChatSettings
from tunesmith.views import Page
from tunesmith_platform.clock import new_id, now
from tunesmith_platform.conversations import repository, shown
from tunesmith_platform.conversations.making import (
    Wanted,
    in_turn,
    merged,
    new_answer,
    new_turn,
    place_of,
    title_of,
    tree_of,
    turn_of,
)
from tunesmith_platform.db.engine import Database
from tunesmith_platform.db.tables import ConversationRow
from tunesmith_platform.idempotency import Keyed, sent_as
from tunesmith_platform.scope import INSTALLATION, Scope
from tunesmith_platform.settings import Settings

logger = logging.getLogger(__name__)

_SWEEP_BATCH = 200


class ConversationService:
    """Conversations: begin, list, show, change, delete, rate.

    Args:
        database: Where the rows are.
        settings: How long they are kept.
    """

    def __init__(self, database: Database, settings: Settings) -> None:
        self._database = database
        self._settings = settings

    @property
    def kept(self) -> dt.timedelta | None:
        """How long a conversation is kept since it was written to last; None: for ever."""
        days = self._settings.conversation_retention_days
        return dt.timedelta(days=days) if days else None

    # --- what users do

    def page(
        self,
        scope: Scope,
        after: str | None,
        limit: int,
        search: str = "",
        expiring_days: float | None = None,
    ) -> Page[ConversationView]:
        """Conversations, the one that was written to last first.

        Args:
            scope: Whose: its own alone.
            after: `next` of the page before.
            limit: How many.
            search: Words that the title is to hold.
            expiring_days: Those alone that are deleted within so many days unless they go on.
        """
        before = None
        if expiring_days is not None:
            if self.kept is None:
                return Page(data=[], has_more=False)
            before = now() + dt.timedelta(days=expiring_days) - self.kept
        with self._database.read() as session:
            rows = repository.page(
                session, scope.own(), limit + 1, after=place_of(after), words=search.split(), before=before
            )
        places = {row.id: f"{row.updated_at.isoformat()}~{row.id}" for row in rows}
        views = [shown.conversation_view(row, self.kept) for row in rows]
        return Page.of(views, limit, lambda view: places[view.id])

    def create(
        self, scope: Scope, new: NewConversation, key: str | None = None
    ) -> tuple[ConversationDetail, bool]:
        """Begin a conversation, perhaps with what was said elsewhere; the same key and body again give the same one.

        Raises:
            InvalidInput: A setting cannot be used, or the messages are not questions and answers in turn.
        """
        settings = ChatSettings.read(new.settings).model_dump(mode="json")
        system, said = in_turn(new.messages)
        if system:
            settings["system_prompt"] = ChatSettings.read(settings | {"system_prompt": system}).system_prompt
        own = scope.own()
        replay = functools.partial(self._shown, own)
        call = Keyed(own, key, sent_as("conversation", new), what="conversation", shown=replay)

        def enter(session: Session) -> tuple[ConversationDetail, bool]:
            if (replayed := call.before(session)) is not None:
                return replayed, False
            whose, moment, number = own.stamp(), now(), new_id("conversation")
            call.remember(session, number, whose["project"], moment)
            title = new.title or (title_of(said[0][0]) if said else "")
            row = ConversationRow(
                **whose, id=number, title=title, model=new.model, settings=settings, head=None, numbers=0, turns=0,
                created_at=moment, updated_at=moment,
            )  # fmt: skip
            repository.put(session, own, row)
            for question, answer in said:
                turn = new_turn(row, row.head, question, settings, moment)
                one = new_answer(0, Wanted(new.model or "", ""), moment)
                one.state, one.text = "whole", answer
                repository.add_turn(session, own, row.id, turn, [one])
                row.head = turn.number
            return self._detail(session, own, number), True

        return self._database.retry_on_conflict(enter)

    def get(self, scope: Scope, conversation_id: str, *, every: bool = False) -> ConversationDetail:
        """A conversation with what is said in it; with all of its branches where asked for.

        Raises:
            NotFound: There is none.
        """
        with self._database.read() as session:
            return self._detail(session, scope.own(), conversation_id, every=every)

    def turn(self, scope: Scope, conversation_id: str, number: int) -> TurnView:
        """One turn of a conversation.

        Raises:
            NotFound: There is none.
        """
        with self._database.read() as session:
            tree = tree_of(session, scope.own(), conversation_id)
        return shown.turn_view(turn_of(tree, number), tree.answers[number], now())

    def change(self, scope: Scope, conversation_id: str, change: ConversationChange) -> ConversationDetail:
        """Rename a conversation, change who is asked or how, or go back to another branch.

        Raises:
            NotFound: There is none, or no such turn.
            InvalidInput: A setting cannot be used.
        """
        own = scope.own()

        def enter(session: Session) -> ConversationDetail:
            row = repository.require(session, own, conversation_id, locked=True)
            if change.head is not None:
                row.head = turn_of(tree_of(session, own, conversation_id), change.head).number
            if change.settings is not None:
                row.settings = merged(row.settings, change.settings)
            row.title = change.title or row.title
            row.model = change.model or row.model
            row.updated_at = now()
            session.flush()
            return self._detail(session, own, conversation_id)

        return self._database.retry_on_conflict(enter)

    def delete(self, scope: Scope, conversation_id: str) -> None:
        """Delete a conversation with all that was said and rated in it. Data sets that were made of it stay.

        Raises:
            NotFound: There is none.
        """
        with self._database.write() as session:
            row = repository.require(session, scope.own(), conversation_id, locked=True)
            repository.remove(session, scope.own(), [row.id])

    def export(self, scope: Scope, conversation_id: str) -> Exported:
        """A conversation in full.

        Raises:
            NotFound: There is none.
        """
        with self._database.read() as session:
            return shown.exported(tree_of(session, scope.own(), conversation_id), self.kept, now())

    def each_exported(self, scope: Scope) -> Iterator[Exported]:
        """Every conversation of a user's in full, one transaction each."""
        after, more = None, True
        while more:
            page = self.page(scope, after, _SWEEP_BATCH)
            after, more = page.next, page.has_more
            for view in page.data:
                try:
                    yield self.export(scope, view.id)
                except NotFound:  # it was deleted meanwhile
                    continue

    def rate(self, scope: Scope, conversation_id: str, turn: int, place: int, rating: Rating) -> TurnView:
        """Rate an answer, or take a rating back; one of several that is better is the one to go on with.

        Raises:
            NotFound: There is no such answer.
            Conflict: It is not all there yet.
        """
        own, moment = scope.own(), now()

        def enter(session: Session) -> TurnView:
            row = repository.require(session, own, conversation_id, locked=True)
            tree = tree_of(session, own, conversation_id)
            answers = tree.answers.get(turn, [])
            answer = next((one for one in answers if one.place == place), None)
            if answer is None:
                raise NotFound(
                    f"Turn {turn} has no answer {place}.", hint="`tunesmith chats show` numbers them."
                )
            if shown.state_of(answer, moment) == "answering":
                raise Conflict(
                    "The answer is still being written.", hint="Rate it when it has come to its end."
                )
            answer.rating, answer.corrected = rating.rating, rating.corrected and plain_text(rating.corrected)
            answer.rated_at = moment if rating.rating or rating.corrected else None
            if rating.rating == "better":
                tree.turns[turn].chosen = place
            row.updated_at = moment
            session.flush()
            return shown.turn_view(tree.turns[turn], answers, moment)

        return self._database.retry_on_conflict(enter)

    # --- retention

    def sweep(self, go_on: Callable[[], bool] = lambda: True) -> int:
        """Delete conversations that were not written to for as long as the settings keep them; how many there were."""
        deleted = 0
        while self.kept is not None and go_on():
            with self._database.write() as session:
                found = repository.old(session, INSTALLATION, now() - self.kept, _SWEEP_BATCH)
                deleted += repository.remove(session, INSTALLATION, found)
            if len(found) < _SWEEP_BATCH:
                break
        if deleted:
            logger.info("deleted %s conversations that were kept for %s", deleted, self.kept)
        return deleted

    # --- the parts

    def _shown(self, scope: Scope, session: Session, conversation_id: str) -> ConversationDetail:
        return self._detail(session, scope, conversation_id)

    def _detail(
        self, session: Session, scope: Scope, conversation_id: str, *, every: bool = False
    ) -> ConversationDetail:
        return shown.detail_view(tree_of(session, scope, conversation_id), self.kept, now(), every=every)
