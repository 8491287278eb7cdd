"""Tokens of many sequences in one pass of a fixed shape.

A pass takes a tile: one row of tokens, of whichever sequences, each with its position. Every layer but attention treats
tokens by themselves, and what a matrix product gives for one row of a fixed shape does not depend on which row it is or
what the others hold. (It does depend on the shape: the same row in a product of 8 and of 64 rows differs in the last
bits.) Attention is replaced by one in which a token sees its own sequence alone. So nothing of a token's numbers
depends on the tokens beside it; and no padding is computed but what fills up a tile.

That an architecture and a processor keep to this is not assumed but seen (`trial`). Knows transformers' models and
torch; knows nothing of answers.
"""

import contextlib
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from transformers.modeling_utils import PreTrainedModel

from tunesmith_jobs.evaluate.engine.alone import causal_of
from tunesmith_jobs.evaluate.engine.attention import NAME, Pass, Segment, under_way
from tunesmith_jobs.evaluate.engine.pool import STEP, Pool
from tunesmith_jobs.models.loading import UsedModel

WHOLE = 256
"""Tokens of a tile: enough for a processor's matrix products to be near their best."""


class Shapes(NamedTuple):
    """Which shapes a model may be computed in, as was seen."""

    sizes: tuple[int, ...] = (WHOLE,)
    """Of tiles, rising."""
    heads: tuple[int, ...] = (WHOLE,)
    """Numbers of places for which logits are made at once, rising."""
    least: int = STEP
    """The fewest queries that attend in one call."""
    bytes_per_token: int = 0
    """Of keys and values."""
    is_exact: bool = False
    """Whether nothing of a sequence's numbers depends on its neighbours, to the last bit."""


class Tiles:
    """Computes tiles of a model that was seen to keep to them; `trial.shapes_of` looks.

    Args:
        used: The model.
        shapes: What it may be computed in.
    """

    def __init__(self, used: UsedModel, shapes: Shapes) -> None:
        self._used, self.shapes = used, shapes
        self._causal = causal_of(used.model)
        self.windows: list[int | None] = []
        """How far back each layer of the last pass looked."""

    @property
    def room(self) -> int:
        """Tokens of the largest tile."""
        return self.shapes.sizes[-1]

    def size_for(self, tokens: int) -> int:
        """The smallest tile that holds so many tokens."""
        return next(size for size in self.shapes.sizes if size >= tokens)

    @contextlib.contextmanager
    def ready(self) -> Iterator[None]:
        """Let the model's attention be that of tiles."""
        configs = {
            id(module.config): module.config
            for module in self._causal.modules()
            if isinstance(module, PreTrainedModel)
        }
        held = {number: config._attn_implementation_internal for number, config in configs.items()}
        for config in configs.values():
            config._attn_implementation_internal = NAME
        try:
            yield
        finally:
            for number, config in configs.items():
                config._attn_implementation_internal = held[number]

    def compute(self, segments: Sequence[Segment], pool: Pool) -> list[torch.Tensor]:
        """Compute tokens, within `ready`.

        Args:
            segments: At most as many tokens as a tile holds; the keys and values of those before them are in the pool.
            pool: Takes their keys and values.

        Returns:
            Of each segment the logits at its wanted places, of shape (wanted, words).
        """
        tokens = [token for segment in segments for token in segment.tokens]
        positions = [segment.position + i for segment in segments for i in range(len(segment.tokens))]
        size = self.size_for(len(tokens))
        filling = [0] * (size - len(tokens))
        places: list[int] = []
        end = 0
        for segment in segments:
            end += len(segment.tokens)
            places.extend(range(end - segment.wanted, end))
        device = self._used.device
        now = Pass(segments, pool, device, self.shapes.least)
        held = under_way.set(now)
        try:
            # At least one: 0 would stand for all.
            count = next(head for head in self.shapes.heads if head >= len(places))
            logits = self._causal(
                input_ids=torch.tensor([tokens + filling], device=device),
                position_ids=torch.tensor([positions + filling], device=device),
                use_cache=False,
                logits_to_keep=torch.tensor(places + [0] * (count - len(places)), device=device),
            ).logits[0]
        finally:
            under_way.reset(held)
        self.windows = now.windows
        return list(logits[: len(places)].split([segment.wanted for segment in segments]))
