"""One LoRA for an embedding and the head that shares its weights, as `ensure_weight_tying` asks for.

peft lets the head's matrices be parameters of their own that lie in the embedding's memory. Whatever makes a parameter
anew parts the two without a word: a start that brings its own matrices (`orthogonal`, `mica`), a base in 16 bits, whose
matrices are made fp32, and a move to another device. Then each end learns for itself, both are saved, and who loads
them has one memory again, in which the head's come last. Here the head has no parameters: it reads the embedding's.

Knows peft; knows nothing of files.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import torch

_NAME = "default"
_SIDES = (("lora_A.weight", "lora_embedding_B"), ("lora_B.weight", "lora_embedding_A"))
"""A head's matrix, and the embedding's of which it is the transpose."""


class _Transposed(torch.nn.Module):
    """A linear layer whose weight is the transpose of another module's parameter, whichever that is by now."""

    bias = None

    def __init__(self, owner: Any, name: str) -> None:
        super().__init__()
        self._owner = [owner]  # in a list, so that its parameters do not count as this module's
        self._of = name

    @property
    def weight(self) -> torch.Tensor:
        """The matrix (out, in)."""
        of: torch.Tensor = getattr(self._owner[0], self._of)[_NAME]
        return of.t()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.linear(x, self.weight)


def tie(tuned: Any) -> None:
    """Let each head that shares the embedding's weights, and its LoRA, read that LoRA's matrices.

    Args:
        tuned: The model with the adapter; it stays as it is where nothing is to be tied.
    """
    names = getattr(tuned.peft_config[_NAME], "target_modules_to_tie", None) or ()
    base = tuned.get_base_model()
    embedding = base.get_input_embeddings()
    pairs: dict[str, str] = {}
    for name in sorted(names):
        head = base.get_submodule(name)
        if _NAME not in getattr(head, "lora_A", {}) or _NAME not in getattr(
            embedding, "lora_embedding_A", {}
        ):
            continue
        for side, of in _SIDES:
            getattr(head, side.partition(".")[0])[_NAME] = _Transposed(embedding, of)
            pairs[f"{_saved_name(tuned, head)}.{side}"] = f"{_saved_name(tuned, embedding)}.{of}"
    tuned.tunesmith_tied = pairs


def with_heads(tuned: Any, tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Saved tensors with the heads' own, which whoever has no tie needs."""
    heads = {head: tensors[of].detach().t().contiguous() for head, of in _pairs(tuned, tensors)}
    return {**tensors, **heads}


def without_heads(tuned: Any, tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Tensors that were saved, without the heads' own.

    Raises:
        ValueError: A head has learnt something else than the embedding: no one LoRA stands for both.
    """
    rest = dict(tensors)
    for head, of in _pairs(tuned, tensors):
        found = rest.pop(head, None)
        if found is not None and not torch.equal(found.cpu(), tensors[of].t().to(found.dtype).cpu()):
            raise ValueError(
                f"`ensure_weight_tying` keeps one LoRA for both ends, and `{head}` is not the transpose of `{of}`"
            )
    return rest


def _pairs(tuned: Any, tensors: Mapping[str, torch.Tensor]) -> Iterator[tuple[str, str]]:
    pairs: Mapping[str, str] = getattr(tuned, "tunesmith_tied", {})
    return ((head, of) for head, of in pairs.items() if of in tensors)


def _saved_name(tuned: Any, module: Any) -> str:
    return next(name for name, one in tuned.named_modules() if one is module)
