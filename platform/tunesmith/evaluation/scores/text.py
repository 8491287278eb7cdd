"""Texts as scores read them: units, sentences, marks. One reading for both sides, and for every language.

A unit is a character of a script that writes no spaces (Chinese, Japanese, Thai...), else a word: a run of letters and
digits. So nothing depends on a segmenter and its version, and a text in two languages is read in one way. Full-width
letters, digits and punctuation are read as their plain forms (Unicode's NFKC); capitals do not count. Knows no score.
"""

import functools
import re
import unicodedata

MOST_UNITS = 20_000
"""What is compared of a text, in units; the rest is passed over, so that no text takes longer than a moment."""
UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff"  # Thai, Lao, Burmese, Khmer
    "\u3005-\u3007\u3040-\u30ff\u31f0-\u31ff"  # kana, and signs that stand for a character
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"  # Chinese characters
)
"""Scripts without spaces, as the inside of a character class."""
HAN = "\u3005-\u3007\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
KANA = "\u3040-\u30ff\u31f0-\u31ff"
HANGUL = "\u1100-\u11ff\u3130-\u318f\uac00-\ud7af"

_UNIT = re.compile(rf"[{UNSPACED}][\u0e31\u0e34-\u0e3a\u0e47-\u0e4e]*|(?:(?![{UNSPACED}_])\w)+")
_UNSPACED = re.compile(rf"[{UNSPACED}]")
_GAP = re.compile(rf"(?<=[{UNSPACED}])\s+(?=[{UNSPACED}])")
_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")
_FIGURE = re.compile(r"\d+(?:[.:/]\d+)*")
_CLOSING = "\"'”’」』】）)\\]》〉"
_END = re.compile(rf"[。！？!?…]++[{_CLOSING}]*+|(?<!\.)\.++[{_CLOSING}]*+(?=\s|$)")
_SHORT = re.compile(
    r"(?:^|[\s(])(?:[A-Za-z]|e\.g|i\.e|etc|vs|cf|Mr|Mrs|Ms|Dr|Prof|St|No|Fig|Jr|Sr|Inc|Ltd|U\.S)\.$"
)
_TERMINAL = re.compile(rf"[.。！？!?…~～:：;；][{_CLOSING}*_`]*$")
_ITEM = re.compile(r"^[ \t]*+(?:[-*+•·‣▪●○][ \t]++|[•·‣▪●○])\S", re.MULTILINE)
_NUMBER = re.compile(
    r"^[ \t]*+(?:\(?\d{1,3}[.)、．](?!\d)|（\d{1,3}）|[①-⑳]|[一二三四五六七八九十]{1,3}、)[ \t]*+(?=\S)",
    re.MULTILINE,
)


def plain(text: str) -> str:
    """A text with wide forms as plain ones, in small letters, with one kind of space."""
    return unicodedata.normalize("NFKC", text).lower()


def units(text: str) -> list[str]:
    """What a text is made of: words, and characters of scripts that write no spaces. Punctuation is passed over.

    The same as rouge-score's own words where a text is in ASCII.
    """
    return _UNIT.findall(plain(text))[:MOST_UNITS]


def is_unspaced(unit: str) -> bool:
    """Whether a unit is a character of a script that writes no spaces."""
    return _UNSPACED.match(unit) is not None


def unspaced_share(text: str) -> float:
    """Which share of a text's units is in a script that writes no spaces: 1 Chinese, 0 English."""
    found = units(text)
    return sum(map(is_unspaced, found)) / len(found) if found else 0.0


@functools.lru_cache(maxsize=64)
def joined(text: str) -> str:
    """A text as it is searched: plain, without spaces between characters that need none, `1,000` as `1000`."""
    return _THOUSANDS.sub("", _GAP.sub("", " ".join(plain(text).split())))


def names(text: str, word: str) -> bool:
    """Whether a text has a word or phrase: a Latin word as a whole, a Chinese one anywhere."""
    return occurrences(text, word) > 0


def occurrences(text: str, word: str) -> int:
    """How often a text has a word or phrase."""
    sought, searched = joined(word), joined(text)
    count = at = 0
    while sought and (at := searched.find(sought, at)) >= 0:
        end = at + len(sought)
        is_whole = not _goes_on(searched[max(at - 2, 0) : at][::-1], sought[0]) and not _goes_on(
            searched[end : end + 2], sought[-1]
        )
        count += is_whole
        at = end if is_whole else at + 1
    return count


def _goes_on(beside: str, edge: str) -> bool:
    """Whether a word or a number goes on beyond its edge, into what stands beside it, the nearest first."""
    if not beside or not _is_letter(edge):
        return False
    return _is_letter(beside[0]) or (edge.isdigit() and beside[0] in ".:/" and beside[1:].isdigit())


def _is_letter(character: str) -> bool:
    return (character.isalnum() or character == "_") and not is_unspaced(character)


def sentences(text: str) -> list[str]:
    """A text's sentences: they end at a full stop, a question or an exclamation mark of either script, or a blank line.

    No end: the point in `3.5`, in an abbreviation (`e.g.`, `Dr.`) or behind the number of a list's item. A line of a
    list is a sentence.
    """
    found: list[str] = []
    for line in text.splitlines():
        rest = line.strip()
        begin = 0
        for end in _END.finditer(rest):
            head = rest[begin : end.end()]
            if "." in end[0] and (_SHORT.search(head) or re.fullmatch(r"\s*\(?\d{1,3}\.", head)):
                continue
            found.append(head.strip())
            begin = end.end()
        found.append(rest[begin:].strip())
    return [sentence for sentence in found if _UNIT.search(sentence)]


def paragraphs(text: str) -> list[str]:
    """A text's paragraphs: what blank lines part."""
    return [part.strip() for part in re.split(r"\n\s*\n", text) if part.strip()]


def bullets(text: str) -> int:
    """Lines that begin with a bullet."""
    return len(_ITEM.findall(text))


def numbered(text: str) -> int:
    """Lines that begin with the number of an item."""
    return len(_NUMBER.findall(text))


def figures(text: str) -> list[str]:
    """The numbers in a text as they are written, with their decimals: `3.5`, `1000` also of `1,000`."""
    return _FIGURE.findall(joined(text))[:MOST_UNITS]


def without_numbers(text: str) -> str:
    """A text without the numbers of its lists' items."""
    return _NUMBER.sub("", text)


def is_ended(text: str) -> bool:
    """Whether a text ends with a mark that ends a sentence, or with a code block's end."""
    return _TERMINAL.search(text.rstrip()[-20:]) is not None


def without_fence(text: str) -> str | None:
    """What a text's only code block holds; None where it is no single code block."""
    found = re.fullmatch(r"\s*```[^\n`]*\n(.*?)\n?```\s*", text, re.DOTALL)
    return found[1] if found and "```" not in found[1] else None
