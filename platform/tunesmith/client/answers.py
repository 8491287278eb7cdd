"""Answers of models as they come: a stream in OpenAI's form is read, and one waits for a model that starts.

Knows the form of the stream; knows neither who is asked nor what.
"""

import json
import time
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from tunesmith.chat.views import ChatPart
from tunesmith.client.calls import Calls
from tunesmith.client.stream import lines_of
from tunesmith.client.transport import not_understood
from tunesmith.errors import ErrorBody, TunesmithError, Unavailable, from_body

WAIT_SECONDS = 300.0
"""How long one waits for a model that is being started."""
_LONGEST_PAUSE = 5.0

Worded = Callable[[int, bytes], TunesmithError | None]
"""Makes an error of a status and a body that have another form than ours."""


def as_ours(_status: int, _content: bytes) -> TunesmithError | None:
    """No other form than ours."""
    return None


@dataclass
class Answered:
    """What a stream has said, by the places of its answers: one where one model was asked.

    Attributes:
        model: Who answered; of several, the last that said anything.
        texts: What was answered.
        thoughts: What was thought before.
        finish: Why each ended.
        usage: How many tokens there were, of all together.
        more: Fields of ours.
    """

    model: str
    texts: dict[int, str] = field(default_factory=dict)
    thoughts: dict[int, str] = field(default_factory=dict)
    finish: dict[int, str] = field(default_factory=dict)
    usage: dict[str, int] = field(default_factory=dict)
    more: dict[str, Any] = field(default_factory=dict)

    def take(self, event: Mapping[str, Any]) -> list[ChatPart]:
        """Take an event; answers what of it is to be shown."""
        self.usage, self.model = event.get("usage") or self.usage, event.get("model", self.model)
        self.more |= event.get("tunesmith", {})
        parts = []
        for choice in event.get("choices", ()):
            place, delta = choice.get("index", 0), choice.get("delta", {})
            part = ChatPart(
                place=place, text=delta.get("content") or "", thought=delta.get("reasoning_content") or ""
            )
            if choice.get("finish_reason"):
                self.finish[place] = choice["finish_reason"]
            self.texts[place] = self.texts.get(place, "") + part.text
            self.thoughts[place] = self.thoughts.get(place, "") + part.thought
            if part.text or part.thought:
                parts.append(part)
        return parts


class Answering(Calls):
    """Base of the namespaces that ask models."""

    def _answered(
        self,
        path: str,
        body: Mapping[str, Any],
        *,
        wait_seconds: float = WAIT_SECONDS,
        headers: Mapping[str, str] | None = None,
        worded: Worded = as_ours,
    ) -> Generator[ChatPart, None, Answered]:
        """What is said to a question, as it comes; waits for a model that is being started.

        Raises:
            Unavailable: It is not served in time, or the answer was cut off.
            TunesmithError: It is refused.
        """
        deadline = time.monotonic() + wait_seconds
        while True:
            try:
                return (yield from self._streamed(path, body, headers or {}, worded))
            except Unavailable as error:
                pause = min(float(error.details.get("retry_after_seconds", 1)), _LONGEST_PAUSE)
                is_starting = error.details.get("code") == "model_loading"
                if not is_starting or time.monotonic() + pause > deadline:
                    raise
                yield ChatPart(words=error.message)
            time.sleep(pause)

    def _streamed(
        self, path: str, body: Mapping[str, Any], headers: Mapping[str, str], worded: Worded
    ) -> Generator[ChatPart, None, Answered]:
        found = Answered(str(body.get("model") or ""))
        with self._transport.open_stream(path, headers, body=body, worded=worded) as chunks:
            for line in lines_of(chunks):
                if line.startswith(b":"):
                    yield ChatPart(words=line[1:].decode(errors="replace").strip())
                if not line.startswith(b"data:"):
                    continue
                if line == b"data: [DONE]":
                    break
                yield from found.take(self._event(line))
        if not found.finish:
            raise Unavailable("The answer was cut off: it is not whole.", hint="Ask once more.")
        return found

    def _event(self, line: bytes) -> dict[str, Any]:
        try:
            event = json.loads(line.removeprefix(b"data:"))
        except ValueError as error:
            raise not_understood(self._transport.url) from error
        if not isinstance(event, dict):
            raise not_understood(self._transport.url)
        if "error" in event:
            found = openai_error(503, json.dumps(event).encode())
            raise found or not_understood(self._transport.url)
        return event


def openai_error(status: int, content: bytes) -> TunesmithError | None:
    """The error of an answer in OpenAI's form; None where it is none of those."""
    try:
        found = json.loads(content)["error"]
        code, message, named = found.get("code"), str(found["message"]), found.get("param")
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
    ours = {
        400: "invalid_input",
        401: "unauthorized",
        403: "forbidden",
        404: "not_found",
        413: "too_large",
        429: "too_many_requests",
        503: "unavailable",
    }.get(status, "unavailable")
    problems = [{"field": named, "message": message}] if named else []
    try:
        body = ErrorBody.model_validate(
            {"code": ours, "message": message, "problems": problems, "details": {"code": code}}
        )
    except ValidationError:
        return None
    return from_body(body, status)
