"""How models write the calls of tools into their answers: a table of forms, and one that reads them as they come.

A model calls a tool in the words that its chat template taught it. Which of the forms it is is seen by what the
template itself writes of a call; one that is in no row here is not read, and says so. Knows texts alone: no
template, no tokens, no engine.
"""

import json
import re
from typing import Any, Literal, NamedTuple

from tunesmith.chat.wire import CallPart

Around = Literal["each", "list", "named", "bare"]


class CallForm(NamedTuple):
    """How calls are written.

    Attributes:
        name: What it is called in messages.
        around: `each` call stands between two marks; all are a JSON `list` behind a mark; each is `named` behind a
            mark, and its arguments follow; or the answer is the `bare` JSON of one call.
        begin: The mark before; empty for none.
        end: The mark behind each call; empty for none.
        key: Under what the JSON of a call holds its arguments.
        between: What stands between a name and its arguments, where they follow it.
    """

    name: str
    around: Around
    begin: str = ""
    end: str = ""
    key: str = "arguments"
    between: str = ""


FORMS = (
    CallForm("Hermes and Qwen", "each", "<tool_call>", "</tool_call>"),
    CallForm("Mistral", "list", "[TOOL_CALLS]"),
    CallForm("Mistral from 11 on", "named", "[TOOL_CALLS]", between="[ARGS]"),
    CallForm("Mistral from 11 on, without marks", "named", "[TOOL_CALLS]"),
    CallForm("Granite", "list", "<|tool_call|>"),
    CallForm("Phi", "list", "functools"),
    CallForm("Llama 3", "bare"),
)
"""Every form that is read, the more telling before the others."""
PYTHON_TAG = "<|python_tag|>"
"""What Llama 3 may write before the JSON of a call."""
OPEN_THOUGHT, CLOSE_THOUGHT = "<think>", "</think>"
_SPACE = " \n\r\t"


def form_of(written: str, name: str) -> CallForm | None:
    """The form that a chat template writes calls in; None where it is in no row of the table.

    Args:
        written: What it writes of an answer that calls a tool and says nothing else, from the answer's begin on.
        name: The tool that is called there, with one argument.
    """
    call = rf'\{{\s*"name":\s*"{re.escape(name)}",\s*"(?P<key>arguments|parameters)":\s*\{{[^{{}}]*\}}[^{{}}]*\}}'
    for form in FORMS:
        pattern = {
            "each": rf"{re.escape(form.begin)}\s*{call}\s*{re.escape(form.end)}",
            "list": rf"{re.escape(form.begin)}\s*\[\s*{call}\s*\]",
            "named": rf"{re.escape(form.begin)}\s*{re.escape(name)}{re.escape(form.between)}\s*\{{",
            "bare": rf"^\s*(?:{re.escape(PYTHON_TAG)})?{call}",
        }[form.around]
        if found := re.search(pattern, written):
            return form._replace(key=found.groupdict().get("key") or form.key)
    return None


class Read(NamedTuple):
    """What a piece of an answer holds."""

    text: str = ""
    calls: tuple[CallPart, ...] = ()


class CallReader:
    """Reads one answer's calls as they come; what is none is text, as it stands.

    A call's name is told once it is known, its arguments as they are written: as JSON text which nobody has read yet.

    Args:
        form: How the model writes calls.
        names: The tools that it may call.
        thinks: Whether the answer begins inside a thought: what looks like a call there is none.
    """

    def __init__(self, form: CallForm, names: frozenset[str], *, thinks: bool = False) -> None:
        self._form, self._names = form, names
        self._held = ""
        """What was not told yet."""
        self._is_thought: bool | None = thinks or None
        """Whether it is inside a thought; None as long as that is not known, False once it is over."""
        self._is_calling = False
        self._call: _Call | None = None
        self._marks = [mark for mark in (form.begin or PYTHON_TAG,) if mark]
        self._is_first = True
        self.count = 0
        """Calls that are whole."""

    @property
    def is_calling(self) -> bool:
        """Whether it is inside a call, or between two."""
        return self._is_calling

    def take(self, text: str) -> Read:
        """Take a piece."""
        self._held += text
        texts: list[str] = []
        calls: list[CallPart] = []
        while True:
            before = (len(self._held), self._is_calling, self._is_thought, self._call)
            if self._is_calling:
                self._read_call(texts, calls)
            else:
                self._read_text(texts)
            if (len(self._held), self._is_calling, self._is_thought, self._call) == before:
                return Read("".join(texts), tuple(calls))

    def end(self) -> Read:
        """What waited, now that nothing comes any more: of a call that was begun, what is missing is missing."""
        held, self._held = self._held, ""
        if self._is_calling:
            is_open = self._call is not None and self._call.is_told
            is_behind = self._call is None and self.count > 0
            return Read("" if is_open or is_behind else self._form.begin + held)
        return Read(held)

    # --- text

    def _read_text(self, texts: list[str]) -> None:
        if self._is_thought is None:
            begin = self._held.lstrip(_SPACE)
            if begin.startswith(OPEN_THOUGHT):
                self._is_thought = True
            elif not OPEN_THOUGHT.startswith(begin):
                self._is_thought = False
            return
        if self._is_thought:
            thought, mark, rest = self._held.partition(CLOSE_THOUGHT)
            if mark:
                texts.append(thought + mark)
                self._held, self._is_thought = rest, False
            else:
                self._release(texts, _beginning(self._held, CLOSE_THOUGHT))
            return
        if self._form.around == "bare" and self._is_first and self._begins_bare(texts):
            return
        for mark in self._marks:
            text, found, rest = self._held.partition(mark)
            if found:
                if text.strip(_SPACE):
                    texts.append(text.rstrip(_SPACE))
                self._held, self._is_calling = rest, True
                return
        kept = max((_beginning(self._held, mark) for mark in self._marks), default=0)
        spaces = self._held[: len(self._held) - kept]
        self._release(texts, kept + len(spaces) - len(spaces.rstrip(_SPACE)))

    def _begins_bare(self, texts: list[str]) -> bool:
        """Whether the answer is, or may be, the JSON of a call."""
        begin = self._held.lstrip(_SPACE)
        if not begin:
            return True
        if begin.startswith("{"):
            self._held, self._is_calling = begin, True
            return True
        self._is_first = False
        return False

    def _release(self, texts: list[str], kept: int) -> None:
        cut = len(self._held) - kept
        texts.append(self._held[:cut])
        self._held = self._held[cut:]

    # --- calls

    def _read_call(self, texts: list[str], calls: list[CallPart]) -> None:
        if self._call is None:
            self._begin_call(texts)
            return
        call = self._call
        parts = call.take(self._held, self.count)
        if parts is None:
            self._give_up(texts)
            return
        calls += parts
        if call.is_over:
            self.count += 1
            self._held, self._call = self._held[call.scanned :], None

    def _begin_call(self, texts: list[str]) -> None:
        """Find where the next call begins, or that there is none."""
        held = self._held.lstrip(_SPACE)
        if not held:
            return
        if self.count:
            self._read_behind(held)
        elif self._form.around == "list" and held[0] == "[":
            self._held, self._call = held[1:], self._new_call()
        elif self._form.around == "named" or (self._form.around != "list" and held[0] == "{"):
            self._held, self._call = held, self._new_call()
        else:
            self._give_up(texts)

    def _read_behind(self, held: str) -> None:
        """Read what stands behind a call: its mark, and whether another follows."""
        if self._form.around == "list" and held[0] in ",]":
            self._is_calling = held[0] == ","
            self._held, self._call = held[1:], self._new_call() if self._is_calling else None
            return
        for mark in filter(None, (self._form.end, self._form.begin)):
            if held.startswith(mark):
                self._held = held[len(mark) :]
                self._call = self._new_call() if mark == self._form.begin else None
                return
            if mark.startswith(held):
                return
        self._held, self._is_calling, self._is_first = held, False, False

    def _new_call(self) -> "_Call":
        return _Call(self._form, self._names if self._form.around == "bare" else None)

    def _give_up(self, texts: list[str]) -> None:
        """What was taken for a call is none: it is text, with its mark."""
        texts.append(self._form.begin + self._held)
        self._held, self._call, self._is_calling, self._is_first = "", None, False, False


class _Call:
    """One call, from its begin on.

    Args:
        form: How it is written.
        names: What it may call, where anything else makes it no call at all.
    """

    def __init__(self, form: CallForm, names: frozenset[str] | None) -> None:
        self._form, self._names = form, names
        self._begin: int | None = None
        """Where the arguments begin, once the name is told."""
        self._told = 0
        self._object, self._arguments = _Object(), _Object()
        self.scanned = 0
        self.is_told = self.is_over = False

    def take(self, held: str, index: int) -> list[CallPart] | None:
        """What is new of it; None where it is no call.

        Args:
            held: All of it that has come.
            index: Its number.
        """
        if self._form.around == "named":
            return self._named(held, index)
        parts: list[CallPart] = []
        if not self.is_told:
            found = re.match(
                rf'\s*\{{\s*"name"\s*:\s*("(?:[^"\\]|\\.)*")\s*,\s*"{self._form.key}"\s*:\s*(?=\{{)', held
            )
            if found and (name := _text(found[1])) and self._may_be(name):
                self._begin, self.is_told = found.end(), True
                self._told = found.end()
                parts.append(CallPart(index=index, name=name))
        if self._begin is not None and (end := self._arguments.until(held, self._begin)) > self._told:
            parts.append(CallPart(index=index, arguments=held[self._told : end]))
            self._told = end
        self.scanned = self._object.until(held, 0)
        if not self._object.is_whole:
            return parts
        self.is_over = True
        if self.is_told:
            return parts
        whole = _whole(held[: self.scanned], self._form.key)
        if whole is None or not self._may_be(whole[0]):
            return None
        self.is_told = True
        return [CallPart(index=index, name=whole[0]), CallPart(index=index, arguments=whole[1])]

    def _named(self, held: str, index: int) -> list[CallPart] | None:
        parts: list[CallPart] = []
        if self._begin is None:
            found = re.match(rf"\s*([\w.\-]+)\s*{re.escape(self._form.between)}\s*(?=\{{)", held)
            if found is None:
                return None if re.search(r"[{\"<]|\n\n", held.replace(self._form.between, "")) else []
            self._begin = self._told = found.end()
            self.is_told = True
            parts.append(CallPart(index=index, name=found[1]))
        end = self._object.until(held, self._begin)
        if end > self._told:
            parts.append(CallPart(index=index, arguments=held[self._told : end]))
            self._told = end
        self.scanned, self.is_over = end, self._object.is_whole
        return parts

    def _may_be(self, name: str) -> bool:
        return self._names is None or name in self._names


class _Object:
    """Where a JSON object ends, in a text that grows."""

    def __init__(self) -> None:
        self._at = -1
        self._depth = 0
        self._is_text = self._is_escaped = False
        self.is_whole = False

    def until(self, text: str, begin: int) -> int:
        """How far of the text it goes, as far as it has come.

        Args:
            text: All that has come.
            begin: Where it begins.
        """
        at = max(self._at, begin)
        while at < len(text) and not self.is_whole:
            char = text[at]
            if self._is_escaped:
                self._is_escaped = False
            elif self._is_text:
                self._is_escaped = char == "\\"
                self._is_text = char != '"'
            elif char == '"':
                self._is_text = True
            elif char in "{[":
                self._depth += 1
            elif char in "}]":
                self._depth -= 1
                self.is_whole = self._depth <= 0
            at += 1
        self._at = at
        return at


def _whole(text: str, key: str) -> tuple[str, str] | None:
    """The name and the arguments of a call in any order of its keys; None where it is none."""
    try:
        found: Any = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if isinstance(found, dict) and isinstance(found.get("function"), dict):
        found = found["function"]
    if not isinstance(found, dict) or not isinstance(found.get("name"), str):
        return None
    arguments = found.get(key, found.get("arguments", found.get("parameters", {})))
    if isinstance(arguments, str):
        return found["name"], arguments
    return (found["name"], json.dumps(arguments, ensure_ascii=False)) if isinstance(arguments, dict) else None


def _text(literal: str) -> str:
    try:
        return str(json.loads(literal))
    except ValueError:
        return ""


def _beginning(text: str, mark: str) -> int:
    """How many characters at the end of a text may be the beginning of a mark."""
    return next((n for n in range(min(len(mark) - 1, len(text)), 0, -1) if mark.startswith(text[-n:])), 0)
