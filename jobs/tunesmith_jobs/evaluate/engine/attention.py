"""The attention of a tile: each token sees its own sequence's keys, which lie in the pool.

The number of keys is rounded up by the token's own position, and calls are filled up to a fewest number of queries:
the shape of a token's attention does not depend on what is computed beside it. Knows transformers' attention interface
and the pool; knows nothing of models.
"""

import contextvars
import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from tunesmith_jobs.evaluate.engine.pool import Pool, rounded

NAME = "tunesmith_tiles"
"""Of this attention, as models are told it."""
_PASSED_ON = frozenset(
    {
        "position_ids",
        "use_cache",
        "output_attentions",
        "output_router_logits",
        "is_causal",
        "dropout",
        "sliding_window",
    }
)
"""What models tell their attention that changes nothing here, or is heeded. Anything else is refused."""


class Unsuited(Exception):
    """The model does what a tile cannot stand for."""


class Segment(NamedTuple):
    """Tokens of one sequence that a pass computes."""

    begin: int
    """The sequence's first place in the pool."""
    position: int
    """Of the first of the tokens."""
    tokens: Sequence[int]
    wanted: int
    """At how many of the tokens, from the last, logits are wanted."""


@dataclasses.dataclass
class _Part:
    """Queries that attend in one call."""

    places: Any
    """In the tile: a slice of one sequence's, or a list of one each of several."""
    begins: list[int]
    positions: list[int]
    keys: int
    index: torch.Tensor | None = None
    masks: dict[Any, torch.Tensor] = dataclasses.field(default_factory=dict)
    rows: dict[Any, torch.Tensor] = dataclasses.field(default_factory=dict)


class Pass:
    """What attention has to know of the pass that is under way."""

    def __init__(self, segments: Sequence[Segment], pool: Pool, device: torch.device, least: int) -> None:
        self.pool, self.least, self._device = pool, least, device
        self.windows: list[int | None] = []
        """Of each call, how far back a token sees."""
        rows: list[int] = []
        parts: list[_Part] = []
        singles: dict[int, _Part] = {}
        place = 0
        for segment in segments:
            count = len(segment.tokens)
            rows.extend(range(segment.begin + segment.position, segment.begin + segment.position + count))
            done = 0
            while done < count:
                position = segment.position + done
                keys = rounded(position + 1)
                size = min(count - done, keys - position)
                if size == 1:
                    one = singles.setdefault(keys, _Part([], [], [], keys))
                    one.places.append(place + done)
                    one.begins.append(segment.begin)
                    one.positions.append(position)
                else:
                    span = slice(place + done, place + done + size)
                    positions = list(range(position, position + size))
                    positions += positions[-1:] * (least - size)
                    parts.append(_Part(span, [segment.begin], positions, keys))
                done += size
            place += count
        for one in singles.values():
            one.places = torch.tensor(one.places, device=device)
            begins = torch.tensor(one.begins, device=device)
            one.index = (begins[:, None] + torch.arange(one.keys, device=device)).flatten()
        self.parts = [*parts, *singles.values()]
        self.count = place
        self.rows = torch.tensor(rows, device=device)

    def mask(self, part: _Part, window: int | None, kind: torch.dtype) -> torch.Tensor:
        """What is added to the scores of a part's queries, of shape (1 or queries, 1, queries or 1, keys)."""
        if (window, kind) not in part.masks:
            at = torch.tensor(part.positions, device=self._device)[:, None]
            keys = torch.arange(part.keys, device=self._device)[None]
            sees = keys <= at
            if window is not None:
                sees &= keys > at - window
            mask = torch.zeros(sees.shape, dtype=kind, device=self._device).masked_fill_(~sees, -torch.inf)
            part.masks[window, kind] = mask[:, None, None] if part.index is not None else mask[None, None]
        return part.masks[window, kind]

    def rows_of(self, part: _Part, heads: int, groups: int) -> torch.Tensor:
        """Where the queries of single tokens lie among (tokens x heads), for each token and group of heads.

        Those of a group are repeated until there are enough of them.
        """
        if (heads, groups) not in part.rows:
            each = heads // groups
            own = (
                torch.arange(heads, device=self._device).view(groups, each).repeat(1, -(-self.least // each))
            )
            part.rows[heads, groups] = (part.places[:, None, None] * heads + own).flatten()
        return part.rows[heads, groups]


under_way: contextvars.ContextVar[Pass] = contextvars.ContextVar("under_way")
"""The pass that a model's attention belongs to."""


def _attend(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    **more: Any,
) -> tuple[torch.Tensor, None]:
    """The attention of a tile: see `ALL_ATTENTION_FUNCTIONS`. Tensors are of shape (1, heads, tokens, width)."""
    now = under_way.get()
    refused = [name for name, given in more.items() if given is not None and name not in _PASSED_ON]
    if refused or attention_mask is not None or more.get("is_causal") is False or len(query) != 1:
        raise Unsuited(f"attention is given {refused or 'a mask'}")
    window = more.get("sliding_window")
    now.windows.append(window)
    key, value, query = key[0].transpose(0, 1), value[0].transpose(0, 1), query[0].transpose(0, 1)
    keys, values = now.pool.of(module, key, value)
    keys[now.rows] = key[: now.count]
    values[now.rows] = value[: now.count]
    tokens, heads, width = query.shape
    groups = keys.shape[1]
    found = query.new_empty(tokens, heads, value.shape[-1])
    found[now.count :] = 0
    for part in now.parts:
        mask = now.mask(part, window, query.dtype)
        if part.index is None:
            span = slice(part.begins[0], part.begins[0] + part.keys)
            asking = query[part.places]
            count = len(asking)
            if count < now.least:  # a product of few rows is computed by another routine, with other bits
                asking = torch.cat([asking, asking[-1:].expand(now.least - count, -1, -1)])
            made = scaled_dot_product_attention(
                asking.transpose(0, 1)[None],
                keys[span].transpose(0, 1)[None],
                values[span].transpose(0, 1)[None],
                attn_mask=mask,
                scale=scaling,
                enable_gqa=groups != heads,
            )
            found[part.places] = made[0, :, :count].transpose(0, 1)
            continue
        count, each = len(part.positions), heads // groups
        made = scaled_dot_product_attention(
            query.reshape(-1, width)
            .index_select(0, now.rows_of(part, heads, groups))
            .view(count, groups, -1, width),
            keys.index_select(0, part.index).view(count, part.keys, groups, -1).transpose(1, 2),
            values.index_select(0, part.index).view(count, part.keys, groups, -1).transpose(1, 2),
            attn_mask=mask,
            scale=scaling,
        )
        found[part.places] = made[:, :, :each].reshape(count, heads, -1)
    return found[None], None


ALL_ATTENTION_FUNCTIONS.register(NAME, _attend)
