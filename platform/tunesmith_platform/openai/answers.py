"""Answers in OpenAI's form, whole and in chunks. Pure: lines of a replica in, JSON out.

What OpenAI's clients do with a stream decides its shape: the role is said once, usage comes in the last chunk alone and
nothing after it, an answer that is not whole ends in a top-level `error` and never in a finish reason.
"""

import json
import secrets
import string
import time
from collections.abc import Sequence
from typing import Any

from tunesmith.chat.proof import ProofState
from tunesmith.chat.wire import CallPart, End, Piece, TokenLogprob, TopToken
from tunesmith_platform.openai.thinking import Thinking, Told

DONE = b"data: [DONE]\n\n"
_LETTERS, _ID = string.ascii_letters + string.digits, 9
"""Of a call's number: so many letters, since some models' templates take no others back."""


def data(body: dict[str, Any]) -> bytes:
    """One event: no `id:`, no `retry:`, on which clients end with an error."""
    return b"data: " + json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode() + b"\n\n"


def comment(words: str) -> bytes:
    """Words for who looks at the stream itself; without a blank line, which would end an event."""
    return f": {' '.join(words.split())[:200]}\n".encode()


class Answer:
    """The answers to one request as they come in.

    Args:
        number: Its id.
        model: What is said to have answered: the whole name of the weights.
        weights: What tells them from all others.
        includes_usage: Whether the last chunk says how many tokens there were.
        count: How many answers there are.
        each: How many of them are to one prompt, whose tokens count once.
    """

    def __init__(
        self,
        number: str,
        model: str,
        weights: str,
        *,
        includes_usage: bool = False,
        count: int = 1,
        each: int = 1,
    ) -> None:
        self._head: dict[str, Any] = {
            "id": number,
            "object": "",
            "created": int(time.time()),
            "model": model,
            "system_fingerprint": f"fp_{weights[:16]}",
        }
        self.includes_usage = includes_usage
        self.count, self._each = count, each
        self._ends: dict[int, End] = {}
        self.proof = ProofState.PENDING
        """Whether what answers is proven to be the model: said in a whole answer, and at the end of a stream."""

    @property
    def is_whole(self) -> bool:
        """Whether all of them have ended."""
        return len(self._ends) == self.count

    def begin(self, index: int = 0) -> bytes:
        """What comes before the first piece of one."""
        return b""

    def piece(self, piece: Piece, index: int = 0) -> bytes:
        """A piece of one as a chunk; empty where there is nothing to say."""
        raise NotImplementedError

    def end(self, end: End, index: int = 0) -> bytes:
        """The last chunk of one; with the last of all, how many tokens there were."""
        found = self._ended(end, index)
        self._ends[index] = end
        if self.is_whole and self.includes_usage:
            found += self._chunk([], self._usage())
        return found

    def whole(self, answers: Sequence[tuple[Sequence[Piece], End]]) -> dict[str, Any]:
        """All of them as one object, each with its pieces and its end."""
        self._ends = {index: end for index, (_, end) in enumerate(answers)}
        choices = [self._choice(index, pieces, end) for index, (pieces, end) in enumerate(answers)]
        kind = self._kind.removesuffix(".chunk")
        said = {"object": kind, "choices": choices, "usage": self._usage()}
        return self._head | said | self._own(answers[0][1])

    _kind = ""

    def _ended(self, end: End, index: int) -> bytes:
        raise NotImplementedError

    def _choice(self, index: int, pieces: Sequence[Piece], end: End) -> dict[str, Any]:
        raise NotImplementedError

    def _own(self, end: End) -> dict[str, Any]:
        """What is ours alone, a field that other clients pass over: the proof, and turns that were left out."""
        dropped = {"dropped_turns": end.dropped_turns} if end.dropped_turns else {}
        return {"tunesmith": {"proof": self.proof.value, **dropped}}

    def _usage(self) -> dict[str, Any]:
        firsts = [end for index, end in self._ends.items() if index % self._each == 0]
        prompt = sum(end.prompt_tokens for end in firsts)
        answered = sum(end.completion_tokens for end in self._ends.values())
        return {
            "prompt_tokens": prompt,
            "completion_tokens": answered,
            "total_tokens": prompt + answered,
            "prompt_tokens_details": {"cached_tokens": sum(end.reused_tokens for end in firsts)},
        }

    def _chunk(
        self, choices: list[dict[str, Any]], usage: Any = None, more: dict[str, Any] | None = None
    ) -> bytes:
        body = self._head | {"object": self._kind, "choices": choices} | (more or {})
        if self.includes_usage:
            body["usage"] = usage
        return data(body)


class ChatAnswer(Answer):
    """Answers of `chat/completions`."""

    _kind = "chat.completion.chunk"

    def __init__(self, number: str, model: str, weights: str, **more: Any) -> None:
        super().__init__(number, model, weights, **more)
        self._turns = [Turn() for _ in range(self.count)]

    def begin(self, index: int = 0) -> bytes:
        """The role, once: some clients put together what is said of it in every chunk."""
        return self._delta(index, {"role": "assistant", "content": ""})

    def piece(self, piece: Piece, index: int = 0) -> bytes:
        """See `Answer.piece`."""
        delta = self._turns[index].take(piece)
        if not delta and not piece.logprobs:
            return b""
        return self._delta(index, delta, _chat_logprobs(piece.logprobs))

    def _ended(self, end: End, index: int) -> bytes:
        left = self._turns[index].left()
        found = self._delta(index, left) if left else b""
        choice = {"index": index, "delta": {}, "logprobs": None, "finish_reason": end.finish_reason}
        return found + self._chunk([choice], more=self._told(end))

    def _told(self, end: End) -> dict[str, Any]:
        """Fields of ours beside the last words of one; other clients pass over them."""
        return self._own(end)

    def _choice(self, index: int, pieces: Sequence[Piece], end: End) -> dict[str, Any]:
        turn = self._turns[index]
        deltas = [*(turn.take(piece) for piece in pieces), turn.left()]
        texts = {
            name: "".join(delta.get(name, "") for delta in deltas)
            for name in ("content", "reasoning_content")
        }
        calls = _joined([call for delta in deltas for call in delta.get("tool_calls", ())])
        message: dict[str, Any] = {
            "role": "assistant",
            "content": None if calls and not texts["content"] else texts["content"],
            "refusal": None,
        }
        if texts["reasoning_content"]:
            message["reasoning_content"] = texts["reasoning_content"]
        if calls:
            message["tool_calls"] = calls
        return {
            "index": index,
            "message": message,
            "logprobs": _chat_logprobs([one for piece in pieces for one in piece.logprobs]),
            "finish_reason": end.finish_reason,
        }

    def _delta(self, index: int, delta: dict[str, Any], logprobs: Any = None) -> bytes:
        choice = {"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": None}
        return self._chunk([choice])


class Turn:
    """One answer of a conversation: what of it is thought, said and called."""

    def __init__(self) -> None:
        self._thinking: Thinking | None = None

    def take(self, piece: Piece) -> dict[str, Any]:
        """A piece as what is new of a message."""
        if self._thinking is None:
            self._thinking = Thinking(is_open=piece.thinks)
        delta = _delta(self._thinking.take(piece.text))
        if piece.calls:
            # What waited was no mark of a thought: a call follows on it.
            delta = _merged(delta, _delta(self._thinking.end()))
            delta["tool_calls"] = [_call(part) for part in piece.calls]
        return delta

    def left(self) -> dict[str, Any]:
        """What waited, now that nothing comes any more."""
        return _delta(self._thinking.end()) if self._thinking is not None else {}


class TextAnswer(Answer):
    """Answers of `completions`."""

    _kind = "text_completion"

    def __init__(self, number: str, model: str, weights: str, **more: Any) -> None:
        super().__init__(number, model, weights, **more)
        self._characters = [0] * self.count

    def piece(self, piece: Piece, index: int = 0) -> bytes:
        """See `Answer.piece`."""
        if not piece.text and not piece.logprobs:
            return b""
        return self._text(index, piece.text, piece.logprobs)

    def _ended(self, end: End, index: int) -> bytes:
        choice = {"index": index, "text": "", "logprobs": None, "finish_reason": end.finish_reason}
        return self._chunk([choice], more=self._own(end))

    def _choice(self, index: int, pieces: Sequence[Piece], end: End) -> dict[str, Any]:
        return {
            "index": index,
            "text": "".join(piece.text for piece in pieces),
            "logprobs": _text_logprobs([one for piece in pieces for one in piece.logprobs], 0),
            "finish_reason": end.finish_reason,
        }

    def _text(self, index: int, text: str, logprobs: Sequence[TokenLogprob]) -> bytes:
        told = _text_logprobs(logprobs, self._characters[index])
        self._characters[index] += len(text)
        return self._chunk([{"index": index, "text": text, "logprobs": told, "finish_reason": None}])


def _delta(told: Told) -> dict[str, Any]:
    delta = {"reasoning_content": told.thought} if told.thought else {}
    return delta | ({"content": told.answer} if told.answer else {})


def _merged(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    return one | {name: one.get(name, "") + text for name, text in other.items()}


def _call(part: CallPart) -> dict[str, Any]:
    """More of a call; its number and its name once, since clients put together what is said in every chunk."""
    if part.name is None:
        return {"index": part.index, "function": {"arguments": part.arguments}}
    return {
        "index": part.index,
        "id": "".join(secrets.choice(_LETTERS) for _ in range(_ID)),
        "type": "function",
        "function": {"name": part.name, "arguments": part.arguments},
    }


def _joined(parts: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The calls that their parts add up to."""
    calls: dict[int, dict[str, Any]] = {}
    for part in parts:
        index = part["index"]
        if index not in calls:
            calls[index] = {name: value for name, value in part.items() if name != "index"}
        else:
            calls[index]["function"]["arguments"] += part["function"]["arguments"]
    return [calls[index] for index in sorted(calls)]


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
