"""Whether tiles give a model's own numbers, and in which shapes they do to the last bit.

Neither is assumed of an architecture or a processor: both are seen, on a short sequence that is computed whole, in
pieces and beside others. What a short sequence would not show is refused by the model's settings. Knows tiles; knows
nothing of answers.
"""

import inspect
import logging
from collections.abc import Sequence
from typing import Any

import torch

from tunesmith_jobs.evaluate.engine.alone import causal_of, last_logits
from tunesmith_jobs.evaluate.engine.attention import Segment, Unsuited
from tunesmith_jobs.evaluate.engine.pool import STEP, Pool, rounded
from tunesmith_jobs.evaluate.engine.tiles import WHOLE, Shapes, Tiles
from tunesmith_jobs.failures import is_out_of_memory
from tunesmith_jobs.models.loading import UsedModel

_log = logging.getLogger(__name__)
_SMALLER = (16, 32, 48, 64, 96, 128, 192)
"""Tiles that are taken where fewer tokens are left, if they were seen to give the same bits."""
_HEADS = (16, 24, 32, 40, 48, 56, 64, 80, 96, 128, 192)
"""The same of places that are turned to logits: a vocabulary makes each that is too many dear."""
_QUERIES = (4, 16, STEP)
"""Fewest queries that attend in one call; the last is what every call can be filled up to."""
_LAYERS = frozenset({"full_attention", "sliding_attention"})
_MOVING_ROPES = frozenset({"dynamic", "longrope"})
"""Positions that are turned by the longest sequence of a batch."""
_NEAR, _NEAR_16 = 1e-3, 0.25
"""By how much of their spread logits may differ from the model's own in 32 bits and in 16, where sums have another
shape. An attention that is another one is further off by far."""


def shapes_of(used: UsedModel) -> Shapes | None:
    """What a model, and others of the same modules, may be computed in; None where tiles do not give its numbers.

    In fp32 a sequence's logits must be the same to the last bit whatever is beside it and however it is cut; in
    fewer bits so it is where the shapes allow it. Costs six passes or so.
    """
    try:
        _refuse_by_settings(causal_of(used.model))
        return _Trial(used).shapes()
    except Exception as error:  # an architecture that takes no positions says so in its own way
        if is_out_of_memory(error):
            raise
        _log.info(
            "One sample is computed after the other: %s", error, exc_info=not isinstance(error, Unsuited)
        )
        return None


def _refuse_by_settings(causal: Any) -> None:
    """Refuse what a trial on short sequences would not show.

    Raises:
        Unsuited: It does.
    """
    config = causal.config.get_text_config()
    if "logits_to_keep" not in inspect.signature(causal.forward).parameters:
        raise Unsuited("logits are made at all places")
    if not getattr(causal, "_supports_attention_backend", False):
        raise Unsuited("attention cannot be replaced")
    if set(getattr(config, "layer_types", None) or ()) - _LAYERS:
        raise Unsuited("a layer is no attention that is known")
    rope = getattr(config, "rope_parameters", None) or {}
    kinds = [rope, *(one for one in rope.values() if isinstance(one, dict))]
    if _MOVING_ROPES & {str(one.get("rope_type")) for one in kinds}:
        raise Unsuited("positions depend on the longest sequence")


def _refuse_by_windows(causal: Any, windows: Sequence[int | None]) -> None:
    """See that every layer that looks back a bounded way said so.

    Raises:
        Unsuited: One did not.
    """
    config = causal.config.get_text_config()
    kinds = getattr(config, "layer_types", None)
    window = getattr(config, "sliding_window", None)
    if kinds is None:
        if window is not None and any(one != window for one in windows):
            raise Unsuited("a window is not told to attention")
    elif kinds.count("sliding_attention") != sum(one is not None for one in windows):
        raise Unsuited("a window is not told to attention")


def _taken(pool: Pool, tokens: int) -> int:
    begin = pool.take(tokens)
    assert begin is not None
    return begin


class _Trial:
    """Whether tiles give a model's own numbers, and which shapes give the same bits."""

    LENGTH = 75
    _PIECES = (
        (0, 13),
        (13, 52),
        (50, 51),
        (50, 54),
        (50, 57),
        (64, 65),
        (64, 66),
        (64, 67),
        (64, 69),
        (64, 72),
    )

    def __init__(self, used: UsedModel) -> None:
        self._used, self._causal = used, causal_of(used.model)
        words = int(self._causal.config.get_text_config().vocab_size)
        self._ids = [(7 * i + 3) % words for i in range(self.LENGTH)]
        self._others = [(11 * i + 5) % words for i in range(40)]
        self._is_exact = used.choice.precision == "fp32"

    def shapes(self) -> Shapes:
        """The shapes.

        Raises:
            Unsuited: There are none.
        """
        plain = last_logits(self._causal, self._ids, self.LENGTH).float()
        least = next((least for least in _QUERIES if self._stays(least, plain)), None)
        if least is None:
            if self._is_exact:
                raise Unsuited("neighbours change bits")
            return Shapes((*_SMALLER, WHOLE), (*_HEADS, WHOLE), _QUERIES[0], self._bytes)
        sizes = [size for size in _SMALLER if self._is_same(size, least)]
        return Shapes((*sizes, WHOLE), (*self._heads(), WHOLE), least, self._bytes, is_exact=True)

    def _stays(self, least: int, plain: torch.Tensor) -> bool:
        """Whether the sequence's logits are the same whole and in pieces, at other places, beside other neighbours.

        Raises:
            Unsuited: They are not the model's own.
        """
        tiles = Tiles(self._used, Shapes(least=least))
        steps = rounded(self.LENGTH)
        pool = Pool(rounded(len(self._others)) + (len(self._PIECES) + 1) * steps)
        other, own = _taken(pool, len(self._others)), _taken(pool, self.LENGTH)
        with tiles.ready():
            whole = tiles.compute(
                [Segment(other, 0, self._others, 0), Segment(own, 0, self._ids, self.LENGTH)], pool
            )[1]
            self._whole, self._bytes = whole, pool.bytes // pool.places
            near = _NEAR if self._is_exact else _NEAR_16
            if not bool((whole.float() - plain).square().mean().sqrt() <= near * plain.std()):
                raise Unsuited("the numbers are not the model's own")
            _refuse_by_windows(self._causal, tiles.windows)
            segments = []
            for begin, end in self._PIECES:
                copy = _taken(pool, self.LENGTH)
                pool.copy(own, copy, begin)
                segments.append(Segment(copy, begin, self._ids[begin:end], end - begin))
            found = tiles.compute(segments, pool)
        wanted = [whole[begin:end] for begin, end in self._PIECES]
        return all(torch.equal(one, two) for one, two in zip(found, wanted, strict=True))

    def _is_same(self, size: int, least: int) -> bool:
        """Whether a smaller tile gives the bits of the whole one."""
        tiles, pool = Tiles(self._used, Shapes((size,), least=least)), Pool(rounded(self.LENGTH))
        ids = self._ids[: size - 1]
        with tiles.ready():
            found = tiles.compute([Segment(_taken(pool, self.LENGTH), 0, ids, len(ids))], pool)[0]
        return torch.equal(found, self._whole[: len(ids)])

    def _heads(self) -> list[int]:
        """How many places may be turned to logits at once."""
        head = self._causal.get_output_embeddings()
        if not isinstance(head, torch.nn.Linear):
            return []
        draw = torch.Generator().manual_seed(0)
        states = torch.randn(1, WHOLE, head.in_features, generator=draw).to(head.weight)
        whole = head(states)
        return [size for size in _HEADS if torch.equal(head(states[:, :size].contiguous()), whole[:, :size])]
