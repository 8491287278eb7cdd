"""A question from its name to its last line: which weights, where they are served, the wait, the answer.

Lives on the event loop; what asks the database does so in threads. Knows no form of OpenAI's. What is asked is written
into no log.
"""

import asyncio
import hashlib
import time
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from typing import TypeVar

from starlette.concurrency import run_in_threadpool

from tunesmith.chat.proof import ProofView
from tunesmith.chat.views import NamedModel, ServedView
from tunesmith.chat.wire import Ask, End, Failed, Line, Loading, Piece, Pin, ServedModel, Unload
from tunesmith.errors import NotFound, Unavailable
from tunesmith_platform.bounds.sharing import Sharing, Use
from tunesmith_platform.chats.counts import Counts
from tunesmith_platform.chats.names import Named, Names, Weights
from tunesmith_platform.chats.replica import NotReached, Replica
from tunesmith_platform.chats.service import ChatService, Place
from tunesmith_platform.chats.spending import Spending
from tunesmith_platform.chats.turns import Turns
from tunesmith_platform.db.engine import Database
from tunesmith_platform.scope import Scope
from tunesmith_platform.settings import Settings

T = TypeVar("T")
_LOOK_SECONDS = 0.2
"""How often one looks whether a model is served now."""
_ROOM_SECONDS = 2.0
"""After so long of waiting, one that is idle makes room."""


@dataclass(frozen=True)
class Model:
    """A model that is asked: what its name stands for, what a question says of it, and whether it is proven."""

    weights: Weights
    served: ServedModel
    proof: ProofView


class Asking:
    """Asks models.

    Args:
        names: What names stand for.
        chats: Which task serves which base.
        settings: How long one waits, and how many may.
        database: Where servers tell each other what they let run.
    """

    def __init__(self, names: Names, chats: ChatService, settings: Settings, database: Database) -> None:
        self._names = names
        self._chats = chats
        self._settings = settings
        self.sharing = Sharing(database, self._lets_run, self._others_moved)
        elsewhere, moved = self.sharing.elsewhere, self.sharing.moved
        self.turns = Turns(settings.max_chat_streams, settings.max_chat_queue, elsewhere, moved)
        self.spending = Spending(settings.max_chat_tokens_per_minute, elsewhere)
        self.counts = Counts()
        self._replica = Replica(settings.chat_silence_seconds)

    async def close(self) -> None:
        """Close the connections to replicas, and tell other servers that nothing runs here."""
        await self.sharing.close()
        await self._replica.close()

    def numbers(self) -> dict[str, float]:
        """What this server has answered, for Prometheus."""
        counts, first = self.counts, self.counts.first_token_seconds
        found = {
            "running": self.turns.running,
            "waiting": self.turns.waiting,
            "answers": counts.answered,
            "failures": counts.failed,
            "prompt_tokens": counts.prompt_tokens,
            "completion_tokens": counts.completion_tokens,
            "answer_seconds": counts.seconds,
        } | ({} if first is None else {"first_token_seconds": first})
        return {f"tunesmith_chat_{name}": float(value) for name, value in found.items()}

    def _lets_run(self) -> dict[str, Use]:
        """What this server lets run now, and what was spent in it, by users."""
        found = self.turns.now()
        for owner, spent in self.spending.now().items():
            found[owner] = found.get(owner, Use())._replace(spent=spent)
        return found

    def _others_moved(self) -> None:
        self.turns.wake()

    async def names(self, scope: Scope) -> list[Named]:
        """Every name that can be asked."""
        return await run_in_threadpool(self._names.list, scope)

    async def model(self, scope: Scope, name: str) -> Model:
        """The model that a name stands for now.

        Raises:
            NotFound: Nothing is called so, or it is withdrawn: what answered was not the model.
            InvalidInput: It stands for several things, or cannot answer.
        """
        model = await self.known(scope, name)
        if model.proof.is_withdrawn:
            raise _withdrawn(model)
        return model

    async def known(self, scope: Scope, name: str) -> Model:
        """As `model`, also of one that is withdrawn."""
        return await run_in_threadpool(self._known, scope, name)

    def _known(self, scope: Scope, name: str) -> Model:
        weights, served = self._names.find(scope, name)
        return Model(weights, served, self._chats.proof(scope, weights.weights))

    def look_up(self, scope: Scope, name: str) -> Weights:
        """The weights that a name stands for now; of a thread that waits."""
        return self._names.look_up(scope, name)

    async def proofs(self, scope: Scope) -> dict[str, ProofView]:
        """What is known of every name that was loaded, by the names' weights or, where those are not known, by name."""
        return await run_in_threadpool(self._chats.proofs, scope)

    async def prove(self, scope: Scope, name: str) -> NamedModel:
        """Have it looked at anew whether what answers is the model. A name that is withdrawn stays so until then.

        Raises:
            NotFound: Nothing is called so, or it was never loaded.
            InvalidInput: It stands for several things, or cannot answer.
        """
        model = await self.known(scope, name)
        await run_in_threadpool(self._chats.prove, scope, model.weights)
        return await self.described(scope, name)

    async def described(self, scope: Scope, name: str) -> NamedModel:
        """What a name stands for now, in words.

        Raises:
            NotFound: Nothing is called so.
            InvalidInput: It stands for several things, or cannot answer.
        """
        model = await self.known(scope, name)
        place = await run_in_threadpool(self._chats.serving, scope, model.served.base_path)
        found = model.weights
        return NamedModel(
            proof=model.proof,
            model=found.name,
            weights=found.weights,
            content=await self.content(model),
            task_id=found.task_id,
            step=found.step,
            why=found.why,
            base=model.served.base_path,
            served_by=place.task_id if place is not None else None,
        )

    async def content(self, model: Model) -> str:
        """What tells what a model computes from all others, whatever its folder is called."""
        held = await run_in_threadpool(self._names.content, model.weights)
        return hashlib.sha256(f"{model.served.base_path} {held}".encode()).hexdigest()

    async def answer(self, scope: Scope, ask: Ask) -> AsyncGenerator[Line, None]:
        """All that is said to a question: `Loading` while it waits, the pieces, and one `End` as the last.

        Closing this ends the call, and so the computing, at once.

        Raises:
            TooManyRequests: The user has too many under way, or has taken the minute's tokens.
            Unavailable: The model is not served in time, or the answer was cut off.
            TunesmithError: The model refuses the question.
        """
        begun = time.monotonic()
        await self.sharing.look()
        self.spending.require(scope.owner)
        async with self.turns.turn(scope.owner):
            lines = self._asked(scope, ask, begun)
            try:
                async for line in lines:
                    if isinstance(line, Failed):
                        raise Unavailable(line.message, hint=line.hint, details={"code": "failed"})
                    if isinstance(line, End):
                        self.counts.note(line)
                        self.spending.add(scope.owner, line.prompt_tokens)
                    elif isinstance(line, Piece):
                        self.spending.add(scope.owner, line.tokens)
                    yield line
            except Exception:
                self.counts.failed += 1
                raise
            finally:
                await lines.aclose()

    async def _asked(self, scope: Scope, ask: Ask, begun: float) -> AsyncGenerator[Line, None]:
        deadline = begun + self._settings.chat_start_seconds
        while True:
            place: Place | None = None
            async for step in self._ready(scope, ask.model, begun, deadline):
                if isinstance(step, Loading):
                    yield step
                else:
                    place = step
            assert place is not None
            lines = self._replica.ask(place, ask)
            try:
                async for line in lines:
                    yield line
                return
            except NotReached as error:
                if time.monotonic() >= deadline:
                    raise self._not_served(ask.model.base_path, "its replica does not answer") from error
            finally:
                await lines.aclose()
            yield Loading(seconds=time.monotonic() - begun, message="Its replica is being started.")
            await asyncio.sleep(_LOOK_SECONDS)

    async def _ready(
        self, scope: Scope, model: ServedModel, begun: float, deadline: float
    ) -> AsyncGenerator[Loading | Place, None]:
        """Where a base can be asked, as the last; until then words about what it does, about once a second."""
        said_at = has_room_at = begun
        while True:
            place = await run_in_threadpool(self._chats.place, scope, model.base_path, model)
            if place.url is not None:
                yield place
                return
            moment = time.monotonic()
            if moment >= deadline:
                raise self._not_served(model.base_path, place.words)
            if moment - has_room_at > _ROOM_SECONDS:
                has_room_at = moment
                await run_in_threadpool(self._chats.make_room, scope, place.task_id)
            if moment - said_at >= 1 or said_at == begun:
                said_at = moment
                yield Loading(seconds=moment - begun, message=place.words)
            await asyncio.sleep(_LOOK_SECONDS)

    def _not_served(self, base: str, words: str) -> Unavailable:
        what = f"{words[:1].lower()}{words[1:].rstrip('.')}"
        return Unavailable(
            f"The model is not served yet: {what}.",
            hint="It goes on starting; ask again in a moment. `tunesmith tasks list` shows its task.",
            field="model",
            details={"code": "model_loading", "retry_after": 5},
        )

    # --- verbs

    async def list(self, scope: Scope) -> list[ServedView]:
        """The bases that are served or were, each that answers with what it says itself."""
        found = await run_in_threadpool(self._chats.list, scope)
        return list(await asyncio.gather(*(self._with_status(scope, one) for one in found)))

    async def _with_status(self, scope: Scope, view: ServedView) -> ServedView:
        if view.state != "ready":  # asking one that is idle would wake it
            return view
        place = await run_in_threadpool(self._chats.serving, scope, view.base)
        if place is None or place.url is None:
            return view
        return view.model_copy(update={"status": await self._replica.status(place)})

    async def load(self, scope: Scope, name: str) -> NamedModel:
        """Have a model loaded: it is asked for one token. Waits until it is.

        Raises:
            Unavailable: It is not served in time.
            TunesmithError: It cannot be loaded.
        """
        model = await self.model(scope, name)
        question = Ask.model_validate(
            {
                "id": "load",
                "model": model.served,
                "prompt": ".",
                "sampling": {"max_new_tokens": 1, "temperature": 0},
            }
        )
        async for _ in self.answer(scope, question):
            pass
        return await self.described(scope, name)

    async def unload(self, scope: Scope, name: str) -> NamedModel:
        """Let an adapter leave the memory.

        Raises:
            NotFound: Its base is not served.
            Unavailable: It answers just now.
        """
        return await self._verb(
            scope,
            name,
            lambda place, weights: self._replica.verb(place, "unload", Unload(weights=weights)),
        )

    async def pin(self, scope: Scope, name: str, pinned: bool) -> NamedModel:
        """Keep an adapter loaded, or let it go again.

        Raises:
            NotFound: Its base is not served, or it is not loaded.
        """
        model = (await self.model(scope, name)).served
        pin = Pin(weights=model.weights, pinned=pinned, model=model)
        named = await self._verb(scope, name, lambda place, _: self._replica.verb(place, "pin", pin))
        await run_in_threadpool(self._chats.note_pin, scope, model, pinned=pinned)
        return named

    async def _verb(self, scope: Scope, name: str, call: Callable[[Place, str], object]) -> NamedModel:
        model = await self.model(scope, name)
        place = await run_in_threadpool(self._chats.serving, scope, model.served.base_path)
        if place is None or place.url is None:
            raise NotFound(f"`{name}` is not served now.", hint="Ask it, or load it first.", field="model")
        try:
            await call(place, model.served.weights)  # type: ignore[misc]
        except NotReached as error:
            raise Unavailable("Its replica does not answer.", hint="Try again in a moment.") from error
        return await self.described(scope, name)


def _withdrawn(model: Model) -> NotFound:
    """The refusal of a name whose proof failed."""
    why = model.proof.words.get("en", "")
    return NotFound(
        f"`{model.weights.name}` is withdrawn: what {model.proof.engine} computes of it is not the model. {why}",
        hint="Name another model; `tunesmith chats prove NAME` looks at it once more.",
        field="model",
        details={"code": "model_withdrawn", "task_id": model.proof.task_id},
    )
