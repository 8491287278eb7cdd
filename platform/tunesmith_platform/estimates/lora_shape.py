"""Which layers a LoRA of a file, or one that is trained on, has, and at what rank: as peft 0.21 reads its settings.

Knows the fields of peft's `LoraConfig` and modules by their paths; opens no file.
"""

import math
import re
from collections.abc import Mapping
from typing import Any

from tunesmith.model_folder import IS_EXPERT, ModelFacts
from tunesmith.model_folder.layers import TRANSPOSED
from tunesmith.spec.groups.lora import ALL_LINEAR
from tunesmith.spec.training import TrainSpec, chosen_targets

_RANK = 8
"""peft's, where a file names none."""
_TENSORS = {
    "gate_proj": "gate_up_proj",
    "up_proj": "gate_up_proj",
    "w1": "gate_up_proj",
    "w3": "gate_up_proj",
} | {
    "down_proj": "down_proj",
    "w2": "down_proj",
}
"""What transformers calls the tensor that holds such a matrix of every expert."""
_BLOCK = re.compile(r"\.(\d+)\.")


class LoraShape:
    """What of a model's modules gets a LoRA.

    Args:
        facts: What the model's files say.
        spec: The parameters.
        values: The fields of the file that is used instead of them; None where there is none.
    """

    def __init__(self, facts: ModelFacts, spec: TrainSpec, values: Mapping[str, Any] | None = None) -> None:
        self._facts = facts
        given = {"target_modules": chosen_targets(spec.target_modules, facts.linear_modules)}
        self._values: Mapping[str, Any] = given if values is None else values
        targets = self._values.get("target_modules") or []
        self._targets = targets[0] if targets == [ALL_LINEAR] else targets
        self._saved = _listed(self._values.get("modules_to_save"))

    def has(self, path: str) -> bool:
        """Whether a module gets one; of the head and embeddings, only where they are named."""
        if _ends(path, self._saved) or _matches(path, self._values.get("exclude_modules")):
            return False
        layers = self._values.get("layers_to_transform")
        if layers is not None:
            block = _BLOCK.search(path)
            if block is None or int(block[1]) not in _numbers(layers):
                return False
        if self._targets == ALL_LINEAR:
            return path in self._facts.linear
        return _matches(path, self._targets)

    def rank_of(self, path: str) -> int:
        """The rank of a module whose settings give it one of its own; else 0."""
        for pattern, rank in (self._values.get("rank_pattern") or {}).items():
            if re.match(rf"(.*\.)?({pattern})$", path):
                return int(rank)
        return 0

    @property
    def has_biases(self) -> bool:
        """Whether each LoRA adds a bias (`lora_bias`)."""
        return bool(self._values.get("lora_bias"))

    def besides(self, rank: int) -> int:
        """How many numbers are trained besides the linear layers': whole modules, tokens' rows, a named head's LoRA,
        and those of experts in one tensor (`target_parameters`).

        Args:
            rank: Of a LoRA that has no other.
        """
        facts, found = self._facts, sum(size for size, _ in self._stacked(rank).values())
        linear = facts.linear
        for path, shape in facts.modules.items():
            if _ends(path, self._saved):
                found += math.prod(shape) + facts.biases.get(f"{path}.bias", 0)
            elif path not in linear and self.has(path):
                found += (self.rank_of(path) or rank) * sum(shape)
                found += shape[0] if self.has_biases else 0
        rows = next((shape for path, shape in facts.modules.items() if "embed" in path), (0, 0))
        if facts.is_head_tied and "lm_head" in self._saved:
            found += math.prod(rows)  # a copy of the embedding
        tokens = self._values.get("trainable_token_indices") or []
        for one in tokens.values() if isinstance(tokens, dict) else [tokens]:
            found += len(one) * rows[1]
        return found

    def uncounted(self) -> list[str]:
        """The `target_parameters` that match nothing of the files, so that what they train is not known."""
        wanted = _listed(self._values.get("target_parameters"))
        matched = {name for _, names in self._stacked(1).values() for name in names}
        return [name for name in wanted if name not in matched]

    def _stacked(self, rank: int) -> dict[str, tuple[int, list[str]]]:
        """Tensors of several experts by their paths: what the LoRA of each trains, and the names that mean it.

        peft adds to each expert's matrix a LoRA of rank r: r x (inputs + outputs); transformers holds what is named
        `gate_up_proj` side by side.
        """
        wanted = _listed(self._values.get("target_parameters"))
        parts: dict[str, list[tuple[int, int]]] = {}
        for path, shape in self._facts.linear.items() if wanted else ():
            found = IS_EXPERT.search(path)
            tensor = _TENSORS.get(path.rpartition(".")[2])
            if found and tensor and self._facts.model_type not in TRANSPOSED:
                place = f"{path[: found.start()]}.experts.{tensor}".replace(".block_sparse_moe.", ".mlp.")
                parts.setdefault(place.replace("..", "."), []).append(shape)
        stacked = {}
        for name, (experts, *sizes) in self._facts.stacked.items():
            if names := [one for one in wanted if _ends(name, [one])]:
                stacked[name] = (self.rank_of(name) or rank) * experts * sum(sizes), names
        for place, shapes in parts.items():
            if names := [name for name in wanted if _ends(place, [name])]:
                inputs = sum(shape[1] for shape in shapes)
                if place.endswith("gate_up_proj"):
                    inputs //= 2  # both read the same
                own = self.rank_of(place) or rank
                stacked[place] = own * (inputs + sum(shape[0] for shape in shapes)), names
        return stacked


def as_the_file_says(spec: TrainSpec, values: Mapping[str, Any] | None) -> TrainSpec:
    """The parameters with what a file of LoRA settings puts in their place."""
    if values is None:
        return spec
    own = {"r": _RANK, "bias": "none", "use_dora": False, "lora_dropout": 0.0}
    return spec.model_copy(update={name: values.get(name, usual) for name, usual in own.items()})


def _matches(path: str, wanted: Any) -> bool:
    """As peft does: a text is a pattern of the whole path, a list holds paths or their ends at a dot."""
    if isinstance(wanted, str):
        return re.fullmatch(wanted, path) is not None
    return _ends(path, _listed(wanted))


def _ends(path: str, names: list[str]) -> bool:
    return any(path == name or path.endswith(f".{name}") for name in names)


def _listed(value: Any) -> list[str]:
    return [value] if isinstance(value, str) else [str(one) for one in value or ()]


def _numbers(value: Any) -> list[int]:
    return [value] if isinstance(value, int) else list(value)
