"""Whether the documents of a packed row see each other in a model, found by asking the model.

transformers isolates documents by their positions where an architecture makes its attention mask that way. Others make
it otherwise (OPT, BLOOM, Falcon), or carry a state from token to token (Mamba, RWKV, convolutions), and say nothing.
Knows torch and how a packed batch looks; knows nothing of rows.
"""

from typing import Any

import torch

from tunesmith.events import Warned
from tunesmith_jobs.failures import is_out_of_memory

SEEN = Warned(
    code="documents_unpacked",
    message="In this model the documents of a packed row would see each other, so each is computed as a row of its "
    "own: the result is right, without the speed of packing.",
    hint="Nothing needs to be done; `packing=false` makes steps of `per_device_train_batch_size` rows.",
)
NOT_ASKED = Warned(
    code="documents_unpacked",
    message="ZeRO 3 shares out the weights, so that it cannot be found out before the start whether the documents of "
    "a packed row see each other: each is computed as a row of its own, without the speed of packing.",
    hint="Use `deepspeed_stage=2` where memory allows it.",
)
_LENGTHS = (11, 13)
"""Tokens of the two documents that are tried: longer than what a convolution of a hybrid model looks back."""
_LEAK, _LEAK_16 = 1e-4, 0.05
"""By how much of their own spread the logits may follow the neighbour, in the root mean square, in 32 bits and in 16.
Where a mask hides it they do not at all; a mixture of experts puts other tokens into its sums, in another order."""
_ALONE, _ALONE_16 = 1e-4, 0.25
"""The same for a document alone: the sums have another shape (SmolLM2-135M in bf16: 0.07, and single logits 0.3)."""


def sees_neighbours(model: Any, rows: int = 1) -> bool:
    """Whether a document's logits in a packed row are others than alone, or follow the document before it.

    Args:
        model: A causal model as it will be trained, with autocast on where it will be. Costs three passes over a few
            dozen tokens.
        rows: Rows of a batch; some attentions isolate documents in a batch of one row alone.
    """
    first, second = _LENGTHS
    words = int(model.config.get_text_config().vocab_size)
    ids = [
        (torch.arange(length, device=model.device) * step + offset) % words
        for length, step, offset in ((first, 7, 3), (first, 5, 1), (second, 11, 2))
    ]
    positions = torch.cat([torch.arange(length, device=model.device) for length in _LENGTHS])[None]
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            one, other = (
                _logits(model, torch.cat([before, ids[2]])[None].repeat(rows, 1), positions.repeat(rows, 1))
                for before in ids[:2]
            )
            alone = _logits(model, ids[2][None], None)
    except Exception as error:  # an architecture that takes no positions says so in its own way
        if is_out_of_memory(error):
            raise
        return True
    finally:
        model.train(was_training)
    one, other = one[:, first:], other[:, first:]
    widths = [parameter.itemsize for parameter in model.parameters() if parameter.is_floating_point()]
    is_reduced = torch.is_autocast_enabled(model.device.type) or min(widths, default=4) < 4
    leak, apart = (_LEAK_16, _ALONE_16) if is_reduced else (_LEAK, _ALONE)
    spread = float(alone.std())
    return not (_near(one, other, leak * spread) and _near(one, alone, apart * spread))


def _logits(model: Any, ids: torch.Tensor, positions: torch.Tensor | None) -> torch.Tensor:
    more = {} if positions is None else {"position_ids": positions}
    found: torch.Tensor = model(input_ids=ids, use_cache=False, **more).logits.float()
    return found


def _near(one: torch.Tensor, other: torch.Tensor, bound: float) -> bool:
    return bool((one - other).square().mean().sqrt() <= bound)
