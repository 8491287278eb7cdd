"""The optimizers that a task may name, and what each needs and excludes: one table.

Knows names and rules; whether a package or a GPU is there is asked by `tunesmith.availability`.
"""

from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from tunesmith.spec.training import TrainSpec

Optimizer = Literal[
    "adamw_torch",
    "adamw_torch_fused",
    "adamw_8bit",
    "paged_adamw_8bit",
    "paged_adamw_32bit",
    "adafactor",
    "sgd",
    "lion_8bit",
    "paged_lion_8bit",
    "lomo",
    "adalomo",
    "galore_adamw",
    "galore_adamw_8bit",
    "galore_adafactor",
    "galore_adamw_layerwise",
    "galore_adamw_8bit_layerwise",
    "galore_adafactor_layerwise",
    "apollo_adamw",
    "apollo_adamw_layerwise",
    "grokadamw",
    "stable_adamw",
    "schedule_free_radam",
    "schedule_free_adamw",
    "adagrad",
    "rmsprop",
]


class OptimizerNeeds(NamedTuple):
    """What must hold for an optimizer to work."""

    module: str | None = None
    """The package that it comes with, as Python imports it."""
    is_low_rank: bool = False
    """It projects the gradients of whole weight matrices: there must be some that are trained."""
    moves_in_backward: bool = False
    """It moves a weight as soon as its gradient is there, so no whole gradient ever exists."""
    needs_gpu: bool = False
    """Its package calls CUDA whatever the tensors lie on."""


_BNB = OptimizerNeeds("bitsandbytes")
_GALORE = OptimizerNeeds("galore_torch", is_low_rank=True)
_APOLLO = OptimizerNeeds("apollo_torch", is_low_rank=True)

OPTIMIZERS: dict[str, OptimizerNeeds] = {
    "adamw_torch": OptimizerNeeds(),
    "adamw_torch_fused": OptimizerNeeds(),
    "adamw_8bit": _BNB,
    "paged_adamw_8bit": _BNB,
    "paged_adamw_32bit": _BNB,
    "adafactor": OptimizerNeeds(),
    "sgd": OptimizerNeeds(),
    "lion_8bit": _BNB,
    "paged_lion_8bit": _BNB,
    "lomo": OptimizerNeeds("lomo_optim", moves_in_backward=True),
    "adalomo": OptimizerNeeds("lomo_optim", moves_in_backward=True, needs_gpu=True),
    "galore_adamw": _GALORE,
    "galore_adamw_8bit": _GALORE._replace(needs_gpu=True),
    "galore_adafactor": _GALORE,
    "galore_adamw_layerwise": _GALORE._replace(moves_in_backward=True),
    "galore_adamw_8bit_layerwise": _GALORE._replace(moves_in_backward=True, needs_gpu=True),
    "galore_adafactor_layerwise": _GALORE._replace(moves_in_backward=True),
    "apollo_adamw": _APOLLO,
    "apollo_adamw_layerwise": _APOLLO._replace(moves_in_backward=True),
    "grokadamw": OptimizerNeeds("grokadamw"),
    "stable_adamw": OptimizerNeeds("optimi"),
    "schedule_free_radam": OptimizerNeeds("schedulefree"),
    "schedule_free_adamw": OptimizerNeeds("schedulefree"),
    "adagrad": OptimizerNeeds(),
    "rmsprop": OptimizerNeeds(),
}
"""Every value of `optim`."""

_IN_8_BIT = {
    "adamw_torch": "adamw_8bit",
    "adamw_torch_fused": "adamw_8bit",
    "galore_adamw": "galore_adamw_8bit",
}


def chosen_optimizer(spec: "TrainSpec") -> str:
    """The optimizer that was asked for, `use_8bit_optimizer` included."""
    return _IN_8_BIT.get(spec.optim, spec.optim) if spec.use_8bit_optimizer else spec.optim


def has_8_bit_form(name: str) -> bool:
    """Whether an optimizer keeps its state in 8 bits, or in pages that may leave the GPU."""
    return name in _IN_8_BIT or "8bit" in name or name.startswith("paged_")
