"""Several models over the weights of one: what an adapter's library does to modules and settings stays with its copy.

Knows torch's modules; knows nothing of adapters.
"""

import copy
from typing import Any

import torch


def copy_over_weights(base: Any) -> tuple[Any, dict[int, torch.nn.Parameter]]:
    """A copy of a model's modules over the same matrices, and of which parameter each of its own is the copy.

    Vectors are copied: adapters train biases where they are.
    """
    memo: dict[int, Any] = {}
    origins: dict[int, torch.nn.Parameter] = {}
    for parameter in base.parameters():
        held = parameter.data if parameter.dim() > 1 else parameter.data.clone()
        twin = torch.nn.Parameter(held, requires_grad=False)
        memo[id(parameter)] = twin
        origins[id(twin)] = parameter
    return copy.deepcopy(base, memo), origins
