"""Instruction checks: what an answer must be by its question, and a program can tell for certain.

A check is a text: `words<=50`, `contains:apple`, `json`. In the manner of IFEval (Zhou et al. 2023), in our own words
and for both languages: a Chinese character is a word, `。` ends a sentence, `，` is a comma. Knows texts alone.
"""

import json
import operator
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field

from tunesmith.errors import InvalidInput, shortened
from tunesmith.evaluation.scores.text import (
    HAN,
    HANGUL,
    KANA,
    bullets,
    joined,
    numbered,
    occurrences,
    paragraphs,
    sentences,
    units,
    without_fence,
)
from tunesmith.spec.problems import did_you_mean

MOST_CHARACTERS = 300
"""How long a check may be."""
MOST_CHECKS = 50
_COMPARE: Mapping[str, Callable[[int, int], bool]] = {
    "<=": operator.le, ">=": operator.ge, "==": operator.eq, "=": operator.eq, "<": operator.lt, ">": operator.gt,
}  # fmt: skip
_COUNTED = re.compile(r"([a-z_]+)\s*(<=|>=|==|=|<|>)\s*(\d{1,6})")
_TOLD = re.compile(r"(.*?)\s*(<=|>=|==|=|<|>)\s*(\d{1,6})", re.DOTALL)
_LANGUAGE = re.compile(r"language\s*=\s*([a-zA-Z-]{2,10})")
_QUOTES = (('"', '"'), ("“", "”"), ("「", "」"), ("『", "』"), ("«", "»"), ("＂", "＂"))


def _is_json(text: str) -> bool:
    inside = without_fence(text)  # a fence around it is how models show JSON; IFEval strips it too
    try:
        json.loads(text if inside is None else inside)
    except (ValueError, RecursionError):
        return False
    return True


_COUNTS: Mapping[str, Callable[[str], int]] = {
    "words": lambda text: len(units(text)),
    "characters": lambda text: len("".join(text.split())),
    "sentences": lambda text: len(sentences(text)),
    "paragraphs": lambda text: len(paragraphs(text)),
    "lines": lambda text: sum(bool(line.strip()) for line in text.splitlines()),
    "bullets": bullets,
    "numbered": numbered,
    "placeholders": lambda text: len(re.findall(r"\[[^\[\]\n]{1,80}\]|【[^【】\n]{1,80}】", text)),
    "highlights": lambda text: len(re.findall(r"\*\*[^*\n]+\*\*|(?<![*\w])\*[^*\s][^*\n]*\*(?!\*)", text)),
}
"""What is counted. Words: also characters of scripts without spaces. Characters: without spaces."""
_FLAGS: Mapping[str, Callable[[str], bool]] = {
    "json": _is_json,
    "lowercase": lambda text: text == text.lower() and text != text.upper(),
    "uppercase": lambda text: text == text.upper() and text != text.lower(),
    "no_commas": lambda text: not re.search("[,，﹐､]", text),
    "title": lambda text: (
        re.search(r"<<[^<>\n]+>>|《[^《》\n]+》|^#{1,6}[ \t]++\S", text, re.MULTILINE) is not None
    ),
    "quoted": lambda text: any(
        len(text.strip()) > 2 and text.strip().startswith(begin) and text.strip().endswith(end)
        for begin, end in _QUOTES
    ),
}
_WORDS: Mapping[str, Callable[[str, str], bool]] = {
    "contains": lambda text, word: occurrences(text, word) > 0,
    "not_contains": lambda text, word: occurrences(text, word) == 0,
    "starts": lambda text, word: joined(text).startswith(joined(word)),
    "ends": lambda text, word: joined(text).endswith(joined(word)),
}
_LANGUAGES = ("en", "zh", "ja", "ko")
NAMES = (*_COUNTS, *_FLAGS, *_WORDS, "count", "language")
"""Every name that a check may begin with."""


@dataclass(frozen=True)
class Check:
    """A check that can be made: its text, and whether an answer passes it."""

    text: str
    passes: Callable[[str], bool] = field(compare=False, repr=False)


def parse_check(text: str, scorers: Collection[str] = ()) -> Check | None:
    """The check that a text names; None where it names a custom scorer, which is asked elsewhere.

    - `words<=50`, also `characters`, `sentences`, `paragraphs`, `lines`, `bullets`, `numbered`, `placeholders`
      (`[name]`), `highlights` (`*so*`), with `<=`, `>=`, `<`, `>` or `=`
    - `contains:WORD`, `not_contains:WORD`, `count:WORD>=2`, `starts:WORDS`, `ends:WORDS`: capitals and wide forms do
      not count, a Latin word is meant whole
    - `json` (nothing else, but a code block around it), `lowercase`, `uppercase`, `no_commas`, `title` (`<<so>>`,
      `《so》` or a heading), `quoted`
    - `language=en`, `zh`, `ja` or `ko`: by the share of scripts; `en` is any language in Latin letters

    Args:
        text: As a sample has it.
        scorers: Names of custom scorers, which may stand there too.

    Raises:
        InvalidInput: There is no such check, or it is not complete.
    """
    bare = text.strip()
    if bare in scorers:
        return None
    if not bare or len(bare) > MOST_CHARACTERS:
        raise InvalidInput(
            f"A check has 1 to {MOST_CHARACTERS} characters, but here it has {len(bare)}.", hint=_HINT
        )
    if bare in _FLAGS:
        return Check(bare, _FLAGS[bare])
    if counted := _COUNTED.fullmatch(bare):
        name, sign, number = counted.groups()
        if name in _COUNTS:
            count, compare, bound = _COUNTS[name], _COMPARE[sign], int(number)
            return Check(bare, lambda answer: compare(count(answer), bound))
    if language := _LANGUAGE.fullmatch(bare):
        wanted = language[1].lower().split("-")[0]
        if wanted in _LANGUAGES:
            return Check(bare, lambda answer: script_of(answer) == wanted)
        raise InvalidInput(
            f"The language of `{shortened(bare)}` cannot be told.", hint=f"Known: {', '.join(_LANGUAGES)}."
        )
    name, colon, rest = bare.partition(":")
    word = rest.strip()
    if colon and name in _WORDS and joined(word):
        told = _WORDS[name]
        return Check(bare, lambda answer: told(answer, word))
    if colon and name == "count" and (parts := _TOLD.fullmatch(word)) and joined(parts[1]):
        sought, compare, bound = parts[1], _COMPARE[parts[2]], int(parts[3])
        return Check(bare, lambda answer: compare(occurrences(answer, sought), bound))
    raise _unknown(bare, scorers)


def parse_checks(texts: Sequence[str], scorers: Collection[str] = ()) -> list[Check]:
    """The checks that texts name, without the custom scorers among them.

    Raises:
        InvalidInput: There is no such check, or there are too many.
    """
    if len(texts) > MOST_CHECKS:
        raise InvalidInput(f"A sample has at most {MOST_CHECKS} checks, but here it has {len(texts)}.")
    return [check for text in texts if (check := parse_check(text, scorers)) is not None]


def passed(answer: str, checks: Sequence[Check]) -> float:
    """The share of a sample's checks that its answer passes. Higher is better.

    passed / all. Range [0, 1]; an empty answer passes none. Source: IFEval (Zhou et al. 2023), its strict accuracy.

    Raises:
        ValueError: There is no check.
    """
    if not checks:
        raise ValueError("There is no check.")
    return sum(check.passes(answer) for check in checks) / len(checks) if answer.strip() else 0.0


def script_of(text: str) -> str | None:
    """The language that a text's script tells: `zh`, `ja`, `ko`, or `en` for Latin letters; None without letters.

    More than half of its units decide; units in Latin letters count a half beside Chinese characters, for a word is
    about two of them. Kana beyond a tenth of the unspaced characters make it Japanese.
    """
    found = [unit for unit in units(text) if not unit.isdigit()]
    kana = sum(re.match(f"[{KANA}]", unit) is not None for unit in found)
    han = sum(re.match(f"[{HAN}]", unit) is not None for unit in found)
    hangul = sum(len(unit) for unit in found if re.match(f"[{HANGUL}]", unit))
    latin = sum(2 for unit in found if re.match(r"[a-z\u00df-\u024f]", unit))
    every = kana + han + hangul + 2 * (len(found) - kana - han) if not hangul else kana + han + hangul + latin
    if not every:
        return None
    if 2 * hangul > every:
        return "ko"
    if 2 * (kana + han) > every:
        return "ja" if 10 * kana > kana + han else "zh"
    return "en" if 2 * latin > every else None


_HINT = f"Checks begin with: {', '.join(NAMES)}. For example `words<=50`, `contains:apple`, `json`."


def _unknown(text: str, scorers: Collection[str]) -> InvalidInput:
    begin = re.match(r"[a-z_]*", text.lower())
    meant = did_you_mean(begin[0] if begin else "", [*NAMES, *scorers])
    return InvalidInput(
        f"There is no check `{shortened(text)}`.", hint=f"Did you mean `{meant}`? {_HINT}" if meant else _HINT
    )
