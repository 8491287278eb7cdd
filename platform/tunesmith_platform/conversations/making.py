"""How the rows of a conversation are made: of what a user sent, and of what was said elsewhere. Stores nothing."""

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy.orm import Session

from tunesmith.chat.conversations import MAX_TURNS, NewTurn, SaidMessage
from tunesmith.chat.wire import Message
from tunesmith.errors import InvalidInput, NotFound
from tunesmith.spec.chat import ChatSettings
from tunesmith_platform.conversations import repository
from tunesmith_platform.conversations.repository import Place
from tunesmith_platform.conversations.shown import Tree
from tunesmith_platform.db.tables import AnswerRow, ConversationRow, TurnRow
from tunesmith_platform.scope import Scope

MAX_CHARACTERS = 1_000_000
"""Of what is said in one conversation up to a turn: a served model is sent 4 MiB at most."""
_TITLE = 60


class Wanted(NamedTuple):
    """Who is to answer.

    Attributes:
        name: The whole name of the weights.
        weights: What tells them from all others.
    """

    name: str
    weights: str


def tree_of(session: Session, scope: Scope, conversation_id: str) -> Tree:
    """A conversation with all that was said.

    Raises:
        NotFound: There is none.
    """
    row = repository.require(session, scope, conversation_id)
    turns = repository.turns(session, scope, conversation_id)
    return Tree.of(row, turns, repository.answers(session, scope, conversation_id))


def turn_of(tree: Tree, number: int) -> TurnRow:
    """A turn of a conversation.

    Raises:
        NotFound: There is none of this number.
    """
    turn = tree.turns.get(number)
    if turn is None:
        raise NotFound(
            f"The conversation has no turn {number}.",
            hint=f"`tunesmith chats show {tree.row.id}` numbers them.",
        )
    return turn


def asked(tree: Tree, new: NewTurn) -> tuple[int | None, str]:
    """After which turn something is asked, and what.

    Raises:
        NotFound: There is no such turn.
        InvalidInput: There is nothing that could be asked again.
    """
    if new.instead_of is None and new.content is not None:
        return tree.row.head, new.content
    number = new.instead_of if new.instead_of is not None else tree.row.head
    if number is None:
        raise InvalidInput(
            "Nothing was asked in this conversation yet.",
            hint="Send the question as `content`.",
            field="content",
        )
    turn = turn_of(tree, number)
    return turn.parent, new.content if new.content is not None else turn.content


def merged(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Settings with others over them, each under its own name.

    Raises:
        InvalidInput: One cannot be used.
    """
    try:
        return ChatSettings.read(ChatSettings.merged(under, over)).model_dump(mode="json")
    except InvalidInput as error:
        error.problems = [problem.under("settings") for problem in error.each_problem()]
        raise


def refuse_long(tree: Tree, messages: Sequence[Message]) -> None:
    """Refuse a question for which there is no room among what is kept or sent.

    Raises:
        InvalidInput: There is none.
    """
    if tree.row.turns >= MAX_TURNS:
        raise InvalidInput(
            f"The conversation has {tree.row.turns} turns, as many as one may have.", hint="Begin a new one."
        )
    said = sum(len(message.content) for message in messages)
    if said > MAX_CHARACTERS:
        raise InvalidInput(
            f"With this question {said} characters are said in the conversation; at most {MAX_CHARACTERS} are sent.",
            hint="Begin a new one, or ask in place of an earlier turn.",
            field="content",
        )


def new_turn(
    row: ConversationRow, parent: int | None, content: str, settings: Mapping[str, Any], moment: dt.datetime
) -> TurnRow:
    """The next turn of a conversation."""
    row.numbers += 1
    row.turns += 1
    return TurnRow(
        conversation_id=row.id,
        number=row.numbers,
        parent=parent,
        content=content,
        settings=dict(settings),
        chosen=0,
        created_at=moment,
    )


def new_answer(place: int, wanted: Wanted, moment: dt.datetime) -> AnswerRow:
    """An answer of which nothing was said yet."""
    return AnswerRow(
        place=place,
        model=wanted.name,
        weights=wanted.weights,
        state="answering",
        text="",
        thought="",
        why="",
        prompt_tokens=0,
        completion_tokens=0,
        dropped_turns=0,
        created_at=moment,
        touched_at=moment,
    )


def in_turn(messages: Sequence[SaidMessage]) -> tuple[str, list[tuple[str, str]]]:
    """The system prompt of a conversation that was held elsewhere, and its questions with their answers.

    Raises:
        InvalidInput: They do not follow each other in turn.
    """
    rest = list(messages)
    system = rest.pop(0).content if rest and rest[0].role == "system" else ""
    for place, message in enumerate(rest):
        wanted = "user" if place % 2 == 0 else "assistant"
        if message.role != wanted or not message.content:
            where = place + len(messages) - len(rest)
            raise InvalidInput(
                "Questions and answers do not follow each other in turn.",
                hint=f"Here a message of `{wanted}` with some text is expected.",
                field=f"messages[{where}]",
            )
    if len(rest) % 2:
        raise InvalidInput(
            "The last question has no answer.", hint="Leave it out, and ask it here.", field="messages"
        )
    return system, [(rest[at].content, rest[at + 1].content) for at in range(0, len(rest), 2)]


def title_of(question: str) -> str:
    """What a conversation is called that nobody gave a title: the beginning of its first question."""
    line = " ".join(question.split())
    return line if len(line) <= _TITLE else f"{line[: _TITLE - 3].rstrip()}..."


def place_of(after: str | None) -> Place | None:
    """Where the page before ended.

    Raises:
        InvalidInput: It is no `next` of a page.
    """
    if after is None:
        return None
    moment, _, number = after.partition("~")
    try:
        found = dt.datetime.fromisoformat(moment)
    except ValueError:
        found = None
    if found is None or found.tzinfo is None:
        raise InvalidInput("This is no `next` of a page before.", hint="Leave `after` out.", field="after")
    return Place(found, number)
