"""The model that a run leaves to those who use it, its adapter merged into its base where that is wanted.

A merge goes layer by layer and is written tensor by tensor: so it says how far it is, and can be left. Knows peft;
knows nothing of steps.
"""

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tunesmith.activity import ActivityKind, Unit
from tunesmith.model_folder import ADAPTER_CONFIG, ADAPTER_WEIGHTS, INDEX
from tunesmith.spec.training import TrainSpec
from tunesmith_jobs.activities import Activities
from tunesmith_jobs.artifact_store import link_or_copy
from tunesmith_jobs.models.adapters import attach, task_type
from tunesmith_jobs.models.build import copy_tokenizer, load_base
from tunesmith_jobs.models.card import trained_card
from tunesmith_jobs.models.weights import written_in_pieces

_WEIGHTS = ("*.safetensors", ADAPTER_CONFIG, "config.json", "generation_config.json")
ADAPTER_FOLDER = "adapter"
"""Where the adapter lies in a final model that is merged."""


def merge(
    adapter: Path,
    base: Path,
    target: Path,
    spec: TrainSpec,
    labels: Sequence[str] | None,
    *,
    check: Callable[[], None] = lambda: None,
    activities: Activities | None = None,
) -> None:
    """Write the base's weights with an adapter added to them, in the precision that the base is stored in.

    A base that was quantised for training is read as it is stored: the adapter is never merged into 4 bits.

    Args:
        adapter: The adapter's folder.
        base: The base model's folder.
        target: Where the merged model goes; what is there is not whole before this returns.
        spec: The training's parameters.
        labels: The classes' names, where it classifies.
        check: Asked before every layer and every few megabytes; what it raises ends the merge.
        activities: Told how far it is.
    """
    busy = activities or Activities()
    check()
    model = load_base(base, labels, {"dtype": "auto"})
    check()
    _untie(model, adapter)
    tuned = attach(model, adapter, task_type(spec))
    layers = _layers(tuned)
    with busy.doing(ActivityKind.MERGING, Unit.TENSORS, len(layers)) as doing:
        for layer in layers:
            check()
            layer.merge(safe_merge=True)
            doing.advance()
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="All adapters are already merged")
            warnings.filterwarnings("ignore", message="Already following adapters were merged")
            whole = tuned.merge_and_unload(safe_merge=True)
    size = sum(parameter.nbytes for parameter in whole.parameters())
    with busy.doing(ActivityKind.MERGING, Unit.BYTES, size) as doing:

        def advance(count: int) -> None:
            check()
            doing.advance(count)

        with written_in_pieces(advance):
            whole.save_pretrained(target)


def _layers(tuned: Any) -> list[Any]:
    """The layers that are merged each by itself; what is left, peft merges as it takes its own away."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    found = {name: module for name, module in tuned.named_modules() if isinstance(module, BaseTunerLayer)}
    return [
        layer
        for name, layer in found.items()
        if hasattr(layer, "base_layer")
        and not hasattr(layer, "unload_and_optionally_merge_module")
        and not any(name.startswith(f"{other}.") for other in found)
    ]


def _untie(model: Any, adapter: Path) -> None:
    """Give the head weights of its own where the adapter changes only one of two layers that share theirs."""
    import torch
    from safetensors import safe_open

    ends = [model.get_input_embeddings(), model.get_output_embeddings()]
    if ends[1] is None or ends[0].weight is not ends[1].weight:
        return
    names = [name for name, module in model.named_modules() if any(module is end for end in ends)]
    with safe_open(adapter / ADAPTER_WEIGHTS, "pt") as file:
        keys = list(file.keys())
    if any(f".{name}." in key for name in names for key in keys):
        ends[1].weight = torch.nn.Parameter(ends[0].weight.detach().clone(), requires_grad=False)
        model.config.tie_word_embeddings = False


def lay_out_final(
    checkpoint: Path,
    base: Path,
    target: Path,
    *,
    title: str,
    spec: TrainSpec,
    labels: Sequence[str] | None = None,
    tokenizer: Path | None = None,
    template: str | None = None,
    check: Callable[[], None] = lambda: None,
    activities: Activities | None = None,
) -> None:
    """Make the final model's folder from the last checkpoint: by construction the same weights.

    The folder must not be there yet. With `merge_lora_after_training` it holds the merged model, and the adapter beside
    it in `adapter/`; `check` and `activities` are as in `merge`.
    """
    target.mkdir(parents=True)
    is_lora = (checkpoint / ADAPTER_CONFIG).exists()
    is_merged = is_lora and spec.merge_lora_after_training
    weights = target / ADAPTER_FOLDER if is_merged else target
    for pattern in (*_WEIGHTS, INDEX):
        for file in sorted(checkpoint.glob(pattern)):
            link_or_copy(file, weights / file.name)
    if is_merged:
        merge(weights, base, target, spec, labels, check=check, activities=activities)
    copy_tokenizer(tokenizer or base, target, template)
    card = trained_card(base, title, is_adapter=is_lora and not is_merged, labels=labels)
    (target / "README.md").write_text(card)
