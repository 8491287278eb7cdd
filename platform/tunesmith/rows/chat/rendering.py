"""Turns as a chat template takes them: which keys it reads, found out by rendering small conversations.

Templates differ in what they know: tools, calls whose arguments are an object or text, reasoning under one of three
names, or none of it. What a template would lose in silence is refused here. Knows templates and turns; knows nothing of
tokens.
"""

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, NamedTuple

from tunesmith.row_problem import RowProblem
from tunesmith.rows.chat.template import ChatTemplate
from tunesmith.rows.chat.turns import Message, tools_of
from tunesmith.rows.json_text import packed, unpacked

Turn = dict[str, Any]

_ASK = {"role": "user", "content": "Ask."}
_SAY = {"role": "assistant", "content": "Say."}
_REASONING = ("reasoning_content", "thinking", "reasoning")
PROBE_NAME = "probe_name"
"""The tool that made-up calls are of."""
_KEY, _VALUE, _MARK = "probe_key", "probe_value", "probe text"
_ID = "call00000"
"""Some templates want nine letters."""
_RESPONSE = ("<tool_response>", "</tool_response>")


class _Calls(NamedTuple):
    """How a template takes an answer that calls tools."""

    as_text: bool
    """Whether the arguments are handed over as JSON text, not as an object."""
    empty: str | None
    """The text of an answer without one."""


class Renderer:
    """Renders conversations with a template, with all that it knows of them.

    Args:
        template: The template.
        choice: A built-in template that takes tools and fits the tokenizer, for the way on; empty where none does.
    """

    def __init__(self, template: ChatTemplate, choice: str = "") -> None:
        self.template = template
        self._way = (
            f"Choose a template that does, such as `chat_template={choice}`"
            if choice
            else ("Choose a `chat_template` that does")
        )

    def turns(self, messages: Sequence[Message]) -> list[Turn]:
        """Turns as the template takes them.

        Raises:
            RowProblem: They hold what it does not write: tools, calls or reasoning.
        """
        if not tools_of(messages) and not any(
            message.calls or message.reasoning or message.role == "tool" for message in messages
        ):
            return [{"role": message.role, "content": message.content} for message in messages]
        if tools_of(messages) and not self.takes_tools:
            raise RowProblem(
                "The row has `tools`, and the model's chat template does not write them: it would learn to call "
                "what it was never shown.",
                f"{self._way}, or describe the tools in a system turn and remove `tools`.",
            )
        return [self._turn(message) for message in messages]

    def render(
        self,
        turns: Sequence[Mapping[str, Any]],
        like: Sequence[Message],
        *,
        add_generation_prompt: bool = False,
        variables: Mapping[str, Any] | None = None,
    ) -> str:
        """The text of turns, with the tools of a conversation.

        Args:
            turns: As `turns` makes them.
            like: The conversation whose tools are offered.
            add_generation_prompt: Whether to open an answer at the end.
            variables: See `ChatTemplate.render`.

        Raises:
            RowProblem: The template refuses them.
        """
        tools = tools_of(like)
        return self.template.render(
            turns, add_generation_prompt, unpacked(tools) if tools else None, variables
        )

    def written(self, messages: Sequence[Message], turns: Sequence[Turn] | None = None) -> str:
        """The text of a conversation.

        Args:
            messages: The conversation.
            turns: What `turns` made of it; None makes them.

        Raises:
            RowProblem: The template refuses it, or leaves out a call or what a tool answered.
        """
        text = self.render(self.turns(messages) if turns is None else turns, messages)
        self.require_said(text, messages)
        return text

    def require_said(self, text: str, messages: Sequence[Message]) -> None:
        """See that a rendered text holds every call of a conversation, and what the tools answered.

        Raises:
            RowProblem: It does not.
        """
        for message in messages:
            if message.role != "tool" and not message.calls:
                continue
            lost = [call["function"]["name"] for call in unpacked(message.calls or "[]")]
            if message.role == "tool":
                lost.append(self._bare(message.content).strip())
            for piece in lost:
                if piece not in text and packed(piece)[1:-1] not in text:
                    raise RowProblem(
                        "The model's chat template leaves out a call of a tool, or what the tool answered.",
                        f"{self._way}, or write it as text into `content`.",
                    )

    def _turn(self, message: Message) -> Turn:
        turn: Turn = {"role": message.role, "content": message.content}
        if message.role == "tool":
            turn["content"] = self._bare(message.content)
            turn |= {
                key: value
                for key, value in (("name", message.name), ("tool_call_id", message.call_id))
                if value
            }
        if message.reasoning:
            if self._reasoning is None:
                raise RowProblem(
                    "An answer's reasoning is kept apart (`reasoning_content`), and the model's chat template does not "
                    "write it.",
                    "Write it into `content`, as `<think>...</think>` where the model thinks so, or remove it.",
                )
            turn[self._reasoning] = message.reasoning
        if message.calls:
            if self._calls is None:
                raise RowProblem(
                    "An answer calls a tool, and the model's chat template does not write calls.",
                    f"{self._way}, or write the call as text into `content`.",
                )
            calls = unpacked(message.calls)
            for call in calls if self._calls.as_text else ():
                call["function"]["arguments"] = packed(call["function"]["arguments"])
            turn["tool_calls"] = calls
            turn["content"] = message.content or self._calls.empty
        return turn

    def _bare(self, content: str) -> str:
        """What a tool answered without marks that the template puts round it itself."""
        text = content.strip()
        if text.startswith(_RESPONSE[0]) and text.endswith(_RESPONSE[1]) and self._marks_responses:
            return text[len(_RESPONSE[0]) : -len(_RESPONSE[1])].strip()
        return content

    def _tried(self, turns: list[Turn], tools: Any = None) -> str:
        try:
            return self.template.render(turns, False, tools)
        except RowProblem:
            return ""

    @cached_property
    def takes_tools(self) -> bool:
        """Whether the template writes the tools that it is given."""
        schema = {
            "type": "object",
            "properties": {_KEY: {"type": "string", "description": "x"}},
            "required": [_KEY],
        }
        tool = {
            "type": "function",
            "function": {"name": PROBE_NAME, "description": "x", "parameters": schema},
        }
        return any(
            PROBE_NAME in self._tried([*head, _ASK, _SAY], [tool])
            for head in ([], [{"role": "system", "content": "x"}])
        )

    @cached_property
    def _calls(self) -> _Calls | None:
        """How calls are handed over; None where none is written.

        Some templates want the arguments as an object, some as text. Some write a second, empty answer behind a call
        whose text is empty, and none where it is null; others cannot take null.
        """
        for as_text in (False, True):
            found: list[tuple[int, _Calls]] = []
            for empty in ("", None):
                text = self._tried([_ASK, _call(as_text=as_text, content=empty)])
                # `'probe_key'` is how Python writes an object that is not written as JSON.
                if PROBE_NAME in text and _VALUE in text and f"'{_KEY}'" not in text and "None" not in text:
                    found.append((len(text), _Calls(as_text, empty)))
            if found:
                return min(found, key=lambda one: one[0])[1]
        return None

    @property
    def takes_reasoning(self) -> bool:
        """Whether the template writes the reasoning of an answer that is kept apart."""
        return self._reasoning is not None

    @cached_property
    def written_call(self) -> str:
        """What the template writes of an answer that calls `PROBE_NAME` and says nothing else; empty where no call.

        From the answer's begin on, as far as that can be told from the prompt's end.
        """
        if self._calls is None:
            return ""
        whole = self._tried([_ASK, _call(as_text=self._calls.as_text, content=self._calls.empty)])
        for opened in (True, False):
            try:
                prompt = self.template.render([_ASK], opened)
            except RowProblem:
                continue
            if whole.startswith(prompt):
                return whole[len(prompt) :]
        return whole

    @cached_property
    def _reasoning(self) -> str | None:
        """The key under which the template looks for an answer's reasoning."""
        return next((key for key in _REASONING if _MARK in self._tried([_ASK, _SAY | {key: _MARK}])), None)

    @cached_property
    def _marks_responses(self) -> bool:
        said = {"role": "tool", "content": _MARK, "name": PROBE_NAME, "tool_call_id": _ID}
        call = _call(as_text=self._calls.as_text, content=self._calls.empty) if self._calls else _SAY
        return _RESPONSE[0] in self._tried([_ASK, call, said])


def _call(*, as_text: bool, content: str | None) -> Turn:
    arguments = {_KEY: _VALUE}
    function = {"name": PROBE_NAME, "arguments": packed(arguments) if as_text else arguments}
    return {
        "role": "assistant",
        "content": content,
        "tool_calls": [{"id": _ID, "type": "function", "function": function}],
    }
