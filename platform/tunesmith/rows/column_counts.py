"""What the columns of a file hold, as counts: which say anything, scores, words that judge or stand for nothing.

Counts of parts add up to those of the whole. Knows names and values of columns, and a shape that reads some of them.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Any

from tunesmith.dataset_views import Finding
from tunesmith.rows.columns import PLACEHOLDERS, is_filled, is_reasoning, plain_name
from tunesmith.rows.files.decoding import Row
from tunesmith.rows.shapes import Shape
from tunesmith.rows.verdicts import SCORES, may_judge, said_of_turn

_MOST_NAMES = 200
NAMED = 12
"""Columns that are named of one cause."""
_TURNS_SEEN = 6
_KEYS_SEEN = 20
_WORD = 20
"""Characters of the longest word that is looked up."""
_BETWEEN = "\t"
_TURN = frozenset(
    ("role", "content", "from", "value", "text", "weight", "name", "tool_calls", "tool_call_id", "function_call",
     "reasoning", "reasoning_content", "thinking", "train", "loss", "trainable", "loss_weight", "tool_call",
     "function_calls", "tools")
)  # fmt: skip
"""The keys of a turn that are read."""


class ColumnCounts:
    """Counts of what stands in the columns of rows that can be trained on."""

    def __init__(self) -> None:
        self._rows = 0
        self._filled: Counter[str] = Counter()
        """Rows in which a column says anything."""
        self._ranges: dict[str, tuple[float, float]] = {}
        self._words: Counter[str] = Counter()
        """Rows in which a column holds nothing but a word that judges, or stands for nothing."""

    def take(self, row: Row) -> None:
        """Count a row."""
        self._rows += 1
        filled = self._filled
        for name, value in row.items():
            if value.__class__ is list and value and value[0].__class__ is dict:
                filled[name] += 1
                if "role" in value[0] or "from" in value[0]:
                    self._look_at_turns(name, value)
            elif is_filled(value):
                if filled[name] == 0 and len(filled) > _MOST_NAMES:
                    del filled[name]
                    continue
                filled[name] += 1
                if value.__class__ in (int, float) or name in self._ranges:
                    self._range(name, value)
                elif value.__class__ is bool or (value.__class__ is str and len(value) < _WORD):
                    self._word(name, plain_name(str(value)))
                elif value.__class__ is dict:
                    self._look_into(name, value)

    def _look_into(self, column: str, value: dict[str, Any]) -> None:
        """Words that judge may stand in an object too: `meta: {"label": false}`."""
        for key, said in islice(value.items(), _KEYS_SEEN):
            if said.__class__ not in (bool, int, str) or (said.__class__ is str and len(said) >= _WORD):
                continue
            name, word = f"{column}.{str(key)[:40]}", plain_name(str(said))
            if _may_judge(name, word) is not None and len(self._filled) < _MOST_NAMES:
                self._filled[name] += 1
                self._word(name, word)

    def _word(self, name: str, word: str) -> None:
        if word in PLACEHOLDERS or _may_judge(name, word) is not None:
            key = f"{name}{_BETWEEN}{word}"
            if key in self._words or len(self._words) < _MOST_NAMES:
                self._words[key] += 1

    def _look_at_turns(self, column: str, turns: list[Any]) -> None:
        others = {
            key
            for turn in turns[:_TURNS_SEEN]
            if turn.__class__ is dict and len(turn) > 2
            for key, value in turn.items()
            if key not in _TURN and is_filled(value) and said_of_turn(str(key), value) is None
        }
        for key in others:
            if len(self._filled) < _MOST_NAMES:
                self._filled[f"{column}[].{str(key)[:40]}"] += 1

    def _range(self, name: str, value: Any) -> None:
        if value.__class__ in (int, float) and plain_name(name) in SCORES:
            low, high = self._ranges.get(name, (value, value))
            self._ranges[name] = (min(low, value), max(high, value))

    def as_json(self) -> dict[str, Any]:
        """It, for another process or a file."""
        return {
            "rows": self._rows, "filled": dict(self._filled), "ranges": self._ranges, "words": dict(self._words),
        }  # fmt: skip

    def add(self, other: Mapping[str, Any]) -> None:
        """Add what `as_json` said of further rows of the file."""
        self._rows += other["rows"]
        for counter, name in ((self._filled, "filled"), (self._words, "words")):
            for key, count in other[name].items():
                if key in counter or len(counter) < _MOST_NAMES:
                    counter[key] += count
        for key, (low, high) in other["ranges"].items():
            known = self._ranges.get(key, (low, high))
            self._ranges[key] = (min(low, known[0]), max(high, known[1]))

    def findings(self, shape: Shape, training_type: str) -> Iterable[Finding]:
        """What is to be said of the columns, the most serious first."""
        read = shape.meaning(self._filled)
        columns = {
            name for name in self._filled if name.partition(".")[0] not in self._filled or "." not in name
        }
        unread = {name: count for name, count in self._filled.items() if name not in read and self._rows}
        shares = {
            name: f"`{name[:80]}` ({share_of(100 * count / self._rows)})" for name, count in unread.items()
        }
        plain = {name: plain_name(name.rpartition(".")[2]) for name in unread}

        def finding(code: str, names: list[str], message: str, hint: str) -> Finding:
            return Finding(
                code=code,
                message=message,
                hint=hint,
                count=max(unread[name] for name in names),
                rows=self._rows,
            )

        if shape.is_chat and (names := [name for name in unread if is_reasoning(plain[name])]):
            answer = shape.response or {canonical: actual for actual, canonical in shape.names}.get(
                "output", "output"
            )
            yield finding(
                "reasoning_not_read",
                names,
                f"Reasoning stands in a column of its own, {_listed(shares, names)} of the rows, which is not read: "
                "the answers are trained without it.",
                f"To train it, write it into the answer: `map` with the template "
                f"`<think>\\n{{{names[0]}}}\\n</think>\\n\\n{{{answer}}}`, or `reasoning_content` in each answer of "
                "`messages`.",
            )
        if shape.is_chat and (
            names := [name for name in unread if plain[name] in SCORES and name in columns]
        ):
            ranges = [
                f"`{name}` [{low:g}, {high:g}]" for name, (low, high) in self._ranges.items() if name in names
            ]
            yield finding(
                "scores_not_read",
                names,
                f"Scores are not read: {_listed(shares, names)} of the rows. Answers of a low score are trained like "
                f"the others{': ' + ', '.join(ranges) if ranges else ''}.",
                f"A `filter` keeps the good ones, such as `{names[0]} >= ...`.",
            )
        judging = [
            name
            for name in unread
            if shape.is_chat and (plain[name] not in SCORES or name not in columns) and self._judges(name)
        ]
        if judging:
            said = "; ".join(
                f"`{name[:80]}` ({self._shares_of(name, judges=True)})" for name in judging[:NAMED]
            )
            yield finding(
                "verdicts_not_read",
                judging,
                f"Columns may say which answers are bad ones, and are not read: {said}. Bad answers would be trained "
                "like the good ones.",
                f"If they do, leave the bad ones out: a `filter`, such as `{judging[0]} != ...`. Else nothing is to be "
                "done."
                if judging[0] in columns
                else "If they do, leave the bad ones out before: no `filter` looks into an object. Else nothing is to "
                "be done.",
            )
        yield from self._of_placeholders(read)
        if names := [
            name
            for name in unread
            if not shape.is_chat
            or not (plain[name] in SCORES or is_reasoning(plain[name]) or name in judging)
        ]:
            more = len(names) - NAMED
            yield finding(
                "columns_not_read",
                names,
                f"Columns that nobody reads, with the share of rows that fill them: {_listed(shares, names[:NAMED])}"
                f"{f', ... (+{more})' if more > 0 else ''}.",
                "Nothing is to be done where they are not to be learned. Else name what is: `prompt_column`, "
                "`response_column`, `system_column`, `text_column`."
                if training_type == "sft"
                else "Nothing is to be done where they are not to be learned.",
            )

    def _of_placeholders(self, read: Mapping[str, str]) -> Iterable[Finding]:
        names = [
            name for name, meaning in read.items() if meaning in ("assistant", "text") and self._said_by(name)
        ]
        told = {name: self._shares_of(name, judges=False) for name in names}
        if named := [name for name in names if told[name]]:
            counts = [
                count for name in named for word, count in self._said_by(name).items() if word in PLACEHOLDERS
            ]
            yield Finding(
                code="placeholders_trained",
                message="Texts that are trained say nothing but what stands for no text: "
                + "; ".join(f"`{name[:80]}` ({told[name]})" for name in named)
                + ".",
                hint="Where nothing was meant, leave such rows out with a `filter`; an answer of that word is fine.",
                count=sum(counts),
                rows=self._rows,
            )

    def _said_by(self, name: str) -> dict[str, int]:
        """The words that a column holds, with their counts."""
        begin = f"{name}{_BETWEEN}"
        return {key.removeprefix(begin): count for key, count in self._words.items() if key.startswith(begin)}

    def _judges(self, name: str) -> bool:
        """Whether nearly all that a column holds are words that judge, some of them good and some bad."""
        found = {word: _may_judge(name, word) for word in self._said_by(name)}
        judged = sum(count for word, count in self._said_by(name).items() if found[word] is not None)
        return {True, False} <= set(found.values()) and 10 * judged >= 9 * self._filled[name]

    def _shares_of(self, name: str, *, judges: bool) -> str:
        words = [
            (word, count)
            for word, count in self._said_by(name).items()
            if (_may_judge(name, word) is not None if judges else word in PLACEHOLDERS)
        ]
        words.sort(key=lambda one: -one[1])
        return ", ".join(f"`{word}` {share_of(100 * count / self._rows)}" for word, count in words[:NAMED])


def _may_judge(name: str, word: str) -> bool | None:
    """What a word says of an answer in a column, or under a key of an object."""
    return may_judge(name.rpartition(".")[2], word)


def _listed(shares: Mapping[str, str], names: Iterable[str]) -> str:
    return ", ".join(shares[name] for name in names)


def share_of(percent: float) -> str:
    """A share in words."""
    return "under 1 %" if 0 < percent < 1 else f"{percent:.0f} %"
