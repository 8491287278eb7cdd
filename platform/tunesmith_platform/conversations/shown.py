"""A conversation's rows as views, as what a model is asked, and as rows that training reads. Pure.

Knows rows and views; asks nobody.
"""

import datetime as dt
from collections.abc import Sequence
from typing import Any, NamedTuple

from tunesmith.chat.conversations import (
    AnswerState,
    AnswerView,
    ConversationDetail,
    ConversationView,
    Exported,
    TurnView,
)
from tunesmith.chat.wire import Message
from tunesmith_platform.db.tables import AnswerRow, ConversationRow, TurnRow

SILENT = dt.timedelta(seconds=30)
"""A server that writes an answer says so every few seconds; one that is silent for so long is gone."""
GONE = "The server ended while the model answered."


class Tree(NamedTuple):
    """A conversation with all that was said.

    Attributes:
        row: The conversation.
        turns: By number.
        answers: By the number of their turn, each in the order of places.
    """

    row: ConversationRow
    turns: dict[int, TurnRow]
    answers: dict[int, list[AnswerRow]]

    @classmethod
    def of(cls, row: ConversationRow, turns: Sequence[TurnRow], answers: Sequence[AnswerRow]) -> "Tree":
        """From the rows."""
        found: dict[int, list[AnswerRow]] = {turn.number: [] for turn in turns}
        for answer in answers:
            found[answer.turn].append(answer)
        return cls(row, {turn.number: turn for turn in turns}, found)

    def branch(self, head: int | None) -> list[TurnRow]:
        """The turns from the first to one."""
        found: list[TurnRow] = []
        while head is not None and (turn := self.turns.get(head)) is not None:
            found.append(turn)
            # A parent has a smaller number: the way ends, whatever the rows say.
            head = turn.parent if turn.parent is not None and turn.parent < turn.number else None
        return found[::-1]

    def chosen(self, turn: TurnRow) -> AnswerRow | None:
        """The answer with which the conversation goes on: what was chosen, or another one that says something."""
        said = self.answers[turn.number]
        ordered = sorted(said, key=lambda one: (not one.text, one.place != turn.chosen, one.place))
        return ordered[0] if ordered else None

    def messages(self, head: int | None, settings: dict[str, Any]) -> list[Message]:
        """What was said up to a turn, under the system prompt of some settings."""
        system = str(settings.get("system_prompt") or "")
        found = [Message(role="system", content=system)] if system else []
        for turn, answer in self.said(head):
            found.append(Message(role="user", content=turn.content))
            found.append(Message(role="assistant", content=answer.text))
        return found

    def said(self, head: int | None) -> list[tuple[TurnRow, AnswerRow]]:
        """The turns up to one, each with its chosen answer; one to which nothing was said is none."""
        found = [(turn, self.chosen(turn)) for turn in self.branch(head)]
        return [(turn, answer) for turn, answer in found if answer is not None and answer.text]


def state_of(answer: AnswerRow, moment: dt.datetime) -> AnswerState:
    """How an answer is: one whose server is silent is cut."""
    if answer.state == "answering":
        return "answering" if moment - answer.touched_at < SILENT else "cut"
    return "whole" if answer.state == "whole" else "cut"


def conversation_view(row: ConversationRow, kept: dt.timedelta | None) -> ConversationView:
    """A conversation as lists show it.

    Args:
        row: The conversation.
        kept: How long it is kept since it was written to last; None: for ever.
    """
    return ConversationView(
        id=row.id,
        title=row.title,
        model=row.model,
        settings=row.settings,
        head=row.head,
        turns=row.turns,
        created_at=row.created_at,
        updated_at=row.updated_at,
        expires_at=row.updated_at + kept if kept is not None else None,
    )


def detail_view(
    tree: Tree, kept: dt.timedelta | None, moment: dt.datetime, *, every: bool = False
) -> ConversationDetail:
    """A conversation with what is said in it; with every turn of every branch where asked for."""
    turns = [tree.turns[number] for number in sorted(tree.turns)] if every else tree.branch(tree.row.head)
    return ConversationDetail(
        **conversation_view(tree.row, kept).model_dump(),
        said=[turn_view(turn, tree.answers[turn.number], moment) for turn in turns],
    )


def exported(tree: Tree, kept: dt.timedelta | None, moment: dt.datetime) -> Exported:
    """A conversation in full."""
    detail = detail_view(tree, kept, moment, every=True)
    return Exported(**detail.model_dump(), messages=row_of(tree, moment)["messages"])


def turn_view(turn: TurnRow, answers: Sequence[AnswerRow], moment: dt.datetime) -> TurnView:
    """A turn with its answers."""
    return TurnView(
        number=turn.number,
        parent=turn.parent,
        content=turn.content,
        settings=turn.settings,
        answers=[_answer_view(answer, moment) for answer in answers],
        chosen=turn.chosen,
        created_at=turn.created_at,
    )


def _answer_view(answer: AnswerRow, moment: dt.datetime) -> AnswerView:
    state = state_of(answer, moment)
    return AnswerView(
        place=answer.place,
        model=answer.model,
        weights=answer.weights,
        text=answer.text,
        reasoning_content=answer.thought,
        state=state,
        why=answer.why or (GONE if state == "cut" and answer.state == "answering" else ""),
        finish_reason=answer.finish_reason,
        prompt_tokens=answer.prompt_tokens,
        completion_tokens=answer.completion_tokens,
        dropped_turns=answer.dropped_turns,
        rating=answer.rating,
        corrected=answer.corrected,
        created_at=answer.created_at,
    )


def row_of(tree: Tree, moment: dt.datetime) -> dict[str, Any]:
    """What is said in a conversation as a row that training reads; what is not whole is read and not learned."""
    spoken = tree.said(tree.row.head)
    system = str(spoken[-1][0].settings.get("system_prompt") or "") if spoken else ""
    messages: list[dict[str, Any]] = [{"role": "system", "content": system}] if system else []
    for turn, answer in spoken:
        said: dict[str, Any] = {"role": "assistant", "content": answer.text}
        if state_of(answer, moment) != "whole":
            said["weight"] = 0
        messages += [{"role": "user", "content": turn.content}, said]
    return {"messages": messages}
