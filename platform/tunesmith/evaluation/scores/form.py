"""What an answer looks like beside the reference: keywords, form, length, repetition, coherence. Our own formulas.

Each docstring has the formula, the range and which way is better. Knows texts alone.
"""

import json
import re
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from tunesmith.evaluation.scores.text import (
    bullets,
    figures,
    is_ended,
    is_unspaced,
    joined,
    names,
    numbered,
    paragraphs,
    sentences,
    units,
    unspaced_share,
    without_fence,
    without_numbers,
)

MOST_KEYWORDS = 20
ONE_SENTENCE = "A single sentence has no coherence."
GRAM = 4
"""How many units in a row count as repeated."""
_WORDS = (
    "a about above after again all also am an and any are as at be because been before being below "
    "between both but by can could did do does doing down during each few for from further had has have "
    "having he her here hers him his how i if in into is it its just may me might more most must my of "
    "off on once only or other our out over own same she should so some such than that the their them "
    "then there these they this those through to too under until up us very was we were what when where "
    "which while who whom why will with would you your yours s t d ll m re ve"
)
_STOP_WORDS = frozenset(_WORDS.split())
"""English words that say nothing by themselves; `no` and `not` do."""
_STOP_CHARACTERS = frozenset(
    "的了是在和与及或也就把被让吗呢吧啊呀哦嗯这那此你我他她它们而且但并则與這個們還嗎"
)
"""Characters at which a Chinese text is parted into words, roughly: particles, pronouns and the like."""
_TEMPLATE_MARKS = re.compile(
    r"<\|[^|>\n]{1,40}\|>|</?s>|<pad>|<unk>|\[/?INST\]|<</?SYS>>|<(?:start|end)_of_turn>|\ufffd"
    r"|^[ \t]*+(?:#{2,3} ?(?:Instruction|Response|Input|Human|Assistant)|USER|ASSISTANT|Human|Assistant|User)[ \t]*+:",
    re.MULTILINE,
)
_CODE = re.compile(r"^[ \t]*+```", re.MULTILINE)
_HEADING = re.compile(r"^[ \t]*+#{1,6}[ \t]++\S", re.MULTILINE)


def keywords_of(reference: str) -> tuple[str, ...]:
    """What an answer must name, taken from the reference: its words that say something, at most 20.

    English: words but the common ones. Chinese: what stands between particles, in pairs of characters, so that no
    segmenter is needed; a character that stands alone counts only where there is nothing else. Numbers come first,
    then what is more frequent, longer, earlier. Where nothing is left, all units.
    """
    counted: Counter[str] = Counter()
    single: dict[str, None] = {}
    run: list[str] = []
    text = without_numbers(reference)
    found = units(text)
    for unit in [*found, ""]:
        if unit and is_unspaced(unit) and unit not in _STOP_CHARACTERS:
            run.append(unit)
            continue
        if len(run) == 1:
            single[run[0]] = None
        counted.update("".join(pair) for pair in pairwise(run))
        run = []
        if len(unit) > 1 and not unit.isdigit() and unit not in _STOP_WORDS and not is_unspaced(unit):
            counted[unit] += 1
    numbers = dict.fromkeys(figures(text))
    first = {word: place for place, word in enumerate(counted)}
    ranked = sorted(counted, key=lambda word: (-counted[word], -len(word), first[word]))
    return tuple([*numbers, *ranked] or single or dict.fromkeys(found))[:MOST_KEYWORDS]


def keyword_coverage(answer: str, keywords: Sequence[str]) -> float:
    """The share of keywords that the answer names. Higher is better.

    named / all, each keyword once. Range [0, 1]. A Latin keyword counts as a whole word, a Chinese one anywhere;
    capitals and wide forms do not count. Source: our own; recall of content words.
    """
    sought = {joined(word): word for word in keywords if joined(word)}
    return sum(names(answer, word) for word in sought.values()) / len(sought) if sought else 0.0


def format_match(answer: str, reference: str) -> float:
    """Whether the answer has the form of the reference. Higher is better.

    Where the reference is JSON: 0.4 for an answer that is JSON (0.2 in a code block), and 0.6 times the share of names
    (or the agreement of types) at its top, halved likewise. Else the mean of four parts, each in [0, 1]:
    *structure*, over the marks that either side has (bullets, numbers, code, table, headings, paragraphs): the smaller
    count / the larger; 1 where there is none. *Script*: 1 - the difference of the shares of unspaced characters.
    *Ending*: 1 where both end a sentence, or neither. *Clean*: 0 where the answer holds a chat template's marks
    that the reference has not. Range [0, 1]; an empty answer has 0. Source: our own.
    """
    if not answer.strip():
        return float(not reference.strip())
    expected = _json_of(reference)
    if isinstance(expected, dict | list):
        return _json_match(answer, expected)
    clean = float(not _TEMPLATE_MARKS.search(answer) or _TEMPLATE_MARKS.search(reference) is not None)
    script = 1 - abs(unspaced_share(answer) - unspaced_share(reference))
    ending = float(is_ended(answer) == is_ended(reference))
    return (_structure(answer, reference) + script + ending + clean) / 4


def length_ratio(answer: str, reference: str) -> float:
    """How near the answer's length is to the reference's. Higher is better.

    min(a, r) / max(a, r), in units: words, or characters of scripts without spaces. Range [0, 1]; 1 where both are
    equally long, 0.5 at half or twice the length. Source: our own.
    """
    ours, theirs = len(units(answer)), len(units(reference))
    return min(ours, theirs) / max(ours, theirs) if ours or theirs else 1.0


def repetition(answer: str) -> float:
    """The share of runs of four units that stand in the answer before. Lower is better.

    1 - different runs / all runs. Range [0, 1); 0 where nothing is repeated or the answer has fewer than four units.
    Source: Welleck et al. 2019 (seq-rep-4), over words and characters instead of a model's tokens.
    """
    found = units(answer)
    grams = [tuple(found[at : at + GRAM]) for at in range(len(found) - GRAM + 1)]
    return 1 - len(set(grams)) / len(grams) if grams else 0.0


def neighbours(answer: str) -> list[tuple[str, str]]:
    """The pairs of neighbouring sentences whose similarity is an answer's coherence."""
    return list(pairwise(sentences(answer)))


def coherence(similarities: Sequence[float]) -> float:
    """The mean similarity of neighbouring sentences. Higher is better, to a point: repetition has 1.

    Range [0, 1]. Source: our own; there is no agreed formula, so it has no weight in the composite
    unless you give it one.

    Args:
        similarities: Of each of `neighbours`, from an embedder.

    Raises:
        ValueError: There is none: the answer is a single sentence.
    """
    if not similarities:
        raise ValueError(ONE_SENTENCE)
    return sum(similarities) / len(similarities)


def _structure(answer: str, reference: str) -> float:
    shares = []
    for count in (
        bullets,
        numbered,
        lambda text: len(_CODE.findall(text)) // 2 or len(_CODE.findall(text)),
        lambda text: sum(map(_is_table_rule, text.splitlines())),
        lambda text: len(_HEADING.findall(text)),
        lambda text: len(paragraphs(text)) - 1,
    ):
        ours, theirs = count(answer), count(reference)
        if ours or theirs:
            shares.append(min(ours, theirs) / max(ours, theirs))
    return sum(shares) / len(shares) if shares else 1.0


def _is_table_rule(line: str) -> bool:
    return "--" in line and "|" in line and set(line) <= set(" \t:|-")


def _json_of(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _json_match(answer: str, expected: dict[str, Any] | list[Any]) -> float:
    inside = without_fence(answer)
    found = _json_of(answer if inside is None else inside)
    if not isinstance(found, dict | list):
        return 0.0
    fits = float(type(found) is type(expected))
    if isinstance(found, dict) and isinstance(expected, dict) and (found or expected):
        fits = len(found.keys() & expected.keys()) / len(found.keys() | expected.keys())
    return (0.4 + 0.6 * fits) * (1.0 if inside is None else 0.5)
