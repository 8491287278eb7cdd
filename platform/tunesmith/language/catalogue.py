"""A catalogue of texts: English to another language, also of texts that are found with their values in them.

The catalogues lie in `zh/*.po`, as translators' tools write them: `msgid` in English, `msgstr` in Chinese. `{0}`, `{1}`
... stand for values. A value that is a text itself is translated too where the translation says so: `{0!t}`. Knows no
language.
"""

import functools
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

FOLDER = Path(__file__).parent
_VALUE = re.compile(r"\{(\d+)(!t)?\}")
_QUANTITY = re.compile(r"^[^\s;:,]\S*( \S+)?$")
_TELLING = 12
"""A form that says fewer characters itself is meant only where its values are a word or a number with its unit."""
_WIDE = ("：", "，", "。", "；")
"""Signs with room of their own behind them."""
_DEPTH = 4
"""A text in a text in a text; what is deeper stays as it is."""


class _Form(NamedTuple):
    """A text with places for values: what stands before, between and behind them."""

    literals: tuple[str, ...]
    numbers: tuple[int, ...]
    translation: str

    @property
    def known(self) -> int:
        """How many characters it says itself: of two that fit, the one that says more is meant."""
        return sum(map(len, self.literals))

    @property
    def is_frame(self) -> bool:
        """Whether it says something behind another text, which is looked up for itself."""
        return not self.literals[0] and bool(self.literals[-1]) and "{0!t}" in self.translation

    def values(self, text: str) -> dict[int, str] | None:
        """The values that a text has in its places; None where it is not of this form.

        Each value ends where the next literal first stands, so the time grows with the text's length alone.
        """
        first, *others, last = self.literals
        if len(text) < self.known or not text.startswith(first) or not text.endswith(last):
            return None
        found: dict[int, str] = {}
        is_loose = self.known < _TELLING
        place, end = len(first), len(text) - len(last)
        for number, literal in zip(self.numbers, [*others, None], strict=True):
            stop = end if literal is None else text.find(literal, place, end)
            if stop < place:
                return None
            found[number] = text[place:stop]
            is_text = f"{{{number}!t}}" in self.translation
            if is_loose and not is_text and not _QUANTITY.match(found[number]):
                return None
            place = stop + len(literal or "")
        number = self.numbers[-1]
        if last and _SENTENCES.search(found[number]) and f"{{{number}!t}}" not in self.translation:
            return None  # the form's own end is the end of another sentence
        return found


class Catalogue:
    """Texts and their translations.

    Args:
        texts: Each text with its translation.
    """

    def __init__(self, texts: Mapping[str, str]) -> None:
        self.texts = dict(texts)
        forms = [_form(text, translation) for text, translation in texts.items() if _VALUE.search(text)]
        self._forms = sorted(forms, key=lambda form: (not form.is_frame, -form.known))

    def translate(self, text: str, depth: int = 0) -> str:
        """A text's translation; the text itself where there is none. White space around it stays."""
        bare = text.strip()
        found = self.texts.get(bare) or self.texts.get(" ".join(bare.split()))
        if found is None and (label := _LABEL.fullmatch(bare)):
            # Before any form: what is said behind it may be of one that would take the label in.
            said = self.translate(label[2], depth)
            found = self._by_form(f"{label[1]}{said}", depth) if said != label[2] else None
        if found is None and depth == 0:
            # Before any form: the last value of a sentence might take in those behind it.
            found = self._by_sentence(bare, all_known=True)
        if found is None and depth < _DEPTH:
            found = self._by_form(bare, depth)
        if found is None and (place := _PLACE.match(bare)) and depth < _DEPTH:
            behind = self.translate(place[2], depth + 1)
            file, _, at = place[1].rpartition(":")
            where = f"{file}:{self.translate(at, depth + 1)}" if file else at
            found = f"{where}：{behind}" if behind != place[2] else None
        if found is None and depth == 0:
            found = self._by_sentence(bare, all_known=False)
        if found is None:
            return text
        whole = text.replace(bare, found, 1)
        return whole.rstrip() if found.endswith(_WIDE) else whole

    def _by_sentence(self, text: str, *, all_known: bool) -> str | None:
        """Sentences that stand behind each other, each by itself; None where none of them is known, or not all are."""
        sentences = _SENTENCES.split(text)
        if len(sentences) < 2:
            return None
        found = [self.translate(sentence, 1) for sentence in sentences]
        unknown = sum(one == other for one, other in zip(found, sentences, strict=True))
        if unknown == len(sentences) or (all_known and unknown):
            return None
        return "".join(part if part.endswith(_WIDE) else f"{part} " for part in found).rstrip()

    def _by_form(self, text: str, depth: int) -> str | None:
        for form in self._forms:
            if (values := form.values(text)) is not None:
                return self._filled(form.translation, values, depth)
        return None

    def _filled(self, translation: str, values: Mapping[int, str], depth: int) -> str:
        def value(place: re.Match[str]) -> str:
            found = values[int(place[1])]
            return self.translate(found, depth + 1) if place[2] else found

        return _VALUE.sub(value, translation)


def _form(text: str, translation: str) -> _Form:
    parts = _VALUE.split(text)  # literal, number, mark, literal, ...
    return _Form(tuple(parts[::3]), tuple(int(number) for number in parts[1::3]), translation)


@functools.cache
def chinese() -> Catalogue:
    """The Chinese catalogue."""
    texts: dict[str, str] = {}
    for file in sorted((FOLDER / "zh").glob("*.po")):
        texts |= dict(read_po(file.read_text(encoding="utf-8")))
    return Catalogue(texts)


_PLACE = re.compile(r"([^\s`]+:(?:row )?\d+|(?:[a-z]\w*[._])+\w+): (.+)", re.DOTALL)
"""A place in a file before what is said of it, or a parameter: `train.jsonl:17: ...`, `spec.learning_rate: ...`."""
_LABEL = re.compile(r"((?:note|hint): )(.+)", re.DOTALL)
"""What a text is, before the text."""
_SENTENCES = re.compile(r"(?<=[.!?]) (?=[A-Z`]|[^\s`]+:(?:row )?\d+: )")
_ENTRY = re.compile(r'^msgid ((?:".*"\s*)+)msgstr ((?:".*"\s*)+)', re.MULTILINE)


def read_po(text: str) -> Iterator[tuple[str, str]]:
    """The entries of a PO file: text and translation. Its header and what is not translated are left out."""
    for entry in _ENTRY.finditer(text):
        source, translation = (
            "".join(json.loads(line) for line in block.split("\n") if line.strip())
            for block in entry.groups()
        )
        if source and translation:
            yield source, translation
