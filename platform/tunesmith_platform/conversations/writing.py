"""What is written while a model answers: the question first, then how far its answers have come, then their end.

Each method is one transaction, which holds the conversation's row: two that ask at once come one after the other, in
whichever servers. Knows rows; asks no model.
"""

import datetime as dt
import hashlib
import secrets
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy.orm import Session

from tunesmith.chat.conversations import NewTurn, TurnView
from tunesmith.chat.wire import Message
from tunesmith.errors import Conflict, InvalidInput, NotFound
from tunesmith.plain_text import plain_text
from tunesmith.spec.chat import ChatSettings
from tunesmith_platform.clock import now
from tunesmith_platform.conversations import repository, shown
from tunesmith_platform.conversations.making import (
    Wanted,
    asked,
    merged,
    new_answer,
    new_turn,
    refuse_long,
    title_of,
    tree_of,
    turn_of,
)
from tunesmith_platform.conversations.shown import Tree
from tunesmith_platform.db.engine import Database
from tunesmith_platform.db.tables import AnswerRow, ConversationRow, TurnRow
from tunesmith_platform.idempotency import conflict, sent_as
from tunesmith_platform.scope import Scope


class Busy(Conflict):
    """An answer is being written in this conversation."""


class Begun(NamedTuple):
    """A turn that is asked now, or was before.

    Attributes:
        turn: Its number.
        messages: What its models are asked.
        settings: How they are to answer.
        places: The answers that are to be written; none where all of them are there.
        is_new: Whether it was made by this call.
    """

    turn: int
    messages: list[Message]
    settings: ChatSettings
    places: list[int]
    is_new: bool


class Said(NamedTuple):
    """An answer as far as it has come.

    Attributes:
        text: What was answered.
        thought: What was thought before.
        state: `answering`, `whole` or `cut`.
        why: Why it was cut.
        numbers: Columns that its end fills.
    """

    text: str
    thought: str
    state: str
    why: str
    numbers: Mapping[str, Any]


class Writing:
    """Questions and answers as they come.

    Args:
        database: Where the rows are.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def names(self, scope: Scope, conversation_id: str, new: NewTurn, key: str | None) -> list[str]:
        """Who is to be asked; nobody where this key and body have their answers already.

        Raises:
            NotFound: There is no such conversation.
            InvalidInput: Nobody is named.
        """
        with self._database.read() as session:
            tree = tree_of(session, scope.own(), conversation_id)
        used = _used(tree, key, _sent(new))
        if used is not None and all(answer.state == "whole" for answer in tree.answers[used.number]):
            return []
        names = new.models if new.models is not None else [new.model or tree.row.model or ""]
        if names == [""]:
            raise InvalidInput(
                "No model is named.", hint="`tunesmith chats names` lists them.", field="model"
            )
        return names

    def begin(
        self,
        scope: Scope,
        conversation_id: str,
        new: NewTurn,
        wanted: Sequence[Wanted],
        key: str | None = None,
    ) -> Begun:
        """Enter a question; the same key and body again find its turn, of which what was cut is asked anew.

        Args:
            scope: Whose.
            conversation_id: Where it is asked.
            new: The question.
            wanted: Who is to answer it; several side by side. Nobody where it was answered before.
            key: The call's `Idempotency-Key`.

        Raises:
            Busy: Another answer is being written there.
            IdempotencyConflict: The key was used with another body.
            InvalidInput: There is nothing to ask again, or the conversation is too long.
            NotFound: There is no such conversation, or turn.
        """
        own, sent = scope.own(), _sent(new)

        def enter(session: Session) -> Begun:
            moment = now()
            row = repository.require(session, own, conversation_id, locked=True)
            tree = tree_of(session, own, conversation_id)
            used = _used(tree, key, sent)
            _refuse_busy(tree, moment)
            if used is not None:
                return _again(tree, used, wanted, moment)
            parent, content = asked(tree, new)
            settings = merged(row.settings, new.settings)
            drawn = settings
            if len(wanted) > 1 and settings["seed"] is None:
                drawn = settings | {"seed": secrets.randbits(32)}
            messages = _messages(tree, parent, drawn, content)
            refuse_long(tree, messages)
            turn = new_turn(row, parent, content, drawn, moment)
            turn.key, turn.body_sha256 = key, sent if key is not None else None
            said = [new_answer(place, one, moment) for place, one in enumerate(wanted)]
            repository.add_turn(session, own, conversation_id, turn, said)
            row.settings = settings
            return Begun(turn.number, messages, ChatSettings.stored(drawn), list(range(len(said))), True)

        return self._database.retry_on_conflict(enter)

    def note(self, scope: Scope, conversation_id: str, turn: int, said: Mapping[int, Said]) -> None:
        """Write down how far the answers of a turn have come, by their places.

        The conversation goes on from the turn as soon as anything is said in it. What is at its end is not changed any
        more. A turn to which nothing was said is taken out: the conversation is as it was. What is gone is left alone.
        """
        own = scope.own()

        def enter(session: Session) -> None:
            moment = now()
            try:
                row = repository.require(session, own, conversation_id, locked=True)
            except NotFound:
                return  # it was deleted meanwhile
            answers = repository.answers_of(session, own, conversation_id, turn)
            for answer in answers:
                if answer.place in said and answer.state == "answering":
                    _write(answer, said[answer.place], moment)
            if any(one.text or one.thought or one.state == "whole" for one in answers):
                _go_on(row, turn_of(tree_of(session, own, conversation_id), turn), moment)
            elif answers and all(one.state == "cut" for one in answers):
                repository.remove_turn(session, own, conversation_id, turn)
                row.turns -= 1

        self._database.retry_on_conflict(enter)

    def shown(self, scope: Scope, conversation_id: str, turn: int) -> TurnView:
        """A turn as it stands.

        Raises:
            NotFound: It is gone.
        """
        with self._database.read() as session:
            tree = tree_of(session, scope.own(), conversation_id)
        return shown.turn_view(turn_of(tree, turn), tree.answers[turn], now())


def _sent(new: NewTurn) -> str:
    return hashlib.sha256(sent_as("turn", new).encode()).hexdigest()


def _used(tree: Tree, key: str | None, sent: str) -> TurnRow | None:
    """The turn that a key made before.

    Raises:
        IdempotencyConflict: With another body.
    """
    found = next((turn for turn in tree.turns.values() if key is not None and turn.key == key), None)
    if found is not None and found.body_sha256 != sent:
        raise conflict("question")
    return found


def _refuse_busy(tree: Tree, moment: dt.datetime) -> None:
    if any(shown.state_of(one, moment) == "answering" for said in tree.answers.values() for one in said):
        raise Busy(
            "An answer is being written in this conversation.",
            hint="Ask again when it has come to its end, or in another conversation.",
            details={"retry_after": 2},
        )


def _again(tree: Tree, turn: TurnRow, wanted: Sequence[Wanted], moment: dt.datetime) -> Begun:
    """A turn that was asked before: what of its answers was cut is to be written anew, at the same places."""
    places = []
    for answer in tree.answers[turn.number]:
        if answer.state != "whole" and answer.place < len(wanted):
            answer.state, answer.why, answer.touched_at = "answering", "", moment
            answer.model, answer.weights = wanted[answer.place]
            places.append(answer.place)
    messages = _messages(tree, turn.parent, turn.settings, turn.content)
    return Begun(turn.number, messages, ChatSettings.stored(turn.settings), places, False)


def _messages(tree: Tree, parent: int | None, settings: dict[str, Any], content: str) -> list[Message]:
    return [*tree.messages(parent, settings), Message(role="user", content=content)]


def _write(answer: AnswerRow, said: Said, moment: dt.datetime) -> None:
    # What was said before a retry stays until more is said.
    if said.text or said.thought or said.state == "whole":
        answer.text, answer.thought = plain_text(said.text), plain_text(said.thought)
    answer.state, answer.why, answer.touched_at = said.state, plain_text(said.why), moment
    for column, value in said.numbers.items():
        setattr(answer, column, value)


def _go_on(row: ConversationRow, turn: TurnRow, moment: dt.datetime) -> None:
    row.updated_at = moment
    row.title = row.title or title_of(turn.content)
    if (row.head or 0) < turn.number:  # a retry of an earlier turn moves nothing
        row.head = turn.number
