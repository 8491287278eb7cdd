"""A text's token ids, word by word, each word looked up once: several times as fast as the library.

A byte-level BPE tokenizer cuts a text at its added tokens, then into words by a pattern, and encodes each word alone.
So a word's ids never change, and may be remembered; a new one is encoded by the library's own model. The patterns are
told by their exact text. They tell apart letters, digits, spaces and the rest: for plain ASCII all engines agree which
is which, and of any other character the library itself is asked once. It then stands for the pattern as an ASCII
character of its class. Every other tokenizer is left to the library, and so is a text mostly of such characters, whose
words are seldom met twice.

Knows the parts of a tokenizer of the `tokenizers` library; knows nothing of rows.
"""

import json
import re
import unicodedata
from bisect import bisect_right
from collections.abc import Callable, Sequence
from itertools import accumulate, chain
from typing import Any, Literal, NamedTuple, get_args

from tunesmith.rows.chat.control_tokens import Span
from tunesmith.rows.tokens.token_edges import edge_among

_MAX_WORDS = 200_000
_LONGEST_WORD = 100
"""A longer one is hardly met twice."""
_ODD = re.compile(r"[^\x20-\x7e\t\n\r]")
_MOST_ODD = 0.2
_UNUSUAL = "\u017f"
"""The long s matches an s where case is ignored."""
_Form = Literal["NFC", "NFD", "NFKC", "NFKD"]

_CONTRACTIONS = r"'s|'t|'re|'ve|'m|'ll|'d"
_GPT_2 = rf"{_CONTRACTIONS}| ?[A-Za-z]+| ?[0-9]+| ?[^\sA-Za-z0-9]+|\s+(?!\S)|\s+"
_DIGITS_ALONE = rf"{_CONTRACTIONS}| ?[A-Za-z]+|[0-9]| ?[^\sA-Za-z0-9]+|\s+(?=[0-9])|\s+(?!\S)|\s+"
_SPLIT = (
    rf"(?i:{_CONTRACTIONS})|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}{{1,3}}| ?[^\s\p{{L}}\p{{N}}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+"
)
_SPLITS = (_SPLIT, _SPLIT.replace("{1,3}", ""))
"""Llama 3's, and Qwen's since its second."""


class Words(NamedTuple):
    """A text as words and added tokens, in order, and the ids of each."""

    words: list[str]
    pieces: list[tuple[int, ...]]
    sizes: Sequence[int]
    """Bytes of each token, by its id."""
    whole: Callable[[], Sequence[Span]]
    """The place of each token as the library says it."""

    @property
    def ids(self) -> list[int]:
        """The ids of the text."""
        return list(chain.from_iterable(self.pieces))

    def edge(self, char: int) -> tuple[int, int]:
        """The first token that starts at or behind a character, and where the token before it ends."""
        ends = list(accumulate(map(len, self.words)))
        word = bisect_right(ends, char)
        token = sum(map(len, self.pieces[:word]))
        at = ends[word - 1] if word else 0
        if at < char and word < len(ends):
            if not self.words[word].isascii():
                return edge_among(self.whole(), char)
            for number in self.pieces[word]:
                if at >= char:
                    break
                at += self.sizes[number]
                token += 1
        return token, at


class WordTokenizer:
    """Encodes texts as one tokenizer does; made by `of`."""

    def __init__(
        self, tokenizer: Any, form: _Form | None, pattern: str, first: dict[str, int], then: dict[str, int]
    ) -> None:
        self._tokenizer, self._form = tokenizer, form
        self._words = re.compile(pattern)
        self._split = _either(first, "({})").split
        self._later = _either(then, "{}").search
        self._added: dict[str, tuple[int, ...]] = {text: (number,) for text, number in first.items()}
        self._known = _Known(tokenizer.model, self._added)
        self._stands_for = _Classes()
        vocabulary = tokenizer.get_vocab(with_added_tokens=False)
        self._sizes = [0] * (1 + max([*vocabulary.values(), *first.values()]))
        for text, number in (vocabulary | first).items():
            self._sizes[number] = len(text)

    @classmethod
    def of(cls, tokenizer: Any) -> "WordTokenizer | None":
        """The same tokenizer by words; None where it is of a kind that is not known here."""
        parts = json.loads(tokenizer.to_str())
        pattern = _pattern(parts)
        # What stands in the vocabulary as an added token too may be written in other characters there.
        added = parts["added_tokens"]
        if pattern is None or any(one["lstrip"] or one["rstrip"] or one["single_word"] for one in added):
            return None
        raw, normalised = (
            {one["content"]: int(one["id"]) for one in added if one["normalized"] is flag and one["content"]}
            for flag in (False, True)
        )
        # The library looks for the raw ones first, and for the others in what is left.
        form = (parts["normalizer"] or {}).get("type")
        return cls(tokenizer, form, pattern, raw or normalised, normalised if raw else {})

    def encode(self, text: str) -> Words | None:
        """A text's tokens; None where it must be left to the library."""
        odd = _ODD.findall(text)
        if odd and not self._can_read(text, odd):
            return None
        words: list[str] = []
        for i, part in enumerate(self._split(text)):
            if i % 2:
                words.append(part)
            elif part:
                if self._later(part):
                    return None
                if not odd or not _ODD.search(part):
                    words += self._words.findall(part)
                else:
                    found = self._words.finditer(part.translate(self._stands_for))
                    words += [part[match.start() : match.end()] for match in found]
        if len(self._known) > _MAX_WORDS:
            self._known = _Known(self._tokenizer.model, self._added)
        pieces = list(map(self._known.__getitem__, words))
        return Words(words, pieces, self._sizes, lambda: self._places(text))

    def _can_read(self, text: str, odd: list[str]) -> bool:
        """Whether a text with characters beyond plain ASCII is cut as the library cuts it, and worth it."""
        if len(odd) > _MOST_ODD * len(text) or _UNUSUAL in text:
            return False
        if self._form is None:
            return True
        # What is normalised stays so in every later version of Unicode, for characters that are known now.
        return unicodedata.is_normalized(self._form, text) and not any(
            unicodedata.category(char) == "Cn" for char in odd
        )

    def _places(self, text: str) -> Sequence[Span]:
        found: Sequence[Span] = self._tokenizer.encode(text, add_special_tokens=False).offsets
        return found


class _Known(dict[str, tuple[int, ...]]):
    """The ids of the words that were met, and of the added tokens."""

    def __init__(self, model: Any, added: dict[str, tuple[int, ...]]) -> None:
        super().__init__(added)
        self._encode = model.tokenize

    def __missing__(self, word: str) -> tuple[int, ...]:
        mapped = "".join(map(_BYTES.__getitem__, word.encode()))
        found = tuple(token.id for token in self._encode(mapped))
        if len(word) <= _LONGEST_WORD:
            self[word] = found
        return found


class _Classes(dict[int, str]):
    """What each character stands for in the pattern: itself, or an ASCII character of its class."""

    def __init__(self) -> None:
        from tokenizers import Regex, pre_tokenizers

        super().__init__((ord(char), char) for char in map(chr, range(128)) if not _ODD.match(char))
        self._kinds = [
            (pre_tokenizers.Split(Regex(pattern), "removed").pre_tokenize_str, char)
            # Neither a letter of a contraction, nor one of the spaces that a pattern names.
            for pattern, char in ((r"\p{L}", "Q"), (r"\p{N}", "0"), (r"\s", "\t"))
        ]

    def __missing__(self, code: int) -> str:
        found = next((char for cut, char in self._kinds if not cut(chr(code))), "!")
        self[code] = found
        return found


def _byte_alphabet() -> list[str]:
    """How each byte is written in a byte-level vocabulary: printable ones as themselves, the others behind them."""
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = iter(range(256))
    return [chr(byte) if byte in printable else chr(256 + next(others)) for byte in range(256)]


_BYTES = _byte_alphabet()


def _pattern(parts: dict[str, Any]) -> str | None:
    """How a tokenizer cuts ASCII text into words; None where it is not known."""
    model, before = parts["model"], parts["pre_tokenizer"]
    normalizer = (parts["normalizer"] or {}).get("type")
    plain = (
        model.get("type") == "BPE"
        and not any(
            model.get(name) for name in ("dropout", "continuing_subword_prefix", "end_of_word_suffix")
        )
        and normalizer in (None, *get_args(_Form))
    )
    if not plain or before is None:
        return None
    steps = before.get("pretokenizers", []) if before["type"] == "Sequence" else [before]
    if not steps or steps[-1]["type"] != "ByteLevel" or steps[-1]["add_prefix_space"]:
        return None
    *earlier, bytes_step = steps
    if bytes_step.get("use_regex", True):
        if not earlier:
            return _GPT_2
        alone = len(earlier) == 1 and earlier[0] == {"type": "Digits", "individual_digits": True}
        return _DIGITS_ALONE if alone else None
    if len(earlier) != 1 or earlier[0]["type"] != "Split":
        return None
    split = earlier[0]
    if split["behavior"] != "Isolated" or split["invert"]:
        return None
    pattern = split["pattern"].get("Regex", "")
    return _on_ascii(pattern) if pattern in _SPLITS else None


def _on_ascii(pattern: str) -> str:
    """What a pattern of Unicode's classes means for plain ASCII."""
    alone = pattern.replace(r"?\p{L}+", "?[A-Za-z]+").replace(r"|\p{N}", "|[0-9]")
    return alone.replace(r"\p{L}", "A-Za-z").replace(r"\p{N}", "0-9")


def _either(texts: dict[str, int], form: str) -> "re.Pattern[str]":
    longest_first = sorted(texts, key=len, reverse=True)
    return re.compile(form.format("|".join(map(re.escape, longest_first)) or "(?!)"))
