"""Chats, from Python: ask a model, whole or as it answers; see what is served.

Asks as OpenAI's clients do, with the settings of the form (`ChatSettings`). Knows the chats' endpoints and views; knows
no HTTP.
"""

from collections.abc import Generator, Mapping, Sequence
from typing import Any

from tunesmith import views
from tunesmith.chat.proof import ProofState
from tunesmith.chat.views import ChatPart, ChatReply, ListedModel, NamedModel, ServedView
from tunesmith.client.answers import WAIT_SECONDS, Answering, openai_error
from tunesmith.client.transport import not_understood
from tunesmith.errors import NotFound
from tunesmith.spec.chat import ChatSettings

Turn = Mapping[str, str]
_PREFIX = "/openai/v1"


class Chats(Answering):
    """Every call on chats."""

    def names(self) -> list[str]:
        """Every name that can be asked: base models first, then trainings, newest first, with their checkpoints."""
        return [one.name for one in self.listed()]

    def listed(self) -> list[ListedModel]:
        """The same, each with its training and whether what answers is proven to be the model."""
        found = self._transport.call("GET", f"{_PREFIX}/models")
        try:
            return [
                ListedModel(
                    name=one["id"],
                    task_id=one["tunesmith"]["task_id"],
                    proof=one["tunesmith"].get("proof", ProofState.PENDING),
                )
                for one in found["data"]
            ]
        except (KeyError, TypeError, ValueError) as error:
            raise not_understood(self._transport.url) from error

    def named(self, model: str) -> NamedModel:
        """What a name stands for now.

        Raises:
            NotFound: Nothing is called so.
        """
        found = self._transport.call("POST", "/v1/chats:name", body={"model": model})
        return self._view(NamedModel, found)

    def newest(self) -> NamedModel:
        """The model that one most likely wants to talk to: that of the newest training, else the first base model.

        Raises:
            NotFound: There is none.
        """
        found = self.listed()
        if not found:
            raise NotFound(
                "There is no model to talk to.", hint="Pull one: `tunesmith models pull`, or train one."
            )
        trained = [one.name for one in found if one.task_id is not None]
        return self.named((trained or [found[0].name])[0])

    def served(self) -> list[ServedView]:
        """The base models that are served or were, the one asked last first."""
        return self._get(views.Page[ServedView], "/v1/chats").data

    def load(self, model: str) -> NamedModel:
        """Have a model loaded; answers once it is.

        Raises:
            Unavailable: It is not served in time: ask again.
        """
        return self._verb("load", model)

    def unload(self, model: str) -> NamedModel:
        """Let an adapter leave the memory."""
        return self._verb("unload", model)

    def pin(self, model: str) -> NamedModel:
        """Keep an adapter loaded."""
        return self._verb("pin", model)

    def unpin(self, model: str) -> NamedModel:
        """Let an adapter go again."""
        return self._verb("unpin", model)

    def prove(self, model: str) -> NamedModel:
        """Have it looked at anew whether what answers is the model; `named` says what came of it.

        Raises:
            NotFound: It was never loaded.
            Conflict: That is being done.
        """
        return self._verb("prove", model)

    def _verb(self, verb: str, model: str) -> NamedModel:
        return self._view(
            NamedModel, self._transport.call("POST", f"/v1/chats:{verb}", body={"model": model})
        )

    def ask(self, model: str, conversation: str | Sequence[Turn], **settings: Any) -> ChatReply:
        """An answer, once it is whole.

        Args:
            model: `NAME`, `TASK`, `TASK:40`, `TASK:latest`.
            conversation: The question; or all turns, each with `role` and `content`.
            settings: See `ChatSettings`, and `wait_seconds`.

        Raises:
            InvalidInput: A setting cannot be used, or the conversation is too long.
            NotFound: Nothing is called so.
            Unavailable: The model is not served in time, or the answer was cut off.
        """
        parts = self.stream(model, conversation, **settings)
        while True:
            try:
                next(parts)
            except StopIteration as end:
                reply: ChatReply = end.value
                return reply

    def stream(
        self,
        model: str,
        conversation: str | Sequence[Turn],
        *,
        wait_seconds: float = WAIT_SECONDS,
        **settings: Any,
    ) -> Generator[ChatPart, None, ChatReply]:
        """An answer as it comes; the generator returns all of it. Closing it ends the computing.

        Args:
            model: See `ask`.
            conversation: See `ask`.
            wait_seconds: How long to wait for a model that is being started.
            settings: See `ask`.

        Raises:
            InvalidInput: See `ask`; the others too.
        """
        body = _body(model, conversation, ChatSettings.read(settings))
        path = f"{_PREFIX}/chat/completions"
        found = yield from self._answered(path, body, wait_seconds=wait_seconds, worded=openai_error)
        return ChatReply(
            model=found.model,
            text=found.texts.get(0, ""),
            thought=found.thoughts.get(0, ""),
            finish_reason="length" if found.finish.get(0) == "length" else "stop",
            prompt_tokens=found.usage.get("prompt_tokens", 0),
            completion_tokens=found.usage.get("completion_tokens", 0),
            dropped_turns=found.more.get("dropped_turns", 0),
        )


def _body(model: str, conversation: str | Sequence[Turn], settings: ChatSettings) -> dict[str, Any]:
    turns = [{"role": "user", "content": conversation}] if isinstance(conversation, str) else conversation
    system = [{"role": "system", "content": settings.system_prompt}] if settings.system_prompt else []
    drawn = settings.model_dump(exclude={"system_prompt", "enable_thinking", "max_new_tokens"})
    return {
        "model": model,
        "messages": [*system, *map(dict, turns)],
        "stream": True,
        "stream_options": {"include_usage": True},
        "max_completion_tokens": settings.max_new_tokens,
        "chat_template_kwargs": {"enable_thinking": settings.enable_thinking},
        **drawn,
    }
