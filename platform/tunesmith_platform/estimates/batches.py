"""What a file's rows come to as batches: how many there are, how long, and how much of them is padding.

Knows counts and parameters; knows nothing of memory or time.
"""

from typing import NamedTuple

from tunesmith.errors import InvalidData, InvalidInput
from tunesmith.estimate import DataView
from tunesmith.spec.training import TrainSpec
from tunesmith_platform.estimates import formula
from tunesmith_platform.estimates.token_counts import Counts, packs_of, padding_share


class Rows(NamedTuple):
    """What the batches are made of."""

    view: DataView
    units: int
    """Rows, or packed sequences, that batches are made of."""
    longest: int
    places: float
    """Tokens and padding of a full batch, on average."""
    length: float

    @property
    def head_share(self) -> float:
        """Share of the places that are trained: only their logits are computed."""
        share = self.view.supervised_tokens / max(1, self.view.tokens)
        return share * (1 - self.view.padding_share)


def rows_of(spec: TrainSpec, counts: Counts, eval_rows: int, name: str) -> Rows:
    """What a file's rows come to with these parameters.

    Raises:
        InvalidData: Within `max_length` nothing is left to train.
    """
    is_pretrain = spec.training_type == "pretrain"
    after = counts.after(None if is_pretrain else spec.max_length)
    looked = len(counts.lengths)
    if not len(after.lengths):
        raise InvalidData(
            f"`{name}`: no row that was looked at has anything to train on.",
            hint="Every row needs an assistant's answer that begins within `max_length` tokens: raise `max_length`.",
            field="spec.train_file",
        )
    total = min(counts.rows, spec.max_samples) if spec.max_samples else counts.rows
    rows = max(1, round(total * len(after.lengths) / looked))
    if spec.eval_sampling_ratio and not eval_rows:
        if rows < 2:
            raise InvalidInput(
                "`eval_sampling_ratio` needs at least two rows to split.",
                hint="Give `eval_file` or more rows.",
            )
        eval_rows = min(rows - 1, max(1, round(rows * spec.eval_sampling_ratio)))
        rows -= eval_rows
    scale = rows / len(after.lengths)
    tokens = float(after.lengths.sum()) * scale
    batch, size = spec.per_device_train_batch_size, spec.max_length
    batches = spec.gradient_accumulation_steps * spec.workers[1]
    padding, places, length = padding_share(after.lengths, batch, batches, spec.seed)
    packs, padding_packed = packs_of(after.lengths.clip(max=size), size, spec.seed)
    units, longest = rows, int(after.lengths.max())
    if is_pretrain:
        units = formula.mean_ceiling(tokens, size)
        padding = padding_packed = max(0.0, 1 - tokens / (units * size))
    elif spec.packing and spec.training_type == "sft":
        units, padding = max(1, round(rows * packs)), padding_packed
    if units != rows or is_pretrain:
        longest = size if units > 1 else min(size, int(tokens))
        places, length = float(longest * min(batch, units)), float(longest)
    view = DataView(
        rows=rows,
        eval_rows=eval_rows,
        is_sample=counts.is_sample,
        looked_at=looked,
        cut_share=after.cut / looked,
        dropped_share=after.dropped / looked,
        tokens=round(tokens),
        tokens_lost=round(after.lost * scale),
        supervised_tokens=round(after.supervised * scale),
        mean_tokens=float(after.lengths.mean()),
        longest_tokens=longest,
        padding_share=padding,
        padding_share_packed=padding_packed,
    )
    return Rows(view, units, longest, places, length)
