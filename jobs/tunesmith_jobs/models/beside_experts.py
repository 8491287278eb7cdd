"""The linear layers that peft leaves out of a LoRA because experts have layers of the same names.

A mixture of experts holds its experts' matrices in one tensor a layer, which peft (0.21) finds by their names in the
files (`gate_proj`), and takes these names out of the targets: a dense layer's and a shared expert's of the same name
then got no LoRA, without a word. Knows peft; knows nothing of parameters.
"""

import copy
from typing import Any


def targets_beside_experts(model: Any, config: Any) -> list[str]:
    """Weights of linear layers that are meant by a configuration and would get no LoRA, as peft names parameters.

    A LoRA of a weight is that of its layer: the same matrices under the same names in the file.

    Args:
        model: The base model.
        config: A `LoraConfig` as it is asked for.
    """
    import torch
    from peft.tuners.tuners_utils import _maybe_include_all_linear_layers, check_target_module_exists
    from peft.utils.transformers_weight_conversion import convert_peft_config_for_transformers

    kept = copy.deepcopy(config)
    convert_peft_config_for_transformers(kept, model, None)
    if not getattr(kept, "target_parameters", None) or kept.target_modules == config.target_modules:
        return []
    asked = _maybe_include_all_linear_layers(copy.deepcopy(config), model)
    linear = {name for name, module in model.named_modules() if type(module) is torch.nn.Linear}
    meant = {name for name in linear if check_target_module_exists(asked, name)}
    missed = {name for name in meant if not (kept.target_modules and check_target_module_exists(kept, name))}
    return sorted({f"{_shortest(name, linear - missed)}.weight" for name in missed})


def _shortest(path: str, others: set[str]) -> str:
    """The end of a module's path, from its layer on where no other layer's ends so: one name for all blocks."""
    parts = path.split(".")
    begin = max((i + 1 for i, part in enumerate(parts) if part.isdecimal()), default=0)
    end = ".".join(parts[begin:])
    return path if any(other == end or other.endswith(f".{end}") for other in others) else end
