"""Asks within a conversation: each word that a model says is passed on, and what was said is written down.

Lives on the event loop; what asks the database does so in threads. Whatever ends an answer (its client leaves, its
replica is killed, this server is told to end), what was said until then is kept. What is said is written into no log.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncGenerator, Sequence
from typing import Any, NamedTuple

from starlette.concurrency import run_in_threadpool

from tunesmith.chat.comparing import refuse_same_weights
from tunesmith.chat.conversations import AnswerView, NewTurn
from tunesmith.chat.wire import Ask, End, Line, Piece
from tunesmith.errors import DatabaseBusy, TunesmithError, Unavailable
from tunesmith_platform.chats.asking import Asking, Model
from tunesmith_platform.clock import new_id
from tunesmith_platform.conversations.answers import Unsaid
from tunesmith_platform.conversations.making import Wanted
from tunesmith_platform.conversations.writing import Begun, Busy, Said, Writing
from tunesmith_platform.openai.answers import Turn
from tunesmith_platform.openai.errors import error_of
from tunesmith_platform.scope import Scope

logger = logging.getLogger(__name__)

_BUSY_SECONDS = 3.0
"""How long one waits for an answer that is coming to its end: its client has left, perhaps to ask again."""
_LOOK_SECONDS = 0.1
_NOTE_SECONDS = 2.0
"""How often it is written down how far answers have come: what a server loses that is killed."""
_TRIES, _PAUSE_SECONDS = 20, 1.0
"""How often the end of an answer is written while the database is away, and how long one waits in between."""
_SETTLE_SECONDS = 5.0
"""How long a client waits for that; then it is told."""
_AHEAD = 256
_LOOK_AGAIN = "Look at the conversation in a moment: it is tried again."
_LEFT = "Its client left, or the server was ended."
_FAULT = "Something went wrong on our side."


class Talk(NamedTuple):
    """A turn that is being asked, or was before.

    Attributes:
        scope: Whose.
        conversation_id: Where.
        begun: What was entered.
        models: Who is asked, by places; nobody where the answers are there already.
        kept: The answers that are there already.
    """

    scope: Scope
    conversation_id: str
    begun: Begun
    models: list[Model]
    kept: list[AnswerView]

    @property
    def names(self) -> list[tuple[str, str]]:
        """Who answers, by places, each with what tells its weights from all others."""
        return [(one.model, one.weights) for one in self.kept]


class Talking:
    """Asks within conversations.

    Args:
        asking: Asks models.
        writing: Writes down what is said.
    """

    def __init__(self, asking: Asking, writing: Writing) -> None:
        self._asking = asking
        self._writing = writing
        self._ending: set[asyncio.Task[None]] = set()

    async def close(self) -> None:
        """Wait until the ends of all answers are written down."""
        await asyncio.gather(*self._ending, return_exceptions=True)

    async def begin(self, scope: Scope, conversation_id: str, new: NewTurn, key: str | None) -> Talk:
        """Enter a question.

        Raises:
            NotFound: There is no such conversation, turn or model.
            InvalidInput: It cannot be asked so.
            Conflict: Another answer is being written in this conversation.
        """
        names = await run_in_threadpool(self._writing.names, scope, conversation_id, new, key)
        models = [await self._asking.model(scope, name) for name in names]
        if new.models is not None and names:
            refuse_same_weights(names, [await self._asking.content(model) for model in models])
        wanted = [Wanted(model.weights.name, model.weights.weights) for model in models]
        begun = await self._begin(scope, conversation_id, new, wanted, key)
        shown = await run_in_threadpool(self._writing.shown, scope, conversation_id, begun.turn)
        return Talk(scope, conversation_id, begun, models, shown.answers)

    async def _begin(
        self, scope: Scope, conversation_id: str, new: NewTurn, wanted: Sequence[Wanted], key: str | None
    ) -> Begun:
        deadline = time.monotonic() + _BUSY_SECONDS
        while True:
            try:
                return await run_in_threadpool(self._writing.begin, scope, conversation_id, new, wanted, key)
            except Busy:
                if time.monotonic() > deadline:
                    raise
            await asyncio.sleep(_LOOK_SECONDS)

    async def lines(self, talk: Talk) -> AsyncGenerator[tuple[int, Line], None]:
        """All that is said in a turn, as `Asking.answer` says it, each line with its answer's place.

        Closing this ends the calls, and so the computing, at once; what was said until then is kept.

        Raises:
            TunesmithError: The model refuses the question, or its answer is not whole; of several, all of them.
        """
        recordings = {place: _Recording() for place in talk.begun.places}
        noting = asyncio.create_task(self._note(talk, recordings))
        said = self._several(talk, recordings)
        try:
            async with contextlib.aclosing(said):
                async for line in said:
                    yield line
        finally:
            noting.cancel()
            await self._settle(talk, recordings)

    # --- asking

    async def _one(
        self, talk: Talk, recordings: "dict[int, _Recording]", place: int
    ) -> AsyncGenerator[Line, None]:
        """One answer of a turn; its end is passed on when it is written down."""
        recording = recordings.get(place)
        if recording is None:
            for line in _replayed(talk.kept[place]):
                yield line
            return
        begun = talk.begun
        ask = Ask(
            id=new_id("chatcmpl"),
            model=talk.models[place].served,
            messages=begun.messages,
            sampling=begun.settings.sampling(),
            template_variables={"enable_thinking": begun.settings.enable_thinking},
            drop_oldest=begun.settings.drop_oldest,
        )
        lines = self._asking.answer(talk.scope, ask)
        try:
            async with contextlib.aclosing(lines):
                async for line in lines:
                    recording.take(line)
                    if isinstance(line, End) and not await self._settle(talk, {place: recording}):
                        raise DatabaseBusy(
                            "The answer is whole and is not written down yet.", hint=_LOOK_AGAIN
                        )
                    yield line
            if not recording.is_over:
                raise Unavailable("The answer was cut off: it is not whole.", hint="Ask once more.")
        except TunesmithError as error:
            recording.cut(error.message)
            raise
        except Exception:
            recording.cut(_FAULT)
            raise
        finally:
            recording.cut(_LEFT)
            await self._settle(talk, {place: recording})

    async def _several(
        self, talk: Talk, recordings: "dict[int, _Recording]"
    ) -> AsyncGenerator[tuple[int, Line], None]:
        """The answers of a turn side by side. One that fails says so, and the others go on."""
        ready: asyncio.Queue[tuple[int, Line | Exception]] = asyncio.Queue(_AHEAD)

        async def read(place: int) -> None:
            said = self._one(talk, recordings, place)
            try:
                async with contextlib.aclosing(said):
                    async for line in said:
                        await ready.put((place, line))
            except Exception as error:
                await ready.put((place, error))

        reading = [asyncio.create_task(read(place)) for place in range(len(talk.kept))]
        left, is_one_whole = len(reading), False
        try:
            while left:
                place, line = await ready.get()
                if isinstance(line, Exception):
                    left -= 1
                    if not left and not is_one_whole:
                        raise line
                    yield place, _unsaid(line)
                    continue
                left -= isinstance(line, End)
                is_one_whole = is_one_whole or isinstance(line, End)
                yield place, line
        finally:
            for task in reading:
                task.cancel()
            await asyncio.gather(*reading, return_exceptions=True)

    # --- writing

    async def _note(self, talk: Talk, recordings: "dict[int, _Recording]") -> None:
        """Write down how far a turn's answers have come, again and again: so others see that somebody writes it."""
        while True:
            await asyncio.sleep(_NOTE_SECONDS)
            under_way = {place: one.said() for place, one in recordings.items() if not one.is_over}
            if under_way:
                with contextlib.suppress(TunesmithError):  # the next time says more
                    await run_in_threadpool(
                        self._writing.note, talk.scope, talk.conversation_id, talk.begun.turn, under_way
                    )

    async def _settle(self, talk: Talk, recordings: "dict[int, _Recording]") -> bool:
        """Write the end of answers down, once, also where nobody waits for it any more.

        Returns:
            Whether that is done; else the database is away, and it is tried again for a while.
        """
        ended = {place: one for place, one in recordings.items() if not one.is_settled}
        if not ended:
            return True
        for one in ended.values():
            one.cut(_LEFT)
            one.is_settled = True
        said = {place: one.said() for place, one in ended.items()}
        task = asyncio.create_task(self._written(talk, said))
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)
        return bool((await asyncio.wait({task}, timeout=_SETTLE_SECONDS))[0])

    async def _written(self, talk: Talk, said: dict[int, Said]) -> None:
        for left in reversed(range(_TRIES)):
            try:
                await run_in_threadpool(
                    self._writing.note, talk.scope, talk.conversation_id, talk.begun.turn, said
                )
                return
            except TunesmithError as error:
                if not left:
                    logger.error("the end of an answer was not written down: %s", error.message)
                    return
            await asyncio.sleep(_PAUSE_SECONDS)


class _Recording:
    """One answer as it comes."""

    def __init__(self) -> None:
        self._turn = Turn()
        self._texts: list[str] = []
        self._thoughts: list[str] = []
        self._numbers: dict[str, Any] = {}
        self._state, self._why = "answering", ""
        self.is_settled = False
        """Whether its end was written down, or is being."""

    @property
    def is_over(self) -> bool:
        """Whether nothing more comes."""
        return self._state != "answering"

    def take(self, line: Line) -> None:
        """Take what was said."""
        if isinstance(line, Piece):
            self._add(self._turn.take(line))
        elif isinstance(line, End):
            self._add(self._turn.left())
            self._state = "whole"
            self._numbers = line.model_dump(
                include={"finish_reason", "prompt_tokens", "completion_tokens", "dropped_turns"}
            )

    def cut(self, why: str) -> None:
        """Nothing more comes; of one that is over nothing changes."""
        if not self.is_over:
            self._add(self._turn.left())
            self._state, self._why = "cut", why

    def said(self) -> Said:
        """As far as it has come."""
        return Said("".join(self._texts), "".join(self._thoughts), self._state, self._why, self._numbers)

    def _add(self, delta: dict[str, Any]) -> None:
        self._thoughts.append(delta.get("reasoning_content", ""))
        self._texts.append(delta.get("content", ""))


def _replayed(answer: AnswerView) -> list[Line]:
    """An answer that is there already, as it was said."""
    thought = f"<think>{answer.reasoning_content}</think>" if answer.reasoning_content else ""
    end = End(
        finish_reason="length" if answer.finish_reason == "length" else "stop",
        prompt_tokens=answer.prompt_tokens,
        completion_tokens=answer.completion_tokens,
        first_token_seconds=0,
        seconds=0,
        dropped_turns=answer.dropped_turns,
        engine="kept",
    )
    return [Piece(text=thought + answer.text), end]


def _unsaid(error: Exception) -> Unsaid:
    return Unsaid(
        finish_reason="stop",
        prompt_tokens=0,
        completion_tokens=0,
        first_token_seconds=0,
        seconds=0,
        engine="",
        error=error_of(error)["error"],
    )
