"""Holds one answer to a grammar while it is drawn: says which tokens may come next.

Compiled already where the prompt was written, and within bounds, so that what happens here is quick. Knows numpy and
`llguidance`; knows no model and no schema.
"""

import json
import threading
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

_KEPT = 2


@dataclass(frozen=True)
class Grammar:
    """What an answer is held to.

    Attributes:
        text: The grammar, as `tunesmith_serve.grammar` wrote it.
        tokenizer: The tokenizer's file.
    """

    text: str
    tokenizer: str


class Stuck(Exception):
    """The grammar allows no token, or is too much for its library."""


class Constraint:
    """One answer's."""

    def __init__(self, matcher: Any) -> None:
        self._matcher = matcher

    def allowed(self, words: int) -> npt.NDArray[np.bool_]:
        """Which tokens may come next, of shape (words,).

        Raises:
            Stuck: None may.
        """
        mask = self._matcher.compute_bitmask()
        if self._matcher.is_error():
            raise Stuck(self._why())
        found = np.unpackbits(np.frombuffer(mask, np.uint8), bitorder="little")[:words].view(np.bool_)
        if len(found) < words:
            found = np.pad(found, (0, words - len(found)))
        if not found.any():
            raise Stuck(self._why())
        return found

    def take(self, token: int) -> None:
        """A token was drawn.

        Raises:
            Stuck: The grammar does not take it.
        """
        if not self._matcher.consume_token(token):
            raise Stuck(self._why())

    def _why(self) -> str:
        words = self._matcher.get_error().strip().split("\n", 1)[0][:200]
        return f"The answer cannot be held to its format any further: {words or 'no token fits'}."


class Constraints:
    """Makes them, for the tokenizers that were asked for last. Used from one thread at a time.

    Args:
        words: The tokens that the model's scores are of.
    """

    def __init__(self, words: int) -> None:
        self._words = words
        self._tokenizers: OrderedDict[tuple[str, tuple[int, ...]], Any] = OrderedDict()
        self._lock = threading.Lock()

    def made(self, grammar: Grammar, ends: frozenset[int]) -> Constraint:
        """A new answer's.

        Args:
            grammar: What it is held to.
            ends: The tokens that end it.

        Raises:
            Stuck: The library does not take it.
        """
        import llguidance

        if not ends:
            raise Stuck("The model has no token that ends an answer, so none can be held to a format.")
        key = (grammar.tokenizer, tuple(sorted(ends)))
        with self._lock:
            if key not in self._tokenizers:
                text = Path(grammar.tokenizer).read_text(encoding="utf-8")
                size = max(self._words, _vocab_size(text))
                self._tokenizers[key] = llguidance.LLTokenizer(text, n_vocab=size, eos_token=list(key[1]))
                while len(self._tokenizers) > _KEPT:
                    self._tokenizers.popitem(last=False)
            self._tokenizers.move_to_end(key)
            matcher = llguidance.LLMatcher(self._tokenizers[key], grammar.text, log_level=0)
        if matcher.is_error():
            raise Stuck(matcher.get_error()[:200])
        return Constraint(matcher)


def _vocab_size(tokenizer: str) -> int:
    found = json.loads(tokenizer)
    model = found.get("model", {}).get("vocab", {})
    added = [int(one["id"]) + 1 for one in found.get("added_tokens", [])]
    return max([len(model), *added])
