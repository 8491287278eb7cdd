"""Ratings of answers: listed, written out as rows, and made a version of a data set.

Knows the conversations' rows and the registry of data sets; what rows mean is `rated_rows`'s.
"""

import json
from collections.abc import Iterator

from sqlalchemy.orm import Session

from tunesmith.chat.conversations import NewRatedDataset, RatedAnswer, RatedDataset, RatedRows
from tunesmith.errors import InvalidInput
from tunesmith.removal import discard_file
from tunesmith.views import Page
from tunesmith_platform.clock import new_id
from tunesmith_platform.conversations import rated_rows, repository
from tunesmith_platform.conversations.making import tree_of
from tunesmith_platform.conversations.rated_rows import Rows
from tunesmith_platform.conversations.repository import Rated
from tunesmith_platform.conversations.shown import Tree
from tunesmith_platform.datasets.service import DatasetService
from tunesmith_platform.db.engine import Database
from tunesmith_platform.scope import Scope


class RatingService:
    """What was rated.

    Args:
        database: Where the rows are.
        datasets: The registry that a version is entered in.
    """

    def __init__(self, database: Database, datasets: DatasetService) -> None:
        self._database = database
        self._datasets = datasets

    def page(self, scope: Scope, after: str | None, limit: int) -> Page[RatedAnswer]:
        """Answers that a user rated, those of the newest conversations first."""
        with self._database.read() as session:
            found = repository.rated(session, scope.own(), limit + 1, _answer_of(after))
        views = [_view(one) for one in found]
        return Page.of(views, limit, lambda one: f"{one.conversation}~{one.turn}~{one.place}")

    def rows(self, scope: Scope, wanted: RatedRows, model: str | None = None) -> Rows:
        """A user's ratings as rows.

        Args:
            scope: Whose.
            wanted: Good answers, or pairs.
            model: Answers of this model alone.
        """
        own = scope.own()
        with self._database.read() as session:
            trees = list(_trees(session, own))
        make = rated_rows.answers if wanted == "answers" else rated_rows.pairs
        return make(trees, model)

    def make(self, scope: Scope, new: NewRatedDataset) -> tuple[RatedDataset, bool]:
        """Make a user's ratings the newest version of a data set; the same rows again are found, not made.

        Raises:
            InvalidInput: Nothing was rated so.
            Conflict: The name is another user's.
        """
        found = self.rows(scope, new.rows, new.model)
        if not found.rows:
            raise InvalidInput(
                "No answer was rated that could be a row."
                if new.rows == "answers"
                else "No two answers were rated that could be a pair.",
                hint="Rate answers with `/rate better` or `/correct TEXT` in `tunesmith chat`.",
                field="rows",
            )
        parameters = new.model_dump(mode="json", include={"rows", "model"}, exclude_none=True)
        lineage = {"operation": "ratings", "parameters": parameters, "sources": found.sources}
        part = self._datasets.scratch() / new_id("ratings")
        try:
            part.write_text(as_lines(found), encoding="utf-8")
            view, made = self._datasets.take(
                scope, new.name, part, f"{new.name}.jsonl", None, "ratings", lineage=lineage
            )
        finally:
            discard_file(part)
        version = f"{view.name}@{view.latest}"
        rows = len(found.rows)
        return RatedDataset(dataset=view, version=version, rows=rows, left_out=found.left_out), made


def as_lines(found: Rows) -> str:
    """Rows as JSON lines."""
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in found.rows)


def _trees(session: Session, scope: Scope) -> Iterator[Tree]:
    rated = repository.rated(session, scope, None)
    for conversation_id in sorted({one.conversation.id for one in rated}):
        yield tree_of(session, scope, conversation_id)


def _view(rated: Rated) -> RatedAnswer:
    conversation, turn, answer = rated
    return RatedAnswer(
        conversation=conversation.id,
        title=conversation.title,
        turn=turn.number,
        place=answer.place,
        model=answer.model,
        question=turn.content,
        text=answer.text,
        rating=answer.rating,
        corrected=answer.corrected,
        rated_at=answer.rated_at or answer.created_at,
    )


def _answer_of(after: str | None) -> tuple[str, int, int] | None:
    """Behind which answer a page begins.

    Raises:
        InvalidInput: It is no `next` of a page.
    """
    if after is None:
        return None
    conversation, *numbers = after.split("~")
    if len(numbers) != 2 or not all(one.isascii() and one.isdigit() and len(one) < 6 for one in numbers):
        raise InvalidInput("This is no `next` of a page before.", hint="Leave `after` out.", field="after")
    return conversation, int(numbers[0]), int(numbers[1])
