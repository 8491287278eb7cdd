"""An adapter as it is saved: put onto the base's own weights by anyone, it gives the model that was trained.

Some starts (PiSSA, OLoRA) take the matrices that they begin with out of the base's weights. peft saves the matrices
alone: who loads them must take the same ones out of the base again, which starts drawn at random make impossible and
other libraries do not do. Here such an adapter is saved as what it adds to the base as it was: B A - B0 A0, a LoRA of
twice the rank. Knows peft; knows nothing of steps or of where a folder goes.
"""

import collections
import copy
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch

from tunesmith.model_folder import ADAPTER_WEIGHTS
from tunesmith_jobs.models.tied_lora import with_heads, without_heads
from tunesmith_jobs.models.weights import write_weights

_DOWN, _UP = (".lora_A.", ".lora_embedding_A"), (".lora_B.", ".lora_embedding_B")
_NAME = "default"
"""What peft calls the one adapter that there is."""


class Loaded(NamedTuple):
    """What became of an adapter's tensors."""

    missing: list[str]
    """Weights that are trained and that it did not have."""
    unexpected: list[str]


def takes_out(start: object) -> bool:
    """Whether a start (`init_lora_weights`) changes the base's weights."""
    return isinstance(start, str) and (start.startswith("pissa") or start.lower() == "olora")


def is_drawn(start: object) -> bool:
    """Whether what such a start takes out of the base is drawn at random."""
    return isinstance(start, str) and start.startswith("pissa_niter")


def begin(tuned: Any, start: str) -> None:
    """Begin a fresh adapter as `start` says, and remember what it took out of the base.

    peft's own starts round the matrices to the base's format after they took the unrounded ones out, and know no layer
    that stores its weight the other way round.

    Args:
        tuned: The model with the adapter.
        start: A start that `takes_out`.

    Raises:
        ValueError: A layer cannot begin so.
    """
    began: dict[str, torch.Tensor] = {}
    shared = [weight for module in tuned.modules() for weight in module.parameters(recurse=False)]
    holders = collections.Counter(map(id, shared))
    for name, layer in tuned.named_modules():
        if _NAME not in getattr(layer, "lora_A", {}):
            continue
        if holders[id(_weight(layer))] > 1:  # a head that shares the embedding's, from which nothing is taken
            base = layer.get_base_layer()
            base.weight = torch.nn.Parameter(base.weight.detach().clone(), requires_grad=False)
        weight, rank, scaling = _weight(layer), layer.r[_NAME], float(layer.scaling[_NAME])
        if weight.dim() != 2 or not weight.is_floating_point():
            raise ValueError(f"`{name}` is no plain matrix: nothing can be taken out of it (`{start}`)")
        if rank > min(weight.shape):
            raise ValueError(
                f"`{name}` has no {rank} directions to begin with: `r` is {min(weight.shape)} at most"
            )
        whole = _out_in(layer, weight.detach().float())
        down, up = _principal(whole, start, rank, scaling)
        weight.data = _out_in(layer, whole - scaling * up @ down).to(weight.dtype).contiguous()
        for part, matrix in (("lora_A", down), ("lora_B", up)):
            getattr(layer, part)[_NAME].weight.data = matrix.contiguous()
            began[f"{name}.{part}.weight"] = matrix.clone()
    tuned.tunesmith_began = began


def _principal(
    weight: torch.Tensor, start: str, rank: int, scaling: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """What a start takes out of a weight (out, in), as matrices of (rank, in) and (out, rank)."""
    if start.lower() == "olora":
        left, right = torch.linalg.qr(weight)
        return right[:rank], left[:, :rank]
    if start == "pissa":
        left, sizes, right = torch.linalg.svd(weight, full_matrices=False)
    else:
        left, sizes, turned = torch.svd_lowrank(weight, rank, niter=int(start.rpartition("_")[2]))
        right = turned.T
    roots = (sizes[:rank] / scaling).sqrt()
    return roots[:, None] * right[:rank], left[:, :rank] * roots


def _weight(layer: Any) -> Any:
    return getattr(layer.get_base_layer(), getattr(layer, "parameter_name", "weight"))


def _out_in(layer: Any, weight: torch.Tensor) -> torch.Tensor:
    """A weight turned to (out, in), or back, where the layer stores it the other way round."""
    return weight.T if layer.fan_in_fan_out else weight


def saved_tensors(model: Any, state: Mapping[str, Any] | None = None) -> dict[str, torch.Tensor]:
    """The tensors that are saved of an adapter, by the names that peft gives them.

    Args:
        model: The model with the adapter.
        state: The model's weights, where they had to be gathered.
    """
    from peft import get_peft_model_state_dict

    # Nobody has changed the base's embedding where it is not trained as a whole; else peft would add it, twice.
    found = with_heads(model, get_peft_model_state_dict(model, state_dict=state, save_embedding_layers=False))
    for name in getattr(model, "tunesmith_own_base", ()):
        found[name] = (state or model.state_dict())[name]
    began = getattr(model, "tunesmith_began", None)
    return found if began is None else {name: _joined(name, one, began) for name, one in found.items()}


def _joined(name: str, now: torch.Tensor, began: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """A matrix beside the one that it began as; one that took nothing out of the base beside zeros."""
    if (axis := _axis(name)) is None:
        return now
    then = began[name].to(now) if name in began else torch.zeros_like(now)
    return torch.cat([now, then if axis == 0 else -then], dim=axis)


def _axis(name: str) -> int | None:
    """Along which a matrix has its rank; None of what is no matrix of a LoRA."""
    if name.endswith(".bias"):
        return None
    return 0 if any(part in name for part in _DOWN) else 1 if any(part in name for part in _UP) else None


def saved_config(model: Any) -> Any:
    """The adapter's configuration as it is saved: how it began says nothing to who has its weights."""
    config = copy.deepcopy(model.peft_config[_NAME])
    config.inference_mode = True
    if config.init_lora_weights != "mica":  # of which one matrix is trained and the other one not
        config.init_lora_weights = True
    if getattr(model, "tunesmith_began", None) is not None:
        wider = 2**0.5 if config.use_rslora else 2
        config.r *= 2
        config.lora_alpha *= wider
        config.rank_pattern = {name: 2 * rank for name, rank in (config.rank_pattern or {}).items()}
        config.alpha_pattern = {name: wider * alpha for name, alpha in (config.alpha_pattern or {}).items()}
    return config


def save_adapter(
    model: Any,
    folder: Path,
    *,
    base: str | None,
    state: Mapping[str, Any] | None = None,
    advance: Callable[[int], None] = lambda count: None,
) -> None:
    """Write an adapter's weights and configuration.

    Args:
        model: The model with the adapter.
        folder: Where they go.
        base: What the base is called.
        state: The model's weights, where they had to be gathered.
        advance: Told how many bytes more are written.
    """
    tensors = saved_tensors(model, state)
    write_weights(
        {name: one.detach() for name, one in tensors.items()},
        folder / ADAPTER_WEIGHTS,
        {"format": "pt"},
        advance,
    )
    config = saved_config(model)
    config.base_model_name_or_path = base
    config.save_pretrained(folder)


def set_tensors(model: Any, tensors: Mapping[str, torch.Tensor], *, is_joined: bool = True) -> Loaded:
    """Put saved tensors into a model with the same adapter; what they do not hold stays as it is, and is told of.

    Args:
        model: The model with the adapter.
        tensors: As `saved_tensors` gives them.
        is_joined: Whether, of a start that took something out of the base, that is in them.

    Raises:
        RuntimeError: A tensor has another shape.
        ValueError: Of two ends with one LoRA each has another.
    """
    from peft.utils.save_and_load import set_peft_model_state_dict

    tensors = without_heads(model, tensors)
    began: dict[str, torch.Tensor] | None = getattr(model, "tunesmith_began", None)
    if began is not None and is_joined:
        tensors = _parted(model, began, tensors)
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    state = model.state_dict()
    own = [name for name in tensors if name in state and name not in trained]
    if own := [name for name in own if not _is_same(state[name], tensors[name])]:
        model.tunesmith_own_base = (
            own  # whoever saved it had another embedding: it is part of what is trained on
        )
    result = set_peft_model_state_dict(model, dict(tensors))
    return Loaded(sorted(trained.intersection(result.missing_keys)), list(result.unexpected_keys))


def _is_same(one: torch.Tensor, other: torch.Tensor) -> bool:
    return one.shape == other.shape and torch.equal(one.cpu(), other.to(one.dtype).cpu())


def _parted(
    model: Any, began: dict[str, torch.Tensor], tensors: Mapping[str, torch.Tensor]
) -> dict[str, torch.Tensor]:
    """The trained halves; the base is made the one that was trained over, should it have begun otherwise."""
    now: dict[str, torch.Tensor] = {}
    then: dict[str, torch.Tensor] = {}
    for name, tensor in tensors.items():
        if (axis := _axis(name)) is None:
            now[name] = tensor
            continue
        half = tensor.shape[axis] // 2
        first, second = tensor.split([half, tensor.shape[axis] - half], dim=axis)
        now[name] = first.contiguous()
        if name in began:
            then[name] = (second if axis == 0 else -second).contiguous()
    for name, module in model.named_modules():
        down, up = f"{name}.lora_A.weight", f"{name}.lora_B.weight"
        if down in then and up in then:
            _take_out_instead(module, (began[down], began[up]), (then[down], then[up]))
    model.tunesmith_began = began | {name: one.float() for name, one in then.items()}
    return now


_Pair = tuple[torch.Tensor, torch.Tensor]


def _take_out_instead(layer: Any, out: _Pair, wanted: _Pair) -> None:
    """Put back into a layer's base what was taken out of it, and take out something else."""
    if all(torch.equal(one.cpu(), other.cpu()) for one, other in zip(out, wanted, strict=True)):
        return  # bit for bit the base that was trained over
    weight = _weight(layer)
    (down, up), (wanted_down, wanted_up) = ((one.to(weight.device) for one in pair) for pair in (out, wanted))
    delta = (up @ down - wanted_up @ wanted_down) * layer.scaling[_NAME]
    weight.data = (weight.float() + _out_in(layer, delta)).to(weight.dtype)
