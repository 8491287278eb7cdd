"""A trained model as it is used: a whole one, or an adapter over its base, in the precision that it was trained in.

It is loaded by the trainer's own code, so that what is measured of it is what the trainer measured. Knows torch and
how models are built; knows nothing of rows.
"""

import dataclasses
import json
from pathlib import Path
from typing import Any

import torch

from tunesmith.model_step import ModelDocument
from tunesmith.spec.training import TrainSpec
from tunesmith_jobs.models import build as models
from tunesmith_jobs.models.fetch import fetch_model
from tunesmith_jobs.models.precision import Choice, choose

_AUTOCAST = {"bf16": torch.bfloat16, "fp16": torch.float16}


@dataclasses.dataclass(frozen=True)
class UsedModel:
    """A loaded model."""

    model: Any
    choice: Choice
    classes: tuple[str, ...] = ()
    """Names of the classes in the order of their numbers, where it classifies."""

    @property
    def device(self) -> torch.device:
        """Where its inputs go."""
        return torch.device(self.choice.device)

    @property
    def is_adapter(self) -> bool:
        """Whether it is an adapter over its base."""
        return hasattr(self.model, "peft_config")

    def autocast(self) -> Any:
        """The precision that it computes in, as the trainer's."""
        kind = _AUTOCAST.get(self.choice.precision)
        return torch.autocast(self.choice.device, dtype=kind, enabled=kind is not None)


def load(document: ModelDocument, spec: TrainSpec, scratch: Path, *, is_measured: bool) -> UsedModel:
    """Load the model of a document.

    Args:
        document: Names it.
        spec: The training whose model it is.
        scratch: Takes a copy, where the model lies in a storage elsewhere.
        is_measured: Whether its loss is to be the trainer's own. Else a whole model is held in the precision that it
            computes in, which takes half the memory.

    Raises:
        InvalidModel: It cannot be loaded.
        InvalidInput: The adapter does not fit its base, or a package is missing.
    """
    choice = choose(spec)
    classes = tuple(document.classes)
    base = Path(spec.model_name_or_path)
    if not spec.use_lora:
        base = fetch_model(document.model_uri, scratch)
        if spec.training_type == "classification":
            classes = _classes_of(base) or classes
    model = models.load(base, spec, choice, classes or None)
    if not (spec.load_in_4bit or spec.load_in_8bit):
        model = model.to(choice.device)
        kind = _AUTOCAST.get(choice.precision)
        if kind is not None and not is_measured and not spec.use_lora:
            # Weights alone: rotary frequencies are no weights, and in 16 bits turn far positions wrongly.
            for parameter in model.parameters():
                parameter.data = parameter.data.to(kind)
    model.requires_grad_(False)
    model.eval()
    return UsedModel(model, choice, classes)


def _classes_of(folder: Path) -> tuple[str, ...]:
    """The classes that a classifier's configuration names."""
    try:
        names = json.loads((folder / "config.json").read_bytes()).get("id2label") or {}
        return tuple(str(names[key]) for key in sorted(names, key=int))
    except (OSError, ValueError, AttributeError):
        return ()
