"""The model that a run leaves to those who use it, its adapter merged into its base where that is wanted.

A merge goes layer by layer and is written tensor by tensor: so it says how far it is, and can be left. Knows peft;
knows nothing of steps.
"""

import json
import shutil
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tunesmith.activity import ActivityKind, Unit
from tunesmith.model_folder import (
    ADAPTER_CONFIG,
    ADAPTER_WEIGHTS,
    INDEX,
    bits_of,
    public_name,
    weight_files,
    without_folders,
)
from tunesmith.rows.files.json_file import read_object
from tunesmith.spec.parameter import about
from tunesmith.spec.training import TrainSpec
from tunesmith_jobs.activities import Activities
from tunesmith_jobs.artifact_store import link_or_copy
from tunesmith_jobs.models.adapters import attach, check_merging, task_type
from tunesmith_jobs.models.build import copy_tokenizer, load_base
from tunesmith_jobs.models.card import trained_card
from tunesmith_jobs.models.generation_settings import GENERATION, end_of_answers, write_generation
from tunesmith_jobs.models.older_readers import write_for_older_readers
from tunesmith_jobs.models.weights import written_in_pieces

PARAMETERS_FILE = "training_parameters.json"
"""The parameters that a final model was trained with, all of them."""
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
    tied = TiedEnds(model)
    tuned = attach(model, adapter, task_type(spec))
    check_merging(tuned)
    whole = merged(tuned, tied, check=check, activities=busy)
    size = sum(parameter.nbytes for parameter in whole.parameters())
    with busy.doing(ActivityKind.MERGING, Unit.BYTES, size) as doing:

        def advance(count: int) -> None:
            check()
            doing.advance(count)

        with written_in_pieces(advance):
            whole.save_pretrained(target)


class TiedEnds:
    """The embedding and the head of a model without adapters, where they share their weights.

    Args:
        model: The model, before an adapter is put onto it.
    """

    def __init__(self, model: Any) -> None:
        self._names = _names_of_ends(model)

    def part(self, tuned: Any) -> None:
        """Give the head weights of its own: what two adapters add to shared weights would be added twice."""
        import torch

        if self._names is None:
            return
        embedding, head = (_base_of_end(tuned, name) for name in self._names)
        if embedding.weight is head.weight:
            head.weight = torch.nn.Parameter(embedding.weight.detach().clone(), requires_grad=False)

    def join(self, whole: Any) -> None:
        """Let the ends share their weights again where they are the same; else say that they do not."""
        import torch

        if self._names is None:
            return
        embedding, head = (whole.get_submodule(name) for name in self._names)
        are_same = torch.equal(embedding.weight, head.weight)
        if are_same:
            head.weight = embedding.weight
        for config in (whole.config, whole.config.get_text_config()):
            config.tie_word_embeddings = are_same


def merged(
    tuned: Any,
    ends: TiedEnds,
    *,
    check: Callable[[], None] = lambda: None,
    activities: Activities | None = None,
    done: Callable[[Any], None] = lambda layer: None,
) -> Any:
    """The model with its adapter added to its weights, made of the same modules.

    Args:
        tuned: The model with the adapter, which is used up; `check_merging` has seen it.
        ends: Of the base, from before the adapter.
        check: As in `merge`.
        activities: As in `merge`.
        done: Told of each layer that is merged.
    """
    ends.part(tuned)
    layers = _layers(tuned)
    with (activities or Activities()).doing(ActivityKind.MERGING, Unit.TENSORS, len(layers)) as doing:
        for layer in layers:
            check()
            layer.merge(safe_merge=True)
            done(layer)
            doing.advance()
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="All adapters are already merged")
            warnings.filterwarnings("ignore", message="Already following adapters were merged")
            whole = tuned.merge_and_unload(safe_merge=True)
    ends.join(whole)
    return whole


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


def _names_of_ends(model: Any) -> tuple[str, str] | None:
    """The embedding and the head that share their weights; None where there are no such two."""
    ends = [model.get_input_embeddings(), model.get_output_embeddings()]
    if None in ends or ends[0].weight is not ends[1].weight:
        return None
    first, second = (next(name for name, module in model.named_modules() if module is end) for end in ends)
    return first, second


def _base_of_end(tuned: Any, name: str) -> Any:
    """The layer under whatever an adapter put in its place."""
    layer = tuned.base_model.model.get_submodule(name)
    layer = getattr(layer, "token_adapter", layer)  # rows of its own
    layer = getattr(layer, "base_layer", None) or getattr(layer, "original_module", layer)
    return getattr(layer, "base_layer", layer)


def _has_patterns(config: Path) -> bool:
    found = read_object(config)
    return bool(found.get("rank_pattern") or found.get("alpha_pattern"))


def _model_files(checkpoint: Path, *, is_adapter: bool) -> list[Path]:
    """What of a checkpoint is the model: nothing of the optimizer's, nor of the run's random state."""
    if is_adapter:
        return [checkpoint / ADAPTER_CONFIG, checkpoint / ADAPTER_WEIGHTS]
    found = [*weight_files(checkpoint), *(checkpoint / name for name in (INDEX, "config.json", GENERATION))]
    return [file for file in found if file.is_file()]


def _public_parameters(spec: TrainSpec) -> str:
    """The parameters as JSON, what lies in folders of this machine by its name alone: the task's own keep them."""
    values = spec.model_dump(mode="json")
    paths = {name for name, info in TrainSpec.model_fields.items() if about(info).path}
    public = {name: without_folders(value) if name in paths else value for name, value in values.items()}
    return json.dumps(public, indent=1, ensure_ascii=False) + "\n"


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
    weights.mkdir(exist_ok=True)
    for file in _model_files(checkpoint, is_adapter=is_lora):
        (link_or_copy if file.suffix == ".safetensors" else shutil.copyfile)(file, weights / file.name)
    if is_merged:
        merge(weights, base, target, spec, labels, check=check, activities=activities)
    copy_tokenizer(tokenizer or base, target, template)
    if labels is None:
        write_generation(target, base, end_of_answers(spec, base, tokenizer))
    write_for_older_readers(target)
    (target / PARAMETERS_FILE).write_text(_public_parameters(spec), encoding="utf-8")
    card = trained_card(
        public_name(base, spec.model_name_or_path),
        title,
        is_adapter=is_lora and not is_merged,
        labels=labels,
        quantized_bits=bits_of(spec) or None,
        has_patterns=is_lora and _has_patterns(weights / ADAPTER_CONFIG),
    )
    (target / "README.md").write_text(card, encoding="utf-8")
