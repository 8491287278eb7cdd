"""What a type of model cannot do of what a training asks, told from its files and the library's lists.

Refused at submit, with the parameter: the library would say it in the middle of the start, in words of its own. A type
that the library does not list is left to it. Knows parameters and lists; loads nothing.
"""

from collections.abc import Iterator

from tunesmith.errors import Problem
from tunesmith.model_folder.architectures import (
    NO_CHECKPOINTING,
    NO_CLASSIFIER,
    NO_FLASH,
    NO_SDPA,
)
from tunesmith.model_folder.encoders import NEVER_CAUSAL
from tunesmith.model_folder.facts import ModelFacts
from tunesmith.spec.groups.lora import ALL_LINEAR
from tunesmith.spec.training import TrainSpec, chosen_targets

_STATE = frozenset({"out_proj", "conv1d"})
_ROUTER = frozenset({"router", "gate"})
NO_LORA = {
    **dict.fromkeys(("falcon_h1", "mamba2", "nemotron_h"), _STATE),
    **dict.fromkeys(("falcon_mamba", "mamba"), _STATE | {"dt_proj"}),
    "jamba": frozenset({"dt_proj"}),
    **dict.fromkeys(("llama4", "llama4_text", "phimoe"), _ROUTER),
    "deepseek_v4": frozenset({"o_a_proj", "wo_a"}),
    "longcat_flash": frozenset({"classifier"}),
}
"""Layers that can have no LoRA in a type of model: what computes its state, or chooses its experts, reads their weights
past them (peft 0.21, transformers 5.23), or they compute more than a linear layer does."""
_EXPERTS_WITH_LORA_WORDS = """
afmoe beam cohere2_moe deepseek_v2 deepseek_v3 deepseek_v32 dots1 ernie4_5_moe exaone_moe flex_olmo glm4_moe
glm4_moe_lite glm4v_moe glm_moe_dsa hunyuan_v1_moe longcat_flash mellum minimax minimax_m2 mixtral olmoe qwen3_moe
qwen3_next qwen3_omni_moe qwen3_omni_moe_text qwen3_omni_moe_thinker solar_open
"""
EXPERTS_WITH_LORA = frozenset(_EXPERTS_WITH_LORA_WORDS.split())
"""Types whose experts peft gives a LoRA by their names in the files (0.21); those of others are no layers to it."""
_OF_EXPERTS = frozenset({"gate_proj", "up_proj", "down_proj", "w1", "w2", "w3"})
NO_4_BIT = frozenset({"rwkv"})
"""Types whose layers share out their weights in a way that bitsandbytes' 4 bits break (transformers 5.23)."""
READS_PADDING = frozenset({"cpmant"})
"""Types that read what fills a row up as if it were text, and take the row's beginning for it instead."""
_ROWS_OF_A_BATCH = ("per_device_train_batch_size", "per_device_eval_batch_size")
_ATTENTION = {"sdpa": NO_SDPA, "flash_attention_2": NO_FLASH}


def inabilities(facts: ModelFacts, spec: TrainSpec) -> list[Problem]:
    """Everything that a model of this type cannot do of what was asked.

    Args:
        facts: What the model's files say.
        spec: The parameters.
    """
    return [*_of_type(facts, spec), *_of_targets(facts, spec), *_of_experts(facts, spec)]


def _of_type(facts: ModelFacts, spec: TrainSpec) -> Iterator[Problem]:
    kind = facts.model_type
    if spec.training_type != "classification" and facts.sees_later_tokens:
        others = "Take a model that writes text, or train classes with `training_type=classification`."
        switched = (
            'If it was made to write text, its `config.json` needs `"is_decoder": true`; else take another '
            "model."
        )
        yield Problem(
            field="model_name_or_path",
            message=f"Models of the type `{kind}` see the tokens that they are to write, so they would learn nothing.",
            hint=others if kind in NEVER_CAUSAL else switched,
        )
    if kind == "xmod":
        yield Problem(
            field="model_name_or_path",
            message="Models of the type `xmod` compute nothing before a language is chosen, which no parameter does.",
            hint="Take another model.",
        )
    if kind in READS_PADDING:
        yield from _of_padding(kind, spec)
    if spec.training_type == "classification" and kind in NO_CLASSIFIER:
        yield Problem(
            field="training_type",
            message=f"transformers has no classifier of the type `{kind}`.",
            hint="Take another model, or train the classes as answers with `training_type=sft`.",
        )
    if spec.gradient_checkpointing and kind in NO_CHECKPOINTING:
        yield Problem(
            field="gradient_checkpointing",
            message=f"Models of the type `{kind}` cannot recompute their activations.",
            hint="Set `gradient_checkpointing=false`.",
        )
    if spec.load_in_4bit and kind in NO_4_BIT:
        yield Problem(
            field="load_in_4bit",
            message=f"Models of the type `{kind}` cannot be held in 4 bits.",
            hint="Use `load_in_8bit=true`, or `load_in_4bit=false`.",
        )
    if kind in _ATTENTION.get(spec.attn_implementation, ()):
        yield Problem(
            field="attn_implementation",
            message=f"Models of the type `{kind}` do not compute `{spec.attn_implementation}`.",
            hint="Use `attn_implementation=auto`.",
        )


def _of_padding(kind: str, spec: TrainSpec) -> Iterator[Problem]:
    evaluates = spec.eval_strategy != "no"
    for field in _ROWS_OF_A_BATCH:
        if (getattr(spec, field) or 1) > 1 and (evaluates or field != "per_device_eval_batch_size"):
            yield Problem(
                field=field,
                message=f"Models of the type `{kind}` read padding as text: rows of one batch would change each other.",
                hint=f"Set `{field}=1`; `gradient_accumulation_steps` makes steps of more rows.",
            )
    if spec.packing:
        yield Problem(
            field="packing",
            message=f"Models of the type `{kind}` read padding as text: rows of one batch would change each other.",
            hint="Set `packing=false`.",
        )


def _of_targets(facts: ModelFacts, spec: TrainSpec) -> Iterator[Problem]:
    if not spec.use_lora or spec.attach_lora or spec.peft_config_path is not None:
        return
    without = NO_LORA.get(facts.model_type, frozenset())
    for name in spec.target_modules:
        if name.rpartition(".")[2] in without:
            others = ",".join(one for one in facts.linear_modules if one not in without)
            yield Problem(
                field="target_modules",
                message=f"`{name}` cannot have a LoRA in a model of the type `{facts.model_type}`.",
                hint=f"Use `target_modules={others}`, or `all-linear`, which leaves it out.",
            )


def _of_experts(facts: ModelFacts, spec: TrainSpec) -> Iterator[Problem]:
    """The experts of a layer are one tensor once they are loaded, and peft gives that a plain LoRA alone."""
    if not spec.use_lora or spec.attach_lora or spec.peft_config_path is not None:
        return
    if facts.model_type not in EXPERTS_WITH_LORA:
        return
    experts = sorted({layer.name for layer in facts.linear_layers if layer.experts})
    if not experts:  # a model without experts of a type that may have some: peft takes its layers for theirs
        experts = sorted(_OF_EXPERTS.intersection(facts.linear_modules))
    targets = chosen_targets(spec.target_modules, facts.linear_modules)
    meant = experts if targets == [ALL_LINEAR] else [name for name in experts if name in targets]
    if not meant:
        return
    names = ", ".join(f"`{name}`" for name in meant)
    others = [layer.name for layer in facts.linear_layers if not layer.experts and layer.name not in experts]
    instead = ",".join(dict.fromkeys(others))
    for field, is_asked in (("use_dora", spec.use_dora), ("lora_dropout", spec.lora_dropout > 0)):
        if is_asked:
            yield Problem(
                field=field,
                message=f"`{field}` does not work for a LoRA of experts ({names}), which lie in one tensor a layer.",
                hint=f"Set `target_modules={instead}`, or leave `{field}` out.",
            )


def untuned_experts(facts: ModelFacts, spec: TrainSpec) -> str | None:
    """What is to be said where a LoRA that means a model's experts leaves them out; None where it does not."""
    names = {layer.name for layer in facts.linear_layers if layer.experts}
    if not spec.use_lora or spec.attach_lora or spec.peft_config_path is not None:
        return None
    if facts.model_type in EXPERTS_WITH_LORA or not (names or facts.has_stacked_experts):
        return None
    targets = chosen_targets(spec.target_modules, facts.linear_modules)
    if targets != [ALL_LINEAR] and names.isdisjoint(name.rpartition(".")[2] for name in targets):
        return None
    return (
        f"The experts of a model of the type `{facts.model_type}` get no LoRA: they lie in one tensor a layer, which "
        "peft does not know. The other linear layers are trained. `peft_config_path` with `target_parameters` trains "
        "experts too."
    )
