"""What an answer has in common with the reference: ROUGE-L, exact match, token F1. Knows texts alone."""

import re
import string
import unicodedata
from collections import Counter
from collections.abc import Sequence

from tunesmith.evaluation.scores.text import MOST_UNITS, UNSPACED, units

_ARTICLES = re.compile(r"\b(?:a|an|the)\b")
_PIECE = re.compile(rf"[{UNSPACED}]|[^{UNSPACED}]+")


def rouge_l(answer: str, reference: str) -> float:
    """ROUGE-L's F: the longest common subsequence of units, against both lengths. Higher is better.

    F = 2 P R / (P + R), P = LCS / units of the answer, R = LCS / units of the reference. Range [0, 1]; 0 where a side
    has no unit. Source: Lin 2004, as `rouge-score` 0.1.2 computes `rougeL` without stemming, equal to it on ASCII.
    That package throws all other characters away, so that equal Chinese sentences have 0 there; here a character is a
    unit.
    """
    ours, theirs = units(answer), units(reference)
    common = _longest_common(ours, theirs)
    if not common:
        return 0.0
    precision, recall = common / len(ours), common / len(theirs)
    return 2 * precision * recall / (precision + recall)


def exact_match(answer: str, reference: str) -> float:
    """1 where the answer is the reference but for capitals, punctuation, articles and spaces, else 0.

    Source: SQuAD 1.1's evaluation script, equal to it on ASCII texts. Punctuation of every script counts as such, and
    so do spaces between Chinese characters. One difference: what is but an article (the answer `A`) stays; there it
    equals an empty answer.
    """
    return float(squad_tokens(answer) == squad_tokens(reference))


def token_f1(answer: str, reference: str) -> float:
    """F1 of the tokens that both sides have, each as often as it stands in both. Higher is better.

    F1 = 2 P R / (P + R), P and R the shared tokens' share of the answer's and of the reference's. Range [0, 1]; where a
    side has no token, 1 if both have none, else 0. Source: SQuAD 1.1's evaluation script, equal to it on ASCII texts;
    a Chinese character is a token (as in MLQA's and CMRC's scripts).
    """
    ours, theirs = squad_tokens(answer), squad_tokens(reference)
    if not ours or not theirs:
        return float(ours == theirs)
    common = sum((Counter(ours) & Counter(theirs)).values())
    if not common:
        return 0.0
    precision, recall = common / len(ours), common / len(theirs)
    return 2 * precision * recall / (precision + recall)


def squad_tokens(text: str) -> list[str]:
    """A text's tokens as SQuAD normalises them: small letters, no punctuation, no articles; Chinese by character."""
    small = unicodedata.normalize("NFKC", text).lower()
    bare = "".join(
        sign
        for sign in small
        if sign not in string.punctuation and not unicodedata.category(sign).startswith("P")
    )
    words = _ARTICLES.sub(" ", bare).split() or bare.split()
    return [piece for word in words for piece in _PIECE.findall(word)][:MOST_UNITS]


def _longest_common(one: Sequence[str], other: Sequence[str]) -> int:
    """The length of the longest common subsequence, 64 columns and more at a time (Hyyrö 2004)."""
    places: dict[str, int] = {}
    for place, unit in enumerate(one):
        places[unit] = places.get(unit, 0) | 1 << place
    every = (1 << len(one)) - 1
    row = every
    for unit in other:
        matched = row & places.get(unit, 0)
        row = (row + matched | row - matched) & every
    return len(one) - row.bit_count()
