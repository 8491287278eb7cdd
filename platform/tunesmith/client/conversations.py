"""Conversations that are kept on the server, from Python: ask within one, rate what was answered, export.

Knows the conversations' endpoints and views; knows no HTTP.
"""

import builtins
import secrets
from collections.abc import Generator, Iterator, Mapping, Sequence
from typing import Any, Literal

from tunesmith.chat.conversations import (
    ConversationDetail,
    ConversationView,
    RatedAnswer,
    RatedDataset,
    RatedRows,
    RatingWord,
    TurnView,
)
from tunesmith.chat.views import ChatPart
from tunesmith.client.answers import WAIT_SECONDS, Answering
from tunesmith.client.calls import path_of
from tunesmith.spec.chat import ChatSettings

_PLACE = "/v1/conversations"


class Conversations(Answering):
    """`client.conversations`: every call on conversations. They are the caller's alone."""

    def list(self, search: str = "", expiring_days: float | None = None) -> Iterator[ConversationView]:
        """Conversations, the one that was written to last first.

        Args:
            search: Words that the title is to hold.
            expiring_days: Those alone that are deleted within so many days unless they go on.
        """
        query = {"search": search or None, "expiring_days": expiring_days}
        return self._pages(ConversationView, _PLACE, 200, query)

    def create(
        self,
        model: str | None = None,
        *,
        title: str | None = None,
        messages: Sequence[Mapping[str, str]] = (),
        idempotency_key: str | None = None,
        **settings: Any,
    ) -> ConversationDetail:
        """Begin a conversation, perhaps with what was said elsewhere.

        Args:
            model: Who is asked where a question names nobody.
            title: The beginning of the first question when None.
            messages: What was said: `role` and `content` of each.
            idempotency_key: The same key and body again answer the same conversation; one is made when None.
            settings: See `ChatSettings`.
        """
        given = {"model": model, "title": title, "settings": ChatSettings.meant(settings)}
        body = {name: value for name, value in given.items() if value is not None}
        raw = self._transport.call(
            "POST",
            _PLACE,
            body=body | {"messages": [dict(one) for one in messages]},
            headers={"Idempotency-Key": idempotency_key or secrets.token_urlsafe(18)},
        )
        return self._view(ConversationDetail, raw)

    def show(self, conversation: str, *, every: bool = False) -> ConversationDetail:
        """A conversation with what is said in it; with the turns of all branches where asked for."""
        return self._get(ConversationDetail, _path(conversation), {"every": every or None})

    def last(self) -> ConversationView | None:
        """The one that was written to last."""
        return next(iter(self.list()), None)

    def turn(self, conversation: str, turn: int) -> TurnView:
        """One turn of a conversation."""
        return self._get(TurnView, f"{_path(conversation)}/turns/{turn}")

    def change(
        self,
        conversation: str,
        *,
        title: str | None = None,
        model: str | None = None,
        head: int | None = None,
        settings: Mapping[str, Any] | None = None,
    ) -> ConversationDetail:
        """Rename a conversation, change who is asked or how, or go back to another branch.

        Args:
            conversation: Its id.
            title: What it is called from now on.
            model: Who is asked from now on.
            head: The turn at which it goes on.
            settings: Laid over those that it has.
        """
        given = {"title": title, "model": model, "head": head, "settings": settings and dict(settings)}
        body = {name: value for name, value in given.items() if value is not None}
        return self._view(ConversationDetail, self._transport.call("PATCH", _path(conversation), body=body))

    def delete(self, conversation: str) -> None:
        """Delete a conversation with all that was said and rated in it."""
        self._delete(_path(conversation))

    def export(self, conversation: str, form: Literal["json", "jsonl"] = "json") -> str:
        """A conversation as text: all that is kept of it, or what is said as a row that training reads."""
        with self._transport.open_file(f"{_path(conversation)}/export", {"form": form}) as pieces:
            return b"".join(pieces).decode()

    def export_all(self, form: Literal["json", "jsonl"] = "jsonl") -> Iterator[bytes]:
        """All conversations as they come, one JSON object a line."""
        with self._transport.open_file(f"{_PLACE}:export", {"form": form}) as pieces:
            yield from pieces

    # --- asking

    def ask(self, conversation: str, content: str | None = None, **more: Any) -> TurnView:
        """A turn with its answers, once they are whole: see `stream`."""
        parts = self.stream(conversation, content, **more)
        while True:
            try:
                next(parts)
            except StopIteration as end:
                turn: TurnView = end.value
                return turn

    def stream(
        self,
        conversation: str,
        content: str | None = None,
        *,
        model: str | None = None,
        models: builtins.list[str] | None = None,
        instead_of: int | None = None,
        wait_seconds: float = WAIT_SECONDS,
        idempotency_key: str | None = None,
        **settings: Any,
    ) -> Generator[ChatPart, None, TurnView]:
        """The answers to a question as they come; returns the turn. Closing the generator ends the computing.

        Args:
            conversation: Its id.
            content: The question; the last one once more when None.
            model: Who is asked; the conversation's model when None.
            models: Two to four, which answer side by side: parts say by `place` whose they are.
            instead_of: A turn in whose place it is asked.
            wait_seconds: How long to wait for a model that is being started.
            idempotency_key: The same key and body again write nothing twice; one is made when None.
            settings: See `ChatSettings`; laid over the conversation's.

        Raises:
            Conflict: Another answer is being written in this conversation.
            InvalidInput: A setting cannot be used, two of the models are the same, or the context is full.
            Unavailable: The model is not served in time, or the answer was cut off; what was said is kept.
        """
        given = {"content": content, "model": model, "models": models, "instead_of": instead_of}
        body = {name: value for name, value in given.items() if value is not None}
        found = yield from self._answered(
            f"{_path(conversation)}/messages",
            body | {"settings": ChatSettings.meant(settings), "stream": True},
            wait_seconds=wait_seconds,
            headers={"Idempotency-Key": idempotency_key or secrets.token_urlsafe(18)},
        )
        return self.turn(conversation, int(found.more["turn"]))

    # --- ratings

    def rate(
        self,
        conversation: str,
        turn: int,
        place: int = 0,
        *,
        rating: RatingWord | None = None,
        corrected: str | None = None,
    ) -> TurnView:
        """Rate an answer; nothing given takes a rating back.

        Args:
            conversation: Its id.
            turn: The turn's number.
            place: Which of its answers.
            rating: `better` or `worse`.
            corrected: What it should have been.
        """
        given = {"rating": rating, "corrected": corrected}
        body = {name: value for name, value in given.items() if value is not None}
        path = f"{_path(conversation)}/turns/{turn}/answers/{place}/rating"
        return self._view(TurnView, self._transport.call("PUT", path, body=body))

    def ratings(self) -> Iterator[RatedAnswer]:
        """Every answer that was rated, those of the newest conversations first."""
        return self._pages(RatedAnswer, f"{_PLACE}:ratings", 200)

    def rows(self, rows: RatedRows = "answers", model: str | None = None) -> str:
        """The ratings as JSON lines: good answers that training reads, or pairs of a chosen and a rejected one."""
        with self._transport.open_file(f"{_PLACE}:rows", {"rows": rows, "model": model}) as pieces:
            return b"".join(pieces).decode()

    def make_dataset(self, name: str, rows: RatedRows = "answers", model: str | None = None) -> RatedDataset:
        """Make the ratings the next version of a data set; the same rows again are found, not made twice.

        Args:
            name: The data set.
            rows: Good answers, or pairs.
            model: Answers of this model alone.
        """
        body = {"name": name, "rows": rows} | ({"model": model} if model else {})
        return self._view(RatedDataset, self._transport.call("POST", f"{_PLACE}:dataset", body=body))


def _path(conversation: str) -> str:
    return path_of(_PLACE, conversation, what="A conversation's id", shown_by="tunesmith chats conversations")
