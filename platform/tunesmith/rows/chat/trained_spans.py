"""Which characters of a rendered conversation are trained: the answers with their end-of-turn mark, nothing else.

`find_all` is for those who ask for the whole conversation: all of it but the answers with `weight` 0.

Method. Answer i begins where the template's own generation prompt after messages[:i] ends, for there the model begins
to write. It ends after the first control token that the template puts behind its content. Both come from rendering,
never from searching for a header, so nothing that a user types can open a trained span.

Where a template rewrites history (drops earlier thinking, moves the system text), prefixes do not match; then the
answer is replaced by a mark, the whole is rendered again, and what stands before and behind the mark tells the place.

Knows templates and strings; knows nothing of tokenizers.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Literal, NamedTuple

from tunesmith.row_problem import RowProblem
from tunesmith.rows.chat.control_tokens import ControlTokens, Span, private_characters
from tunesmith.rows.chat.rendering import Renderer, Turn
from tunesmith.rows.chat.tool_calls import names_of
from tunesmith.rows.chat.turns import Message, like, tools_of
from tunesmith.rows.json_text import unpacked

_THOUGHT, _END_OF_THOUGHT = "<think>", "</think>"
_LONGEST_MARK = 40
"""Characters of the longest control token that may stand where another one does."""


class Marked(NamedTuple):
    """A rendered conversation and the half-open character ranges of it that are trained, in order."""

    text: str
    spans: list[Span]
    dropped: int = 0
    """Answers that should be trained and whose reasoning is not written, or not all of it."""
    lost: int = 0
    """Answers that should be trained and are not: the template leaves them out, or writes other words."""
    not_offered: int = 0
    """Answers that are trained and call a tool that the conversation offers nowhere."""
    marks: int = 0
    """Answers that are trained and hold lookalikes of control tokens."""
    rendered: str = ""
    """The template that wrote the last question before."""


class SpanFinder:
    """Finds the trained spans of conversations under one template."""

    def __init__(self, renderer: Renderer, control: ControlTokens) -> None:
        self._renderer = renderer
        self._control = control
        self._tail = self._probe()

    def find(self, messages: Sequence[Message]) -> Marked:
        """Render a conversation (lookalikes hidden) and find its trained spans.

        Raises:
            RowProblem: The template refuses it, or no answer can be found in what it renders.
        """
        turns = self._renderer.turns(messages)
        text = self._renderer.written(messages, turns)
        spans: list[Span] = []
        dropped = lost = 0
        wanted = [i for i, message in enumerate(messages) if message.role == "assistant" and message.weight]
        for i in wanted:
            start = self._prompt_end(text, messages, turns, i)
            end = None if start is None else self._plain_end(text, messages, turns, i, start)
            span = (
                (start, end)
                if start is not None and end is not None
                else self._marked_span(text, messages, turns, i, start)
            )
            if span is None:
                lost += 1
                continue
            if i + 1 < len(messages) and messages[i + 1].role == "tool":
                span = self._before_tools(text, messages, turns, i, span)
            spans.append(span)
            missing = _missing(messages[i], text[slice(*span)])
            dropped += missing == "reasoning"
            lost += missing == "words"
        if not spans:
            raise RowProblem(
                "The model's chat template hides or rewrites every answer, so it is unknown which tokens to train on.",
                "Use a chat template that writes each answer as it is.",
            )
        return Marked(text, sorted(spans), dropped, lost, _not_offered(messages))

    def find_all(self, messages: Sequence[Message]) -> Marked:
        """Render a conversation; everything is trained besides the answers with `weight` 0.

        Raises:
            RowProblem: The template refuses it, or an answer with `weight` 0 cannot be found in what it renders.
        """
        if all(message.weight for message in messages):
            text = self._renderer.written(messages)
            return Marked(text, [(0, len(text))], _lost_thoughts(messages, text), 0, _not_offered(messages))
        others = [message._replace(weight=1 - message.weight) for message in messages]
        found = self.find(like(messages, others))
        text = found.text
        edges = [0, *(edge for span in found.spans for edge in span), len(text)]
        spans = zip(edges[::2], edges[1::2], strict=True)
        dropped = _lost_thoughts([message for message in messages if message.weight], text)
        spans_left = [(begin, end) for begin, end in spans if begin < end]
        return Marked(text, spans_left, dropped, 0, _not_offered(messages))

    def _probe(self) -> str | None:
        """What the template writes behind the last answer; None when the probe says nothing."""
        mark = chr(0xF0000)
        probe = [Message("user", "x"), Message("assistant", mark)]
        try:
            text = self._renderer.written(probe)
        except RowProblem:
            return None
        return text.partition(mark)[2] if text.count(mark) == 1 else None

    def _prompt_end(self, text: str, messages: Sequence[Message], turns: list[Turn], i: int) -> int | None:
        try:
            prompt = self._renderer.render(turns[:i], messages, add_generation_prompt=True)
        except RowProblem:  # some templates refuse an empty conversation
            return None
        return len(prompt) if text.startswith(prompt) else None

    def _plain_end(
        self, text: str, messages: Sequence[Message], turns: list[Turn], i: int, start: int
    ) -> int | None:
        """The end of answer i when history up to it is rendered as it is; None when another way is needed."""
        calls = messages[i].calls
        if self._tail is None and not calls:
            return None
        try:
            through = text if i == len(turns) - 1 else self._renderer.render(turns[: i + 1], messages)
        except RowProblem:
            return None
        if not text.startswith(through):
            return None
        if self._tail and through.endswith(self._tail):
            return len(through) - len(self._tail) + self._closing(self._tail, self._tail)
        # A call may end with a mark of its own: the last one that nothing but white space follows.
        last = self._control.last(through, start) if calls else None
        return last[1] if last is not None and not through[last[1] :].strip() else None

    def _marked_span(
        self, text: str, messages: Sequence[Message], turns: list[Turn], i: int, start: int | None
    ) -> Span | None:
        """The span of answer i from a render in which a mark stands for it; None when it cannot be located."""
        mark = next(iter(private_characters(messages)))
        turns = [*turns[:i], {"role": "assistant", "content": mark}, *turns[i + 1 :]]
        try:
            head, found, behind = self._renderer.render(turns, messages).partition(mark)
            through = (
                self._renderer.render(turns[: i + 1], messages)
                if i < len(turns) - 1
                else head + mark + behind
            )
        except RowProblem:
            return None
        if not found:
            return None
        last = through.partition(mark)[2]
        if messages[i].calls or messages[i].reasoning:
            # Another form than a text's: what both texts begin and end with alike is not the answer.
            same = _alike(text, head)
            start = same if start is None else start
            behind = behind[len(behind) - _alike(text[::-1], behind[::-1]) :]
            if not behind and last:
                return None
        if start is None:
            start = len(head) if text.startswith(head) else None
        end = len(text) - len(behind)
        if start is None or end <= start or not text.endswith(behind):
            return None
        return start, end + self._closing(last, behind)

    def _before_tools(
        self, text: str, messages: Sequence[Message], turns: list[Turn], i: int, span: Span
    ) -> Span:
        """The span of answer i, cut where what a tool answered begins: some write that into the same turn (Gemma 4).

        Raises:
            RowProblem: It holds what a tool answered, and where the call ends is unknown.
        """
        try:
            through = self._renderer.render(turns[: i + 1], messages)
        except RowProblem:
            through = ""
        same = _alike(text, through)
        # Where a mark stands of which only the beginning is the same, the answer ends before it.
        marks = (place for place in range(max(0, same - _LONGEST_MARK), same))
        end = next((place for place in marks if (self._control.end_at(text, place) or 0) > same), same)
        called = names_of(messages[i].calls)
        if called and all(name in text[span[0] : end] for name in called):
            return span[0], min(span[1], end)
        said = text[slice(*span)]
        own = (messages[i].content, messages[i].calls, messages[i].reasoning)
        for place, message in enumerate(messages[i + 1 :], i + 1):
            if message.role != "tool":
                break
            heard = message.content.strip()
            may_hold = heard and heard in said and not any(heard in one for one in own)
            # A short one stands in many words, of a mark of the template's too.
            if may_hold and self._follows(text[: span[1]], messages, place):
                raise RowProblem(
                    "The model's chat template writes what a tool answered into the answer that called it, so it is "
                    "unknown where that answer ends.",
                    "Give each call a row of its own that ends with it, or choose another `chat_template`.",
                )
        return span

    def _follows(self, begin: str, messages: Sequence[Message], place: int) -> bool:
        """Whether the beginning of a rendered conversation is another where a tool answered otherwise."""
        other = messages[place]._replace(content=f"{messages[place].content} {messages[place].content}")
        changed = like(messages, [*messages[:place], other, *messages[place + 1 :]])
        try:
            return not self._renderer.written(changed).startswith(begin)
        except RowProblem:
            return True

    def _closing(self, last: str, behind: str) -> int:
        """Characters of the end-of-turn mark in `behind`, given what the template writes when the answer is last.

        The mark must stand where it stands there (it may be another token: `<|end|>` for `<|return|>`). Otherwise
        what follows is the next turn, which is not trained.
        """
        place = self._control.first(last)
        if place is None or not behind.startswith(last[: place[0]]):
            return 0
        return self._control.end_at(behind, place[0]) or 0


def _alike(one: str, other: str) -> int:
    """How many characters two texts begin with alike."""
    most = min(len(one), len(other))
    return next((i for i in range(most) if one[i] != other[i]), most)


def _missing(message: Message, written: str) -> Literal["", "reasoning", "words"]:
    """What of an answer is not written; white space and empty thoughts do not count."""
    if message.content.strip() in written and (not message.reasoning or message.reasoning.strip() in written):
        return ""
    if _lost_thoughts([message], written):
        return "reasoning"
    words = _squeezed(message.content.rpartition(_END_OF_THOUGHT)[2])
    return "" if words in _squeezed(written) else "words"


def _thought(message: Message) -> str:
    """An answer's reasoning, wherever the row keeps it, without white space."""
    before, mark, _ = message.content.rpartition(_END_OF_THOUGHT)
    own = (before.rpartition(_THOUGHT)[2] if _THOUGHT in before else before) if mark else ""
    return _squeezed(message.reasoning or own) if message.role == "assistant" else ""


def _lost_thoughts(messages: Sequence[Message], text: str) -> int:
    """Answers whose reasoning a text does not hold."""
    thoughts = Counter(filter(None, map(_thought, messages)))
    written = _squeezed(text) if thoughts else ""
    return sum(max(0, count - written.count(thought)) for thought, count in thoughts.items())


def _not_offered(messages: Sequence[Message]) -> int:
    """Answers that are trained and call what neither `tools` nor a system or user turn before them names."""
    count = 0
    offered: set[str] | None = None
    for i, message in enumerate(messages):
        if not message.calls or not message.weight:
            continue
        offered = set(names_of(tools_of(messages))) if offered is None else offered
        told = [turn.content for turn in messages[:i] if turn.role in ("system", "user")]
        called = [call["function"]["name"] for call in unpacked(message.calls)]
        count += any(name not in offered and not any(name in text for text in told) for name in called)
    return count


def _squeezed(text: str) -> str:
    return "".join(text.split())
