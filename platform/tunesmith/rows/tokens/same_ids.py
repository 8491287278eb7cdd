"""Whether two tokenizers give the same ids: held side by side on texts of many kinds, with the first place they differ.

Who encodes by another way than the library (files read apart, words looked up) is compared with it before what it says
is trained on. Knows texts and ids; knows nothing of where a tokenizer comes from.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

Encode = Callable[[str, bool], list[int]]
"""A text's ids; with True, with what the tokenizer puts around every text."""

_TEXTS = (
    "The quick brown fox jumps over the lazy dog.",
    "What is the capital of France? The capital of France is Paris.",
    "It's what they're saying: we'll see, I'd say, you've won, I'M here, THEY'RE there.",
    "  two spaces first",
    " one space first",
    "\ta tab first",
    "\na line break first",
    "a space last ",
    "a line break last\n",
    "",
    " ",
    "   ",
    "\n\n\n",
    "many   spaces    between     words",
    "a \n b\n\n\nc\t\td \t e\r\nf",
    "def add(first, second):\n    return first + second\n\n\nclass A:\n\tx = [1, 2]\n",
    "0 1 23 456 7890 12345 1234567890123",
    "3.14159, 1,000,000 and 50%; 2026-11-30T00:15:16Z; v1.2.3-rc4",
    "x1y22z333 4a55b666c",
    "https://example.org/a/b?c=d&e=%20#f user@example.org C:\\path\\file.txt",
    '$\\frac{1}{2}$ <b>bold</b> {"key": [null, true]} `code` **strong** -- ... !!! ???',
    "snake_case camelCase SCREAMING_CASE kebab-case",
    "微调模型需要数据、时间和耐心。你好,世界!今天是2026年11月30日。",
    "中文 English 混排 mixed文本, 数字123和456",
    "日本語のテキスト、カタカナとひらがな。",
    "한국어 문장입니다.",
    "Русский текст, ещё один. Ελληνικά. עברית. العربية ١٢٣. हिन्दी १२३. ภาษาไทย",
    "café naïve Zürich Ångström İstanbul",
    "cafe\u0301 nai\u0308ve Zu\u0308rich A\u030angstro\u0308m",
    "\u1112\u1161\u11ab\u1100\u116e\u11a8",
    "\uff21\uff42\uff43\uff11\uff12\uff13 \ufb01 \u2460 \u00bd \u00b2 \u2167",
    "non\u00a0breaking\u2003em\u3000wide\u200bzero\ufeffmark\u2028line",
    "👩‍👩‍👧 🇨🇳 👍🏽 ✓ → € £ ∑",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "▁underline ▁ ĠG Ċ",
    "<s>[INST] hello [/INST] hi</s>",
    "<|im_start|>user\nhello<|im_end|>\n<|im_start|>assistant\n",
    "<unk> [UNK] <pad> [PAD] [CLS] [SEP] <mask> <|endoftext|>",
    "\u0001\u007f control",
)
_AROUND = ("{}", "a{}b", "a {} b", "{} a", "{}\na", "a{}\n", "{}{}", "  {}  ", "{}1", "{}的")
_MOST_MARKS = 24


class Difference(NamedTuple):
    """The first place at which two tokenizers differ."""

    text: str
    position: int
    """Number of the token, from 0."""
    one: int | None
    """Its id by the first; None where that has no token there."""
    other: int | None
    has_marks: bool
    """Whether it was looked at with what the tokenizers put around every text."""

    def words(self, one: str, other: str) -> str:
        """It, in words.

        Args:
            one: What the first tokenizer is called.
            other: What the second one is.
        """
        around = ", begin and end marks included" if self.has_marks else ""
        return (
            f"the text {self.text!r}, token {self.position}{around}: {one} gives {_id(self.one)}, {other} gives "
            f"{_id(self.other)}"
        )


def first_difference(
    one: Encode, other: Encode, marks: Iterable[str] = (), ways: Iterable[bool] = (False, True)
) -> Difference | None:
    """Where two tokenizers differ first; None where they agree on every text.

    Args:
        one: Encodes by the first.
        other: Encodes by the second.
        marks: Texts of tokens that stand for themselves, such as `<|im_end|>`: each is tried in a text's midst too.
        ways: Whether with what the tokenizers put around every text; both, when not given.
    """
    ways = tuple(ways)
    for text in sample_texts(marks):
        for with_marks in ways:
            ids, others = one(text, with_marks), other(text, with_marks)
            if ids != others:
                same = next(
                    (i for i, (a, b) in enumerate(zip(ids, others, strict=False)) if a != b),
                    min(len(ids), len(others)),
                )
                return Difference(text, same, _at(ids, same), _at(others, same), with_marks)
    return None


def sample_texts(marks: Iterable[str] = ()) -> Iterator[str]:
    """The texts: languages, digits, runs of white space, both Unicode forms, special marks in text.

    Args:
        marks: See `first_difference`; of many, as many of the first as of the last.
    """
    yield from _TEXTS
    found = list(dict.fromkeys(mark for mark in marks if mark))
    if len(found) > _MOST_MARKS:
        found = found[: _MOST_MARKS // 2] + found[-_MOST_MARKS // 2 :]
    for mark in found:
        for around in _AROUND:
            yield around.replace("{}", mark)


def _at(ids: list[int], place: int) -> int | None:
    return ids[place] if place < len(ids) else None


def _id(found: int | None) -> str:
    return "no token" if found is None else str(found)
