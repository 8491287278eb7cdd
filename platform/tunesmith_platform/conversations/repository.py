"""The queries of conversations, of their turns and of the answers to them."""

import datetime as dt
from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import and_, delete, func, or_, select
from sqlalchemy.orm import Session

from tunesmith.errors import NotFound
from tunesmith_platform.db.scoping import expect, get, within
from tunesmith_platform.db.tables import AnswerRow, ConversationRow, TurnRow
from tunesmith_platform.scope import Scope


class Place(NamedTuple):
    """Where a page of conversations ended."""

    moment: dt.datetime
    id: str


class Rated(NamedTuple):
    """An answer that was rated, with what it answers."""

    conversation: ConversationRow
    turn: TurnRow
    answer: AnswerRow


def require(session: Session, scope: Scope, conversation_id: str, *, locked: bool = False) -> ConversationRow:
    """A conversation.

    Raises:
        NotFound: There is none.
    """
    row = get(session, scope, ConversationRow, conversation_id, with_for_update=locked)
    if row is None:
        raise NotFound(
            f"There is no conversation `{conversation_id}`.",
            hint="`tunesmith chats conversations` lists them.",
        )
    return row


def page(
    session: Session,
    scope: Scope,
    limit: int,
    *,
    after: Place | None = None,
    words: Sequence[str] = (),
    before: dt.datetime | None = None,
) -> Sequence[ConversationRow]:
    """Conversations, the one that was written to last first.

    Args:
        session: The transaction.
        scope: Whose.
        limit: How many at most.
        after: Those behind this place.
        words: Those whose title holds all of these, in capitals or not.
        before: Those that were not written to since.
    """
    updated = ConversationRow.updated_at
    query = select(ConversationRow).order_by(updated.desc(), ConversationRow.id.desc()).limit(limit)
    if after is not None:
        query = query.where(
            or_(updated < after.moment, and_(updated == after.moment, ConversationRow.id < after.id))
        )
    if before is not None:
        query = query.where(updated < before)
    for word in words:
        query = query.where(func.lower(ConversationRow.title).contains(word.lower(), autoescape=True))
    return session.scalars(within(query, scope, ConversationRow)).all()


def turns(session: Session, scope: Scope, conversation_id: str) -> Sequence[TurnRow]:
    """A conversation's turns by number, all branches together."""
    query = select(TurnRow).where(TurnRow.conversation_id == conversation_id).order_by(TurnRow.number)
    return session.scalars(within(query, scope, TurnRow)).all()


def answers(session: Session, scope: Scope, conversation_id: str) -> Sequence[AnswerRow]:
    """The answers to a conversation's turns, by turn and place."""
    query = select(AnswerRow).where(AnswerRow.conversation_id == conversation_id)
    query = query.order_by(AnswerRow.turn, AnswerRow.place)
    return session.scalars(within(query, scope, AnswerRow)).all()


def answers_of(session: Session, scope: Scope, conversation_id: str, turn: int) -> Sequence[AnswerRow]:
    """The answers to one turn, held until the transaction ends."""
    query = (
        select(AnswerRow)
        .where(AnswerRow.conversation_id == conversation_id, AnswerRow.turn == turn)
        .order_by(AnswerRow.place)
        .with_for_update()
    )
    return session.scalars(within(query, scope, AnswerRow)).all()


def put(session: Session, scope: Scope, row: ConversationRow) -> None:
    """Enter a conversation."""
    expect(session, scope, row)
    session.add(row)
    session.flush()


def add_turn(
    session: Session, scope: Scope, conversation_id: str, turn: TurnRow, said: Sequence[AnswerRow]
) -> None:
    """Enter a turn with its answers; who does so holds its conversation's row.

    Raises:
        NotFound: There is no such conversation.
    """
    require(session, scope, conversation_id)
    turn.conversation_id = conversation_id
    session.add(turn)
    session.flush()
    for answer in said:
        answer.conversation_id, answer.turn = conversation_id, turn.number
    session.add_all(said)
    session.flush()


def remove_turn(session: Session, scope: Scope, conversation_id: str, turn: int) -> None:
    """Take a turn out, with its answers."""
    chosen = TurnRow.conversation_id == conversation_id, TurnRow.number == turn
    gone = delete(AnswerRow).where(AnswerRow.conversation_id == conversation_id, AnswerRow.turn == turn)
    session.execute(within(gone, scope, AnswerRow))
    session.execute(within(delete(TurnRow).where(*chosen), scope, TurnRow))


def remove(session: Session, scope: Scope, conversation_ids: Sequence[str]) -> int:
    """Delete conversations with all that was said; how many there were."""
    gone = delete(AnswerRow).where(AnswerRow.conversation_id.in_(conversation_ids))
    session.execute(within(gone, scope, AnswerRow))
    gone_turns = delete(TurnRow).where(TurnRow.conversation_id.in_(conversation_ids))
    session.execute(within(gone_turns, scope, TurnRow))
    query = delete(ConversationRow).where(ConversationRow.id.in_(conversation_ids))
    deleted = session.execute(within(query, scope, ConversationRow).returning(ConversationRow.id))
    return len(deleted.all())


def old(session: Session, scope: Scope, moment: dt.datetime, limit: int) -> Sequence[str]:
    """Conversations that were not written to since a moment, the oldest first."""
    query = select(ConversationRow.id).where(ConversationRow.updated_at < moment)
    query = query.order_by(ConversationRow.updated_at).limit(limit)
    return session.scalars(within(query, scope, ConversationRow)).all()


def rated(
    session: Session, scope: Scope, limit: int | None, after: tuple[str, int, int] | None = None
) -> list[Rated]:
    """Answers that were rated, the newest conversations' first.

    Args:
        session: The transaction.
        scope: Whose.
        limit: How many at most; None: all.
        after: Those behind this answer: its conversation, turn and place.
    """
    own = AnswerRow.conversation_id, AnswerRow.turn, AnswerRow.place
    query = (
        select(ConversationRow, TurnRow, AnswerRow)
        .join(TurnRow, TurnRow.conversation_id == ConversationRow.id)
        .join(
            AnswerRow,
            and_(AnswerRow.conversation_id == ConversationRow.id, AnswerRow.turn == TurnRow.number),
        )
        .where(or_(AnswerRow.rating.is_not(None), AnswerRow.corrected.is_not(None)))
        .order_by(*(column.desc() for column in own))
    )
    if after is not None:
        conversation, turn, place = after
        query = query.where(
            or_(
                own[0] < conversation,
                and_(own[0] == conversation, own[1] < turn),
                and_(own[0] == conversation, own[1] == turn, own[2] < place),
            )
        )
    if limit is not None:
        query = query.limit(limit)
    return [Rated(*row) for row in session.execute(within(query, scope, ConversationRow)).all()]
