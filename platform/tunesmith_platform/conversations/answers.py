"""Answers of a conversation in OpenAI's form: as any other, and they say where they are kept. Pure.

Of several side by side each chunk names its place (`index`) and its model.
"""

from collections.abc import Sequence
from typing import Any

from tunesmith.chat.wire import End
from tunesmith_platform.openai.answers import ChatAnswer, data


class Unsaid(End):
    """One of several answers ends here, and why; the others go on."""

    error: dict[str, Any]


class KeptAnswer(ChatAnswer):
    """The answers of one turn; their last words say where they are kept.

    Args:
        number: Their id.
        models: Who answers, by places: each with what tells its weights from all others.
        kept: The conversation and the turn.
    """

    def __init__(self, number: str, models: Sequence[tuple[str, str]], kept: dict[str, Any]) -> None:
        super().__init__(number, *models[0], includes_usage=True, count=len(models))
        self._heads = [
            self._head | {"model": model, "system_fingerprint": f"fp_{weights[:16]}"}
            for model, weights in models
        ]
        self._kept = kept

    def _told(self, end: End) -> dict[str, Any]:
        more = {"error": end.error} if isinstance(end, Unsaid) else {"dropped_turns": end.dropped_turns}
        return {"tunesmith": self._kept | more}

    def _ended(self, end: End, index: int) -> bytes:
        if not isinstance(end, Unsaid):
            return super()._ended(end, index)
        choice = {"index": index, "delta": {}, "logprobs": None, "finish_reason": None}
        return self._chunk([choice], more=self._told(end))

    def _chunk(
        self, choices: list[dict[str, Any]], usage: Any = None, more: dict[str, Any] | None = None
    ) -> bytes:
        head = self._heads[choices[0]["index"] if choices else 0]
        return data(head | {"object": self._kind, "choices": choices, "usage": usage} | (more or {}))
