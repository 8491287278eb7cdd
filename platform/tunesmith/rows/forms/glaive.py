"""Glaive's function calling: one text with `USER:`, `ASSISTANT:` and `FUNCTION RESPONSE:` before each turn.

The system text describes the functions as JSON behind each other; calls are `<functioncall> {"name": ..., "arguments":
'{...}'}`. Knows these texts; knows nothing of templates.
"""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from tunesmith.row_problem import RowProblem
from tunesmith.rows.chat.conversation import answered
from tunesmith.rows.chat.tool_calls import calls_in, tools_in
from tunesmith.rows.chat.turns import Message
from tunesmith.rows.columns import SYSTEMS, named
from tunesmith.rows.files.decoding import DECODER, Row
from tunesmith.rows.json_text import packed
from tunesmith.rows.problems import no_answer

_TURN = re.compile(r"^[ \t]*(SYSTEM|USER|ASSISTANT|FUNCTION RESPONSE)[ \t]*:[ \t]*", re.MULTILINE)
_END = "<|endoftext|>"
_CALL = "<functioncall>"
_OFFER_WORDS = re.compile(
    r"\s*,?\s+with access to the following (?:functions|tools)\b.*\Z", re.IGNORECASE | re.DOTALL
)
"""The sentence that leads to the functions, which a template writes in its own words."""
_QUOTED = re.compile(r"""(?P<head>"arguments"\s*:\s*)'(?P<json>.*)'(?P<tail>\s*\})\Z""", re.DOTALL)
_WRITE = (
    "Write the turns as `USER: ...`, `ASSISTANT: ...` and `FUNCTION RESPONSE: ...`, or the row as `messages`."
)


@dataclass(frozen=True)
class Glaive:
    """Rows of one text with all turns, and perhaps a system text beside it."""

    chat: str
    system: str | None
    name: str = "Glaive function calling"

    @classmethod
    def among(cls, rows: Sequence[Row], found: Sequence[str]) -> "Glaive | None":
        """This form with the columns of a file; None where no row is written so."""
        for name in found:
            if any(_is_chat(row.get(name)) for row in rows):
                return cls(name, named(SYSTEMS, [one for one in found if one != name]))
        return None

    @property
    def meaning(self) -> dict[str, str]:
        """What its columns become."""
        return ({self.system: "system"} if self.system else {}) | {self.chat: "turns"}

    def holds(self, row: Row) -> bool:
        """Whether a row is written so."""
        return isinstance(row.get(self.chat), str) and bool(row[self.chat].strip())

    def read(self, row: Row) -> list[Message]:
        """The conversation in a row."""
        parts = list(_turns(row[self.chat], self.chat))
        system = row.get(self.system) if self.system else None
        if system is not None and not isinstance(system, str):
            raise RowProblem(f"`{self.system}` is no text.", "Write it as text.")
        said = (system or "").strip().removeprefix("SYSTEM:").strip()
        if parts[0][0] == "SYSTEM":
            if said and said != parts[0][1]:
                raise RowProblem(
                    f"`{self.system}` and `{self.chat}` begin with different system texts.",
                    "Keep one of them.",
                )
            said = parts.pop(0)[1]
        said, tools = _offered(said)
        messages = [Message("system", said)] if said else []
        for role, text in parts:
            if role == "ASSISTANT":
                messages.append(_answer(text, self.chat))
            elif role == "SYSTEM":
                raise RowProblem(f"`{self.chat}` has a `SYSTEM:` turn behind others.", _WRITE)
            else:
                messages.append(Message("user" if role == "USER" else "tool", text))
        return answered(messages, tools)


def _is_chat(value: Any) -> bool:
    """Whether a text is all turns: it begins with one, and a question's answer comes."""
    if not isinstance(value, str):
        return False
    roles = [found.group(1) for found in _TURN.finditer(value)]
    return bool(_TURN.match(value.lstrip())) and {"USER", "ASSISTANT"} <= set(roles)


def _turns(chat: str, name: str) -> Iterator[tuple[str, str]]:
    """Each turn's role and text."""
    chat = chat.strip()
    marks = list(_TURN.finditer(chat))
    if not marks or marks[0].start():
        raise RowProblem(f"`{name}` does not begin with a turn such as `USER:`.", _WRITE)
    ends = _END in chat
    for mark, following in zip(marks, [*marks[1:], None], strict=True):
        role = mark.group(1)
        text = chat[mark.end() : following.start() if following else len(chat)].strip()
        if role == "ASSISTANT":
            if ends and following and not text.endswith(_END) and following.group(1) == "USER":
                raise RowProblem(
                    f"`{name}` has an answer that does not end with `{_END}`, as others do, before `USER:`: whether "
                    "that is a turn or words of the answer cannot be told.",
                    f"End every answer with `{_END}`, or none.",
                )
            text = text.removesuffix(_END).strip()
        if _END in text:
            raise RowProblem(f"`{name}` has `{_END}` inside a turn.", _WRITE)
        yield role, text


def _offered(system: str) -> tuple[str, str]:
    """A system text without the functions that it describes, and these as JSON; whole where they cannot be read."""
    begin = system.find("{")
    if begin < 0:
        return system, ""
    at, found = begin, []
    while at < len(system):
        try:
            one, at = DECODER.raw_decode(system, at)
        except (ValueError, RecursionError):
            return system, ""
        found += one if isinstance(one, list) else [one]
        at += len(system[at:]) - len(system[at:].lstrip(" \t\r\n,"))
    try:
        tools = tools_in(found, "system")
    except RowProblem:
        return system, ""
    head = system[:begin].strip()
    return _OFFER_WORDS.sub(".", head), tools


def _answer(text: str, name: str) -> Message:
    said, call, rest = text.partition(_CALL)
    said = said.strip()
    if not call:
        if not said:
            raise no_answer(name, "")
        return Message("assistant", said)
    if _CALL in rest:
        raise RowProblem(f"`{name}` has an answer with two `{_CALL}`.", "Write each into a turn of its own.")
    return Message("assistant", said, calls=calls_in(_call(rest.strip(), name), name))


def _call(text: str, name: str) -> Any:
    """The object of a call, whose arguments stand as JSON in single quotes."""
    quoted = _QUOTED.search(text)
    if quoted:
        # An apostrophe inside is written as it is, or escaped as Python would.
        inner = quoted["json"]
        try:
            DECODER.decode(inner)
        except (ValueError, RecursionError):
            inner = inner.replace("\\'", "'")
        text = text[: quoted.start()] + quoted["head"] + packed(inner) + quoted["tail"]
    try:
        return DECODER.decode(text)
    except (json.JSONDecodeError, ValueError, RecursionError):
        raise RowProblem(
            f"`{name}` has a `{_CALL}` that is no JSON: `{' '.join(text.split())[:60].replace('`', chr(39))}`.",
            'Write `<functioncall> {"name": "...", "arguments": {...}}`, and nothing behind it.',
        ) from None
