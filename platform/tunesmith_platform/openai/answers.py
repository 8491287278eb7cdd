"""Answers in OpenAI's form, whole and in chunks. Pure: lines of a replica in, JSON out.

What OpenAI's clients do with a stream decides its shape: the role is said once, usage comes in the last chunk alone and
nothing after it, an answer that is not whole ends in a top-level `error` and never in a finish reason.
"""

import json
import time
from collections.abc import Sequence
from typing import Any

from tunesmith.chat.wire import End, Piece, TokenLogprob, TopToken
from tunesmith_platform.openai.thinking import Thinking, Told

DONE = b"data: [DONE]\n\n"


def data(body: dict[str, Any]) -> bytes:
    """One event: no `id:`, no `retry:`, on which clients end with an error."""
    return b"data: " + json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode() + b"\n\n"


def comment(words: str) -> bytes:
    """Words for who looks at the stream itself; without a blank line, which would end an event."""
    return f": {' '.join(words.split())[:200]}\n".encode()


class Answer:
    """One answer as it comes in.

    Args:
        number: Its id.
        model: What is said to have answered: the whole name of the weights.
        weights: What tells them from all others.
        includes_usage: Whether the last chunk says how many tokens there were.
    """

    def __init__(self, number: str, model: str, weights: str, *, includes_usage: bool = False) -> None:
        self._head: dict[str, Any] = {
            "id": number,
            "object": "",
            "created": int(time.time()),
            "model": model,
            "system_fingerprint": f"fp_{weights[:16]}",
        }
        self.includes_usage = includes_usage

    def begin(self) -> bytes:
        """What comes before the first piece."""
        return b""

    def piece(self, piece: Piece) -> bytes:
        """A piece as a chunk; empty where there is nothing to say."""
        raise NotImplementedError

    def end(self, end: End) -> bytes:
        """The last chunks, without the mark of the end."""
        raise NotImplementedError

    def whole(self, pieces: Sequence[Piece], end: End) -> dict[str, Any]:
        """The answer as one object."""
        raise NotImplementedError

    def _chunk(
        self, kind: str, choices: list[dict[str, Any]], usage: Any = None, more: dict[str, Any] | None = None
    ) -> bytes:
        body = self._head | {"object": kind, "choices": choices} | (more or {})
        if self.includes_usage:
            body["usage"] = usage
        return data(body)


class ChatAnswer(Answer):
    """An answer of `chat/completions`."""

    def __init__(self, number: str, model: str, weights: str, *, includes_usage: bool = False) -> None:
        super().__init__(number, model, weights, includes_usage=includes_usage)
        self._thinking = Thinking()

    def begin(self) -> bytes:
        """The role, once: some clients put together what is said of it in every chunk."""
        return self._delta({"role": "assistant", "content": ""})

    def piece(self, piece: Piece) -> bytes:
        """See `Answer.piece`."""
        delta = _delta(self._thinking.take(piece.text))
        if not delta and not piece.logprobs:
            return b""
        return self._delta(delta, _chat_logprobs(piece.logprobs))

    def end(self, end: End) -> bytes:
        """See `Answer.end`."""
        left = _delta(self._thinking.end())
        found = self._delta(left) if left else b""
        found += self._delta({}, finish=end.finish_reason, more=dropped(end))
        return found + (self._chunk(_CHAT_CHUNK, [], usage_of(end)) if self.includes_usage else b"")

    def whole(self, pieces: Sequence[Piece], end: End) -> dict[str, Any]:
        """See `Answer.whole`."""
        told = [self._thinking.take("".join(piece.text for piece in pieces)), self._thinking.end()]
        thought, answer = ("".join(part) for part in zip(*told, strict=True))
        message: dict[str, Any] = {"role": "assistant", "content": answer, "refusal": None}
        if thought:
            message["reasoning_content"] = thought
        choice = {
            "index": 0,
            "message": message,
            "logprobs": _chat_logprobs([one for piece in pieces for one in piece.logprobs]),
            "finish_reason": end.finish_reason,
        }
        said = {"object": "chat.completion", "choices": [choice], "usage": usage_of(end)}
        return self._head | said | dropped(end)

    def _delta(
        self,
        delta: dict[str, Any],
        logprobs: Any = None,
        finish: str | None = None,
        more: dict[str, Any] | None = None,
    ) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": logprobs, "finish_reason": finish}
        return self._chunk(_CHAT_CHUNK, [choice], more=more)


class TextAnswer(Answer):
    """An answer of `completions`."""

    def __init__(self, number: str, model: str, weights: str, *, includes_usage: bool = False) -> None:
        super().__init__(number, model, weights, includes_usage=includes_usage)
        self._characters = 0

    def piece(self, piece: Piece) -> bytes:
        """See `Answer.piece`."""
        if not piece.text and not piece.logprobs:
            return b""
        return self._text(piece.text, piece.logprobs)

    def end(self, end: End) -> bytes:
        """See `Answer.end`."""
        found = self._text("", [], end.finish_reason)
        return found + (self._chunk(_TEXT, [], usage_of(end)) if self.includes_usage else b"")

    def whole(self, pieces: Sequence[Piece], end: End) -> dict[str, Any]:
        """See `Answer.whole`."""
        logprobs = [one for piece in pieces for one in piece.logprobs]
        choice = {
            "index": 0,
            "text": "".join(piece.text for piece in pieces),
            "logprobs": _text_logprobs(logprobs, 0),
            "finish_reason": end.finish_reason,
        }
        return self._head | {"object": _TEXT, "choices": [choice], "usage": usage_of(end)}

    def _text(self, text: str, logprobs: Sequence[TokenLogprob], finish: str | None = None) -> bytes:
        told = _text_logprobs(logprobs, self._characters)
        self._characters += len(text)
        return self._chunk(_TEXT, [{"index": 0, "text": text, "logprobs": told, "finish_reason": finish}])


_CHAT_CHUNK, _TEXT = "chat.completion.chunk", "text_completion"


def usage_of(end: End) -> dict[str, Any]:
    """How many tokens there were."""
    return {
        "prompt_tokens": end.prompt_tokens,
        "completion_tokens": end.completion_tokens,
        "total_tokens": end.prompt_tokens + end.completion_tokens,
        "prompt_tokens_details": {"cached_tokens": end.reused_tokens},
    }


def dropped(end: End) -> dict[str, Any]:
    """How many of the oldest turns were left out, where any were: a field of ours, which other clients pass over."""
    return {"tunesmith": {"dropped_turns": end.dropped_turns}} if end.dropped_turns else {}


def _delta(told: Told) -> dict[str, Any]:
    delta = {"reasoning_content": told.thought} if told.thought else {}
    return delta | ({"content": told.answer} if told.answer else {})


def _chat_logprobs(found: Sequence[TokenLogprob]) -> dict[str, Any] | None:
    if not found:
        return None
    return {"content": [_token(one) | {"top_logprobs": [_token(top) for top in one.top]} for one in found]}


def _token(token: TopToken) -> dict[str, Any]:
    return {"token": token.text, "logprob": token.logprob, "bytes": list(token.text.encode())}


def _text_logprobs(found: Sequence[TokenLogprob], begin: int) -> dict[str, Any] | None:
    if not found:
        return None
    offsets = [begin]
    for one in found[:-1]:
        offsets.append(offsets[-1] + len(one.text))
    return {
        "tokens": [one.text for one in found],
        "token_logprobs": [one.logprob for one in found],
        "top_logprobs": [{top.text: top.logprob for top in one.top} for one in found],
        "text_offset": offsets,
    }
