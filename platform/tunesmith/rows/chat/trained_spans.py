"""Which characters of a rendered conversation are trained: the answers with their end-of-turn mark, nothing else.

`find_all` is for those who ask for the whole conversation: all of it but the answers with `weight` 0.

Method. Answer i begins where the template's own generation prompt after messages[:i] ends, for there the model begins
to write. It ends after the first control token that the template puts behind its content. Both come from rendering,
never from searching for a header, so nothing that a user types can open a trained span.

Where a template rewrites history (drops earlier thinking, moves the system text), prefixes do not match; then the
answer is replaced by a mark, the whole is rendered again, and what stands before and behind the mark tells the place.

Knows templates and strings; knows nothing of tokenizers.
"""

from collections.abc import Sequence
from typing import NamedTuple

from tunesmith.row_problem import RowProblem
from tunesmith.rows.chat.control_tokens import ControlTokens, Span, private_characters
from tunesmith.rows.chat.conversation import Message
from tunesmith.rows.chat.template import ChatTemplate


class Marked(NamedTuple):
    """A rendered conversation and the half-open character ranges of it that are trained, in order."""

    text: str
    spans: list[Span]


class SpanFinder:
    """Finds the trained spans of conversations under one template."""

    def __init__(self, template: ChatTemplate, control: ControlTokens) -> None:
        self._template = template
        self._control = control
        self._tail = self._probe()

    def find(self, messages: Sequence[Message]) -> Marked:
        """Render a conversation (lookalikes hidden) and find its trained spans.

        Raises:
            RowProblem: The template refuses it, or no answer can be found in what it renders.
        """
        turns = [{"role": message.role, "content": message.content} for message in messages]
        text = self._template.render(turns)
        spans: list[Span] = []
        wanted = [i for i, message in enumerate(messages) if message.role == "assistant" and message.weight]
        for i in wanted:
            start = self._prompt_end(text, turns, i)
            end = None if start is None else self._plain_end(text, turns, i, start)
            span = (
                (start, end)
                if start is not None and end is not None
                else self._marked_span(text, messages, i, start)
            )
            if span:
                spans.append(span)
        if not spans:
            raise RowProblem(
                "The model's chat template hides or rewrites every answer, so it is unknown which tokens to train on.",
                "Use a chat template that writes each answer as it is.",
            )
        return Marked(text, sorted(spans))

    def find_all(self, messages: Sequence[Message]) -> Marked:
        """Render a conversation; everything is trained besides the answers with `weight` 0.

        Raises:
            RowProblem: The template refuses it, or an answer with `weight` 0 cannot be found in what it renders.
        """
        if all(message.weight for message in messages):
            turns = [{"role": message.role, "content": message.content} for message in messages]
            text = self._template.render(turns)
            return Marked(text, [(0, len(text))])
        text, left_out = self.find([message._replace(weight=1 - message.weight) for message in messages])
        edges = [0, *(edge for span in left_out for edge in span), len(text)]
        spans = zip(edges[::2], edges[1::2], strict=True)
        return Marked(text, [(begin, end) for begin, end in spans if begin < end])

    def _probe(self) -> str | None:
        """What the template writes behind the last answer; None when the probe says nothing."""
        mark = chr(0xF0000)
        try:
            text = self._template.render(
                [{"role": "user", "content": "x"}, {"role": "assistant", "content": mark}]
            )
        except RowProblem:
            return None
        return text.partition(mark)[2] if text.count(mark) == 1 else None

    def _prompt_end(self, text: str, turns: list[dict[str, str]], i: int) -> int | None:
        try:
            prompt = self._template.render(turns[:i], add_generation_prompt=True)
        except RowProblem:  # some templates refuse an empty conversation
            return None
        return len(prompt) if text.startswith(prompt) else None

    def _plain_end(self, text: str, turns: list[dict[str, str]], i: int, start: int) -> int | None:
        """The end of answer i when history up to it is rendered as it is; None when another way is needed."""
        if self._tail is None:
            return None
        try:
            through = text if i == len(turns) - 1 else self._template.render(turns[: i + 1])
        except RowProblem:
            return None
        if not text.startswith(through) or not through.endswith(self._tail):
            return None
        return len(through) - len(self._tail) + self._closing(self._tail, self._tail)

    def _marked_span(self, text: str, messages: Sequence[Message], i: int, start: int | None) -> Span | None:
        """The span of answer i from a render in which a mark stands for it; None when it cannot be located."""
        mark = next(iter(private_characters(messages)))
        turns = [{"role": message.role, "content": message.content} for message in messages]
        turns[i]["content"] = mark
        try:
            head, found, behind = self._template.render(turns).partition(mark)
            last = self._template.render(turns[: i + 1]).partition(mark)[2] if i < len(turns) - 1 else behind
        except RowProblem:
            return None
        if not found:
            return None
        if start is None:
            start = len(head) if text.startswith(head) else None
        end = len(text) - len(behind)
        if start is None or end <= start or not text.endswith(behind):
            return None
        return start, end + self._closing(last, behind)

    def _closing(self, last: str, behind: str) -> int:
        """Characters of the end-of-turn mark in `behind`, given what the template writes when the answer is last.

        The mark must stand where it stands there (it may be another token: `<|end|>` for `<|return|>`). Otherwise
        what follows is the next turn, which is not trained.
        """
        place = self._control.first(last)
        if place is None or not behind.startswith(last[: place[0]]):
            return 0
        return self._control.end_at(behind, place[0]) or 0
