"""The model as the library computes it, which a packaged file is held against: logits, the likeliest answer, weights.

In fp32, the adapter beside its base as it was trained and merged by peft only afterwards: nothing of it is our own
writing. Knows torch and how models are built; knows no file of llama.cpp.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunesmith.spec.training import TrainSpec
from tunesmith_jobs.models.adapters import attach, check_merging, task_type
from tunesmith_jobs.models.build import load_base
from tunesmith_jobs.models.merge import TiedEnds, merged

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Reference:
    """A model, loaded in fp32 on the processor.

    Args:
        base: The model's folder, or the base's of an adapter.
        adapter: The adapter's folder; None for the model as it is.
        training: The training's parameters.
        check: Asked before every step that takes long; what it raises ends it.
    """

    def __init__(
        self, base: Path, adapter: Path | None, training: TrainSpec, check: Callable[[], None] = lambda: None
    ) -> None:
        import torch

        self._check = check
        check()
        model = load_base(base, None, {"dtype": torch.float32})
        check()
        self._ends = TiedEnds(model)
        if adapter is not None:
            model = attach(model, adapter, task_type(training))
        self._is_tuned = adapter is not None
        self._model = model.eval().requires_grad_(False)

    def logits(self, ids: Sequence[int]) -> "NDArray[np.float32]":
        """The logits behind each token (tokens x words)."""
        import torch

        self._check()
        with torch.inference_mode():
            found = self._model(torch.tensor([list(ids)])).logits[0].float()
        return found.numpy()  # type: ignore[no-any-return]

    def greedy(self, ids: Sequence[int], count: int) -> "list[tuple[int, float]]":
        """The likeliest tokens after some, one after another, each with how far it is ahead of the next (logits)."""
        import torch

        found: list[tuple[int, float]] = []
        given: Any = torch.tensor([list(ids)])
        cache = None
        with torch.inference_mode():
            for _ in range(count):
                self._check()
                made = self._model(given, past_key_values=cache, use_cache=True)
                cache = made.past_key_values
                best = made.logits[0, -1].float().topk(2)
                found.append((int(best.indices[0]), float(best.values[0] - best.values[1])))
                given = best.indices[:1][None]
        return found

    def turning(self) -> "NDArray[np.float64] | None":
        """How fast each pair of a head's numbers is turned with the position; None where the library says nothing."""
        import numpy as np

        for name, buffer in self._model.named_buffers():
            if name.endswith("rotary_emb.inv_freq"):
                return np.asarray(buffer.double())
        return None

    def changes(self) -> "Iterator[tuple[str, NDArray[np.float32]]]":
        """What the adapter adds to each linear layer, by the weight's name in the folder, as peft says it."""
        for name, layer in self._model.named_modules():
            if self._is_tuned and hasattr(layer, "get_delta_weight") and hasattr(layer, "lora_A"):
                self._check()
                for adapter in layer.active_adapters:
                    if adapter in layer.lora_A:
                        change = layer.get_delta_weight(adapter).float().numpy()
                        yield f"{name.removeprefix('base_model.model.')}.weight", change

    def weights(self) -> "Iterator[tuple[str, NDArray[np.float32]]]":
        """Every weight by its name in the folder, the adapter merged by peft. Uses the model up."""
        whole = self._model
        if self._is_tuned:
            check_merging(whole)
            whole = merged(whole, self._ends, check=self._check)
        for name, tensor in whole.state_dict().items():
            yield name, tensor.float().numpy()


def needed_bytes(weights: int, words: int, tokens: int) -> int:
    """Memory that a reference takes: its weights in fp32, merged once, and two sequences of logits.

    Args:
        weights: Numbers of the model.
        words: Of its vocabulary.
        tokens: Of the longest sequence.
    """
    return int(4 * weights * 1.15) + 3 * 4 * words * tokens + 2**29
