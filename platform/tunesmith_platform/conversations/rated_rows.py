"""What ratings say, as rows: conversations that end in a good answer; pairs of a chosen and a rejected one. Pure."""

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from tunesmith_platform.conversations.shown import Tree
from tunesmith_platform.db.tables import AnswerRow, TurnRow

Row = dict[str, Any]


class Rows(NamedTuple):
    """Rows of a kind.

    Attributes:
        rows: Each once, in the order of their conversations.
        sources: The conversations that they come from.
        left_out: Good answers that are not whole.
    """

    rows: list[Row]
    sources: list[str]
    left_out: int = 0


def answers(trees: Iterable[Tree], model: str | None = None) -> Rows:
    """A row of each good or corrected answer: what was said before it is read, and the answer alone is learned."""
    found, sources, left_out = [], [], 0
    for tree in trees:
        for turn, answer in _of(tree, model):
            good = answer.corrected
            if good is None and answer.rating == "better":
                good = answer.text if _is_whole(answer) else None
                left_out += good is None
            if good:
                read = [
                    one | ({"weight": 0} if one["role"] == "assistant" else {}) for one in _before(tree, turn)
                ]
                found.append({"messages": [*read, _said(good)]})
                sources.append(tree.row.id)
    return Rows(_each_once(found), sorted(set(sources)), left_out)


def pairs(trees: Iterable[Tree], model: str | None = None) -> Rows:
    """A row of each two answers to one question of which one is better.

    A corrected answer is better than what it corrects. One that was rated better is so than those beside it in a
    comparison that were not, and than those that were rated worse wherever the same was asked at the same place.
    """
    found, sources = [], []
    for tree in trees:
        for turn, answer in _of(tree, model):
            chosen = answer.corrected or (
                answer.text if answer.rating == "better" and _is_whole(answer) else ""
            )
            if not chosen:
                continue
            for rejected in _rejected(tree, turn, answer):
                if rejected and rejected != chosen:
                    row = {
                        "prompt": _before(tree, turn),
                        "chosen": [_said(chosen)],
                        "rejected": [_said(rejected)],
                    }
                    found.append(row)
                    sources.append(tree.row.id)
    return Rows(_each_once(found), sorted(set(sources)))


def _rejected(tree: Tree, turn: TurnRow, good: AnswerRow) -> Iterator[str]:
    if good.corrected:
        yield good.text
    for other in tree.turns.values():
        if other.parent != turn.parent or other.content != turn.content:
            continue
        for answer in tree.answers[other.number]:
            is_beside = other.number == turn.number and answer.rating is None and good.rating == "better"
            if answer is not good and (answer.rating == "worse" or is_beside) and _is_whole(answer):
                yield answer.text


def _of(tree: Tree, model: str | None) -> Iterator[tuple[TurnRow, AnswerRow]]:
    for number in sorted(tree.turns):
        for answer in tree.answers[number]:
            if model is None or answer.model == model:
                yield tree.turns[number], answer


def _before(tree: Tree, turn: TurnRow) -> list[Row]:
    """What was said when a turn was asked, its question last."""
    messages = tree.messages(turn.parent, turn.settings)
    said = [one.model_dump(include={"role", "content"}) for one in messages]
    return [*said, {"role": "user", "content": turn.content}]


def _said(text: str) -> Row:
    return {"role": "assistant", "content": text}


def _is_whole(answer: AnswerRow) -> bool:
    """Whether the model came to its own end."""
    return answer.state == "whole" and answer.finish_reason != "length" and bool(answer.text)


def _each_once(rows: list[Row]) -> list[Row]:
    found: list[Row] = []
    seen: set[str] = set()
    for row in rows:
        if (told := repr(row)) not in seen:
            seen.add(told)
            found.append(row)
    return found
