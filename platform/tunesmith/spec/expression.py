"""Conditions over the columns of a row: `len(text) > 10 and label in ["a", "b"]`. Parsed by our own parser, never run.

Knows the language and its bounds; knows nothing of files. What it offers:

- columns by their name, or in backquotes where the name is no word: `score`, `` `user input` ``
- numbers, texts in either quotes, `true`, `false`, `null`, lists `[1, 2]`
- `==`, `!=`, `<`, `<=`, `>`, `>=`, `in`, `not in`, `contains`, `starts_with`, `ends_with`
- `and`, `or`, `not`, brackets; `len(x)` (characters, items; 0 of null), `lower(x)`, `strip(x)`
"""

import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from tunesmith.errors import InvalidInput
from tunesmith.row_problem import RowProblem
from tunesmith.spec.problems import did_you_mean

MAX_CHARACTERS = 4000
_MAX_DEPTH = 40
_TOKEN = re.compile(
    r"\s*(?:(?P<number>\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)|(?P<text>\"(?:[^\"\\]|\\.)*\"|'(?:[^'\\]|\\.)*')"
    r"|(?P<quoted>`[^`]+`)|(?P<word>[^\W\d]\w*)|(?P<sign>==|!=|<=|>=|[<>()\[\],-]))"
)
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "\\": "\\", "'": "'", '"': '"'}
_CONSTANTS: dict[str, Any] = {"true": True, "false": False, "null": None}
_KEYWORDS = frozenset({"and", "or", "not", "in", "contains", "starts_with", "ends_with", *_CONSTANTS})
_COMPARISONS = frozenset({"==", "!=", "<", "<=", ">", ">=", "in", "contains", "starts_with", "ends_with"})

_Value = Callable[[Mapping[str, Any]], Any]


class Condition(NamedTuple):
    """A condition that was understood."""

    text: str
    columns: tuple[str, ...]
    """The columns that it reads, each once."""
    decide: _Value

    def holds(self, row: Mapping[str, Any]) -> bool:
        """Whether it is true of a row.

        Raises:
            RowProblem: A value cannot be compared so.
        """
        return bool(self.decide(row))


class _Token(NamedTuple):
    kind: str
    text: str
    at: int


def parse_condition(text: str) -> Condition:
    """Understand a condition.

    Raises:
        InvalidInput: It is none; with the place and what was expected.
    """
    if len(text) > MAX_CHARACTERS:
        raise InvalidInput(
            f"A condition has at most {MAX_CHARACTERS} characters.", hint="Filter in two steps."
        )
    parser = _Parser(text)
    decide = parser.whole()
    return Condition(text, tuple(parser.columns), decide)


class _Parser:
    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens = self._split()
        self._next = 0
        self._depth = 0
        self.columns: dict[str, None] = {}

    def _split(self) -> list[_Token]:
        found: list[_Token] = []
        at, end = 0, len(self._text.rstrip())
        while at < end:
            match = _TOKEN.match(self._text, at)
            if match is None:
                at += len(self._text[at:]) - len(self._text[at:].lstrip())
                hint = "Use `==` to compare." if self._text[at] == "=" else None
                raise self._error(f"`{self._text[at]}` means nothing here", at, hint)
            kind = str(match.lastgroup)
            found.append(_Token(kind, match.group(kind), match.start(kind)))
            at = match.end()
        return [*found, _Token("end", "", end)]

    def _error(self, what: str, at: int, hint: str | None = None) -> InvalidInput:
        return InvalidInput(
            f"The condition is not understood at character {at + 1}: {what}.",
            hint=hint or 'A condition reads as `len(text) > 10 and label in ["a", "b"]`.',
        )

    @property
    def _token(self) -> _Token:
        return self._tokens[self._next]

    def _take(self, *texts: str) -> bool:
        """Step over the next token if it is one of these words or signs."""
        if self._token.kind in ("word", "sign") and self._token.text in texts:
            self._next += 1
            return True
        return False

    def _expect(self, text: str) -> None:
        if not self._take(text):
            raise self._error(f"`{text}` is missing", self._token.at)

    def whole(self) -> _Value:
        found = self._either()
        if self._token.kind != "end":
            word = self._token.text
            meant = did_you_mean(word, sorted(_KEYWORDS)) if self._token.kind == "word" else None
            raise self._error(
                f"nothing more was expected than what is before `{word}`",
                self._token.at,
                f"Did you mean `{meant}`?" if meant else None,
            )
        return found

    def _either(self) -> _Value:
        found = [self._both()]
        while self._take("or"):
            found.append(self._both())
        return found[0] if len(found) == 1 else lambda row: any(part(row) for part in found)

    def _both(self) -> _Value:
        found = [self._negation()]
        while self._take("and"):
            found.append(self._negation())
        return found[0] if len(found) == 1 else lambda row: all(part(row) for part in found)

    def _negation(self) -> _Value:
        negated = False
        while self._take("not"):
            negated = not negated
        found = self._comparison()
        return _not(found) if negated else found

    def _comparison(self) -> _Value:
        left = self._operand()
        negated = self._take("not")
        sign = self._token.text
        if negated and sign not in {"in", "contains", "starts_with", "ends_with"}:
            raise self._error("`in`, `contains`, `starts_with` or `ends_with` is missing", self._token.at)
        if self._token.kind not in ("sign", "word") or sign not in _COMPARISONS:
            return left
        self._next += 1
        compared = _compare(sign, left, self._operand())
        return _not(compared) if negated else compared

    def _operand(self) -> _Value:
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            raise self._error("it is nested too deeply", self._token.at)
        found = self._value()
        self._depth -= 1
        return found

    def _value(self) -> _Value:
        token = self._token
        self._next += 1
        match token.kind:
            case "number":
                return _constant(_number(token.text))
            case "text":
                return _constant(_unescaped(token.text[1:-1]))
            case "quoted":
                return self._column(token.text[1:-1])
            case "word" if token.text in _CONSTANTS:
                return _constant(_CONSTANTS[token.text])
            case "word" if token.text not in _KEYWORDS:
                if not self._take("("):
                    return self._column(token.text)
                if token.text not in _FUNCTIONS:
                    meant = did_you_mean(token.text, list(_FUNCTIONS))
                    hint = f"Did you mean `{meant}`?" if meant else f"There are {_listed(_FUNCTIONS)}."
                    raise self._error(f"there is no function `{token.text}`", token.at, hint)
                inner = self._operand()
                self._expect(")")
                return _call(token.text, inner)
            case "sign" if token.text == "(":
                inner = self._either()
                self._expect(")")
                return inner
            case "sign" if token.text == "-" and self._token.kind == "number":
                self._next += 1
                return _constant(-_number(self._tokens[self._next - 1].text))
            case "sign" if token.text == "[":
                return self._list()
        self._next -= 1
        found = f"`{token.text}` stands" if token.text else "it ends"
        raise self._error(f"{found} where a column or a value was expected", token.at)

    def _list(self) -> _Value:
        items: list[_Value] = []
        while not self._take("]"):
            if items:
                self._expect(",")
            items.append(self._operand())
        return lambda row: [item(row) for item in items]

    def _column(self, name: str) -> _Value:
        self.columns[name] = None

        def read(row: Mapping[str, Any]) -> Any:
            if name not in row:
                meant = did_you_mean(name, list(row))
                raise RowProblem(
                    f"The row has no column `{name}`.",
                    f"Did you mean `{meant}`?" if meant else f"It has {_listed(row)}.",
                )
            return row[name]

        return read


def _listed(names: Any) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _number(text: str) -> int | float:
    return int(text) if text.isdigit() else float(text)


def _unescaped(text: str) -> str:
    return re.sub(r"\\(.)", lambda match: _ESCAPES.get(match[1], match[0]), text, flags=re.DOTALL)


def _constant(value: Any) -> _Value:
    return lambda _row: value


def _not(inner: _Value) -> _Value:
    return lambda row: not inner(row)


def _length(value: Any) -> int:
    if value is None:
        return 0
    if not isinstance(value, str | list | dict):
        raise RowProblem(f"`len` of {_kind(value)} means nothing.", "Measure a text or a list.")
    return len(value)


def _of_text(name: str, work: Callable[[str], str]) -> Callable[[Any], str | None]:
    def call(value: Any) -> str | None:
        if value is None:
            return None
        if not isinstance(value, str):
            raise RowProblem(f"`{name}` of {_kind(value)} means nothing.", "Give it a text.")
        return work(value)

    return call


_FUNCTIONS: dict[str, Callable[[Any], Any]] = {
    "len": _length,
    "lower": _of_text("lower", str.lower),
    "strip": _of_text("strip", str.strip),
}


def _call(name: str, inner: _Value) -> _Value:
    work = _FUNCTIONS[name]
    return lambda row: work(inner(row))


def _compare(sign: str, left: _Value, right: _Value) -> _Value:
    return lambda row: _compared(sign, left(row), right(row))


def _compared(sign: str, a: Any, b: Any) -> bool:
    if sign == "==":
        return bool(a == b)
    if sign == "!=":
        return bool(a != b)
    if sign == "in":
        return _holds(b, a)
    if sign == "contains":
        return _holds(a, b)
    if a is None or b is None:
        return False  # nothing is neither less nor more
    if sign in ("starts_with", "ends_with"):
        if not (isinstance(a, str) and isinstance(b, str)):
            raise RowProblem(f"`{sign}` compares texts, not {_kind(a)} with {_kind(b)}.")
        return a.startswith(b) if sign == "starts_with" else a.endswith(b)
    if not (_is_number(a) and _is_number(b)) and not (isinstance(a, str) and isinstance(b, str)):
        raise RowProblem(
            f"{_kind(a)} and {_kind(b)} have no order, so `{sign}` means nothing.".capitalize(),
            "Compare numbers with numbers, texts with texts.",
        )
    if sign == "<":
        return bool(a < b)
    if sign == "<=":
        return bool(a <= b)
    return bool(a > b) if sign == ">" else bool(a >= b)


def _holds(whole: Any, part: Any) -> bool:
    if whole is None:
        return False
    if isinstance(whole, str):
        if part is None:
            return False
        if not isinstance(part, str):
            raise RowProblem(f"A text holds texts, not {_kind(part)}.")
        return part in whole
    if isinstance(whole, dict):
        return isinstance(part, str) and part in whole
    if not isinstance(whole, list):
        raise RowProblem(f"{_kind(whole)} holds nothing.".capitalize(), "Look into a text or a list.")
    return part in whole


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _kind(value: Any) -> str:
    if value is None:
        return "null"
    names = {bool: "a boolean", str: "a text", list: "a list", dict: "an object"}
    return names.get(type(value), "a number")
