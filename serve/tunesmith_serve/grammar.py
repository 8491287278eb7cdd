"""What an answer is held to, as a grammar: JSON by a schema, or the call of a tool in the model's own form.

Runs in the process that writes prompts: a schema is a stranger's, and compiling one is bounded in time there. What the
library does not know of JSON Schema is refused with its place, not passed over. Knows `llguidance`; draws nothing.
"""

import json
import re
from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from importlib.util import find_spec
from typing import Any, Literal, NamedTuple

from tunesmith.chat.tool_forms import CLOSE_THOUGHT, OPEN_THOUGHT, CallForm
from tunesmith.errors import InvalidInput

MAX_SCHEMA_BYTES = 64 * 1024
MAX_DEPTH = 100
"""Of a schema as JSON: every level of an object is two."""
MAX_PROPERTIES = 500
"""Of one object: those that may be left out cost a place each at every token."""
MAX_GRAMMAR_BYTES = 256 * 1024
_MOST_LOOKS = 200
_STEPS = 12
_SPACE = r"( |\n {0,32})?"
"""Between the parts of JSON: room to write it in lines, and no room to go on with spaces for ever."""
_OPTIONS = {"whitespace_pattern": _SPACE}
_PACKAGE = "llguidance"
_HINT = "The guide on chats says what of JSON Schema can be held to."


Thought = Literal["none", "open", "may"]
"""What may stand before an answer: `open`, the prompt has begun a thought; `may`, the answer may begin one."""


def is_there() -> bool:
    """Whether the library that holds answers to grammars is installed."""
    return find_spec(_PACKAGE) is not None


class Body(NamedTuple):
    """What an answer is, as rules of a grammar."""

    name: str
    """The rule to begin with."""
    rules: str
    field: str
    """Where it is asked for."""


class Rules:
    """Makes the grammars for one tokenizer.

    Args:
        tokenizer: Its `tokenizer.json`, as text.

    Raises:
        InvalidInput: The library is not installed, or does not know the tokenizer.
    """

    def __init__(self, tokenizer: str) -> None:
        if not is_there():
            raise InvalidInput(
                "Answers are held to no format: the package `llguidance` is not installed where the model is served.",
                hint="Install it there (`tunesmith[serve]` brings it), or leave the field out.",
            )
        import llguidance

        self._library = llguidance
        try:
            self._tokenizer = llguidance.LLTokenizer(tokenizer)
        except (ValueError, RuntimeError) as error:
            raise InvalidInput(
                f"Answers of this model are held to no form: {_first_line(str(error))}."
            ) from error

    def json(self, schema: dict[str, Any] | bool | None, field: str) -> Body:
        """An answer that is JSON.

        Args:
            schema: What it is to be; None: any object.
            field: Where the schema lies in the request.

        Raises:
            InvalidInput: It is too large, or holds what cannot be held to; names the place.
        """
        body = {"type": "object"} if schema is None else schema
        self._check(body, field)
        return Body("json_body", f"json_body: {_json(body)}", field)

    def calls(
        self,
        tools: Sequence[dict[str, Any]],
        form: CallForm,
        *,
        several: bool,
        strict: AbstractSet[str] | None = None,
    ) -> Body:
        """An answer that calls one of some tools, or several.

        Args:
            tools: Those that may be called; each with its place in the request under `field`.
            form: How the model writes calls; one with a mark before where the answer may be text.
            several: Whether more than one may be called.
            strict: It may be text, with calls behind it or none: those of these tools have arguments by their
                parameters, all others any. None: it is calls alone, all of them by their parameters.

        Raises:
            InvalidInput: The parameters of one cannot be held to; names the place.
        """
        lines = []
        for number, tool in enumerate(tools):
            function = tool["function"]
            parameters = function.get("parameters")
            if parameters is None:
                parameters = {"type": "object", "properties": {}, "additionalProperties": False}
            if strict is not None and function["name"] not in strict:
                parameters = {"type": "object"}
            place = f"{tool['field']}.function.parameters"
            self._check(parameters, place)
            if parameters.get("type", "object") != "object":
                raise InvalidInput("The parameters of a function are an object.", field=place)
            name, key = json.dumps(function["name"]), json.dumps(form.key)
            call = f'"{{" space {_literal(chr(34) + "name" + chr(34) + ":")} space {_literal(name)} space "," space '
            call += f'{_literal(key + ":")} space p{number} space "}}"'
            if form.around == "named":
                between = f"{self._mark(form.between)} " if form.between else ""
                call = f"{_literal(function['name'])} {between}p{number}"
            lines += [f"c{number}: {call}", f"p{number}: {_json(parameters)}"]
        lines.append("call: " + " | ".join(f"c{number}" for number in range(len(tools))))
        begin = self._mark(form.begin) if form.begin else '""'
        text = "\n".join([*self._around(form, begin, several=several), *lines, f"space: /{_SPACE}/"])
        text += f"\nfirst: {begin}" if strict is None else self._text_before(form.begin, begin)
        if len(text) > MAX_GRAMMAR_BYTES:
            raise InvalidInput(
                f"The tools are more than {MAX_GRAMMAR_BYTES} bytes together.",
                hint="Offer fewer.",
                field="tools",
            )
        return Body("call_body" if strict is None else "text_or_calls", text, "tools")

    def _around(self, form: CallForm, begin: str, *, several: bool) -> list[str]:
        """The rules of what stands around calls; the mark before the first one is a rule of its own, `first`."""
        rest, more = "call", ""
        if form.around == "each":
            rest, more = f"space call space {self._mark(form.end)}", r'("\n" begin rest)*'
        elif form.around == "list":
            others = ' (space "," space call)*' if several else ""
            rest = f'space "[" space call{others} space "]"'
        elif form.around == "named":
            more = "(begin rest)*"
        return [
            f"call_body: first rest {more if several else ''}",
            f"rest: {rest}",
            f"begin: {begin}",
        ]

    def _text_before(self, mark: str, begin: str) -> str:
        """The rules of an answer that is text, in which no call begins, or text with calls behind it."""
        letters = re.escape(mark).replace("/", r"\/")
        # A control token ends any text; letters are looked for at every place.
        first = "first: TEXT begin" if begin.startswith("<[") else f"first[lazy]: /(?s:.*){letters}/"
        text = f"TEXT: /(?s:.*)/ & ~/(?s:.*){letters}(?s:.*)/"
        return f"\ntext_or_calls: TEXT | call_body\n{first}\n{text}"

    def made(self, body: Body, thought: Thought, other: Body | None = None) -> str:
        """The grammar of a whole answer, begun and gone on with for some tokens: what is too much is seen there.

        Args:
            body: What it is.
            thought: What may stand before it.
            other: What it may be instead.

        Raises:
            InvalidInput: It is too much for the library.
        """
        bodies = [body] if other is None else [body, other]
        before = self._thought(thought)
        start = f"start: {before and 'thought '}body\nbody: {' | '.join(one.name for one in bodies)}"
        return self._tried("\n".join([start, before, *(one.rules for one in bodies), ""]), body.field)

    # --- pieces

    def _mark(self, text: str) -> str:
        """A mark as the tokenizer has it: its own token where that is a control token, else its letters."""
        ids = self._tokenizer.tokenize_str(text, parse_special=True)
        if len(ids) == 1 and self._tokenizer.is_special_token(ids[0]):
            return f"<[{ids[0]}]>"
        return _literal(text)

    def _thought(self, thought: Thought) -> str:
        """The rule of what may be thought before the answer; empty where nothing is."""
        if thought == "none":
            return ""
        begin, end = self._mark(OPEN_THOUGHT), self._mark(CLOSE_THOUGHT)
        # A control token ends any text; letters are looked for at every place.
        inner = f"inner {end}" if end.startswith("<[") else "inner"
        rule = "inner: /(?s:.*)/" if end.startswith("<[") else r"inner[lazy]: /(?s:.*)<\/think>/"
        whole = f"{inner} /[ \\n]{{0,8}}/" if thought == "open" else f"({begin} {inner} /[ \\n]{{0,8}}/)?"
        return f"thought: {whole}\n{rule}\n"

    # --- looking

    def _check(self, schema: Any, field: str) -> None:
        """See that a schema can be held to by itself.

        Raises:
            InvalidInput: It cannot; names the place.
        """
        _require_bounds(schema, field)
        if isinstance(schema, bool):
            return
        looks = [_MOST_LOOKS]
        if error := self._error(schema):
            place, error = self._place(schema, schema, field, error, looks)
            raise InvalidInput(f"The schema cannot be held to: {error}", hint=_HINT, field=place)

    def _error(self, schema: Any) -> str:
        grammar = self._library.LLMatcher.grammar_from_json_schema(schema, overrides=_OPTIONS)
        return _first_line(self._library.LLMatcher.validate_grammar(grammar, self._tokenizer))

    def _place(
        self, whole: dict[str, Any], part: dict[str, Any], place: str, error: str, looks: list[int]
    ) -> tuple[str, str]:
        """The innermost part of a schema that cannot be held to, and why."""
        for name, inner in _parts(part):
            looks[0] -= 1
            if looks[0] < 0:
                break
            alone = {
                **{key: whole[key] for key in ("$defs", "definitions") if key in whole and part is not whole},
                **inner,
            }
            if found := self._error(alone):
                return self._place(whole, inner, f"{place}.{name}", found, looks)
        return place, error

    def _tried(self, lark: str, field: str) -> str:
        """A grammar that was begun and went on for some tokens: what is too much for the library is seen there.

        Raises:
            InvalidInput: It is.
        """
        grammar: str = self._library.LLMatcher.grammar_from_lark(lark)
        matcher = self._library.LLMatcher(self._tokenizer, grammar, log_level=0)
        for step in range(_STEPS):
            if matcher.is_error() or matcher.is_stopped():
                break
            allowed = _bits(matcher.compute_bitmask())
            if not allowed:
                break
            matcher.consume_token(allowed[(step * 7919) % len(allowed)])
        if matcher.is_error():
            raise InvalidInput(
                f"The schema is too much to hold an answer to: {_first_line(matcher.get_error())}",
                hint=_HINT,
                field=field,
            )
        return grammar


def _bits(mask: bytes) -> list[int]:
    """The first tokens that a mask allows."""
    found: list[int] = []
    for place, byte in enumerate(mask):
        if byte:
            found += [place * 8 + bit for bit in range(8) if byte >> bit & 1]
            if len(found) >= 64:
                break
    return found


def _literal(text: str) -> str:
    return json.dumps(text)


def _json(schema: Any) -> str:
    text = {**schema, "x-guidance": _OPTIONS} if isinstance(schema, dict) else schema
    return f"%json {json.dumps(text)}"


def _parts(schema: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The schemas inside of one, with their places."""
    for key in ("properties", "patternProperties", "$defs", "definitions"):
        held = schema.get(key)
        for name, inner in held.items() if isinstance(held, dict) else ():
            if isinstance(inner, dict):
                yield f"{key}.{name}", inner
    for key in ("anyOf", "oneOf", "allOf", "prefixItems"):
        held = schema.get(key)
        for number, inner in enumerate(held if isinstance(held, list) else ()):
            if isinstance(inner, dict):
                yield f"{key}[{number}]", inner
    for key in ("items", "additionalProperties"):
        if isinstance(schema.get(key), dict):
            yield key, schema[key]


def _require_bounds(schema: Any, field: str) -> None:
    """See that a schema is no larger and no deeper than what is read.

    Raises:
        InvalidInput: It is.
    """
    if not isinstance(schema, dict | bool):
        raise InvalidInput("A JSON schema is an object.", field=field)
    waiting: list[tuple[Any, int, str]] = [(schema, 1, field)]
    while waiting:
        value, depth, place = waiting.pop()
        if depth > MAX_DEPTH:
            raise InvalidInput(
                f"The schema is more than {MAX_DEPTH} levels deep.",
                hint="Name its parts in `$defs`.",
                field=field,
            )
        if isinstance(value, dict):
            held = value.get("properties")
            if isinstance(held, dict) and len(held) > MAX_PROPERTIES:
                raise InvalidInput(
                    f"An object has {len(held)} properties; {MAX_PROPERTIES} can be held to.", field=place
                )
            waiting += [(inner, depth + 1, f"{place}.{name}"[:200]) for name, inner in value.items()]
        elif isinstance(value, list):
            waiting += [(inner, depth + 1, place) for inner in value]
    if len(json.dumps(schema)) > MAX_SCHEMA_BYTES:
        raise InvalidInput(f"The schema is larger than {MAX_SCHEMA_BYTES} bytes.", field=field)


def _first_line(text: str) -> str:
    return text.strip().split("\n", 1)[0][:300]
