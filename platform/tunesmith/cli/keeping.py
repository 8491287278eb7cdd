"""Where what is said in the terminal stays: in a conversation on the server, or in this process alone."""

from __future__ import annotations

import contextlib
from collections.abc import Generator
from typing import TYPE_CHECKING, Any, Protocol

from tunesmith.errors import InvalidInput, TunesmithError

if TYPE_CHECKING:
    from tunesmith.chat.conversations import AnswerView, ConversationDetail, TurnView
    from tunesmith.chat.views import ChatPart, ChatReply
    from tunesmith.client import Client

Parts = Generator["ChatPart", None, "list[ChatReply]"]
_NOT_KEPT = "This conversation is not kept."
_KEEP_IT = "`/save` keeps it from here on, with what was said."


class Keeping(Protocol):
    """What was said, and who keeps it."""

    def ask(self, question: str, model: str, settings: dict[str, Any]) -> Parts:
        """Have a question answered as the next turn; one that is refused leaves all as it was."""
        ...

    def again(self, models: list[str], settings: dict[str, Any]) -> Parts:
        """Have the last question answered once more, by one model or by several side by side."""
        ...

    def rate(self, place: int | None, rating: str | None, corrected: str | None) -> None:
        """Rate an answer of the last turn; the one with which it goes on where no place is given."""
        ...

    def title(self, title: str) -> None:
        """Name it."""
        ...

    @property
    def id(self) -> str | None:
        """The conversation on the server; None where there is none."""
        ...


class Unkept:
    """Keeps what was said as long as the process lives.

    Args:
        client: Asks.
    """

    id = None

    def __init__(self, client: Client) -> None:
        self._client = client
        self.turns: list[dict[str, str]] = []

    def ask(self, question: str, model: str, settings: dict[str, Any]) -> Parts:
        """See `Keeping.ask`."""
        turns = [*self.turns, {"role": "user", "content": question}]
        reply = yield from self._client.chats.stream(model, turns, **settings)
        self.turns = [*turns, {"role": "assistant", "content": reply.text}]
        return [reply]

    def again(self, models: list[str], settings: dict[str, Any]) -> Parts:
        """See `Keeping.again`."""
        asked = [place for place, turn in enumerate(self.turns) if turn["role"] == "user"]
        if not asked:
            raise nothing_asked()
        turns = self.turns[: asked[-1] + 1]
        if len(models) == 1:
            reply = yield from self._client.chats.stream(models[0], turns, **settings)
            self.turns = [*turns, {"role": "assistant", "content": reply.text}]
            return [reply]
        replies = []
        for place, model in enumerate(models):
            parts = self._client.chats.stream(model, turns, **settings)
            replies.append((yield from _at(place, parts)))
        return replies

    def rate(self, place: int | None, rating: str | None, corrected: str | None) -> None:
        """See `Keeping.rate`."""
        raise InvalidInput(_NOT_KEPT, hint=_KEEP_IT)

    def title(self, title: str) -> None:
        """See `Keeping.title`."""
        raise InvalidInput(_NOT_KEPT, hint=_KEEP_IT)


class Kept:
    """Keeps what is said on the server. A new conversation is begun with its first question.

    Args:
        client: Asks.
        conversation: The one that goes on; None begins one.
    """

    def __init__(self, client: Client, conversation: str | None = None) -> None:
        self._client = client
        self._id = conversation
        self._title: str | None = None

    @property
    def id(self) -> str | None:
        """See `Keeping.id`."""
        return self._id

    def ask(self, question: str, model: str, settings: dict[str, Any]) -> Parts:
        """See `Keeping.ask`."""
        is_new = self._id is None
        if self._id is None:
            self._id = self._client.conversations.create(model, title=self._title, **settings).id
        try:
            turn = yield from self._client.conversations.stream(self._id, question, model=model, **settings)
        except Exception:
            if is_new:
                with contextlib.suppress(TunesmithError):  # what is said is what went wrong first
                    self._give_up()
            raise
        return self._replies(turn)

    def again(self, models: list[str], settings: dict[str, Any]) -> Parts:
        """See `Keeping.again`."""
        if self._id is None:
            raise nothing_asked()
        who: dict[str, Any] = {"model": models[0]} if len(models) == 1 else {"models": models}
        turn = yield from self._client.conversations.stream(self._id, None, **who, **settings)
        return self._replies(turn)

    def rate(self, place: int | None, rating: Any, corrected: str | None) -> None:
        """See `Keeping.rate`."""
        turn = self._last()
        place = turn.chosen if place is None else place
        was = next((one for one in turn.answers if one.place == place), None)
        if was is None:
            raise InvalidInput(
                f"The last question has no answer {place + 1}.", hint="Count them from 1, as they were shown."
            )
        assert self._id is not None
        self._client.conversations.rate(
            self._id,
            turn.number,
            place,
            rating=rating or was.rating,
            corrected=corrected or was.corrected,
        )

    def title(self, title: str) -> None:
        """See `Keeping.title`."""
        self._title = title
        if self._id is not None:
            self._client.conversations.change(self._id, title=title)

    def shown(self) -> ConversationDetail:
        """What is kept.

        Raises:
            InvalidInput: Nothing was asked yet.
        """
        if self._id is None:
            raise nothing_asked()
        return self._client.conversations.show(self._id)

    def _give_up(self) -> None:
        """Take away a conversation in which nothing was said."""
        if self._id is not None and not self.shown().said:
            self._client.conversations.delete(self._id)
            self._id = None

    def _last(self) -> TurnView:
        said = self.shown().said
        if not said:
            raise nothing_asked()
        return said[-1]

    def _replies(self, turn: TurnView) -> list[ChatReply]:
        return [self._reply(turn, answer) for answer in turn.answers]

    def _reply(self, turn: TurnView, answer: AnswerView) -> ChatReply:
        from tunesmith.chat.views import KeptReply

        return KeptReply(
            model=answer.model,
            text=answer.text,
            thought=answer.reasoning_content,
            finish_reason="length" if answer.finish_reason == "length" else "stop",
            prompt_tokens=answer.prompt_tokens,
            completion_tokens=answer.completion_tokens,
            dropped_turns=answer.dropped_turns,
            conversation=self._id or "",
            turn=turn.number,
            why=answer.why,
        )


def nothing_asked() -> InvalidInput:
    """What is said where a command is about the last question."""
    return InvalidInput("Nothing was asked yet.", hint="Ask something first.")


def _at(place: int, parts: Generator[ChatPart, None, ChatReply]) -> Generator[ChatPart, None, ChatReply]:
    """The parts of one of several answers."""
    while True:
        try:
            part = next(parts)
        except StopIteration as end:
            reply: ChatReply = end.value
            return reply
        yield part.model_copy(update={"place": place})
