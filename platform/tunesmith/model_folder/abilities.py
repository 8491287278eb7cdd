"""What a type of model cannot do of what a training asks, told from its files and the library's lists.

Refused at submit, with the parameter: the library would say it in the middle of the start, in words of its own. A type
that the library does not list is left to it. Knows parameters and lists; loads nothing.
"""

from collections.abc import Iterator

from tunesmith.errors import Problem
from tunesmith.model_folder.architectures import NO_CHECKPOINTING, NO_CLASSIFIER, NO_FLASH, NO_SDPA
from tunesmith.model_folder.facts import ModelFacts
from tunesmith.spec.groups.lora import ALL_LINEAR
from tunesmith.spec.training import TrainSpec, chosen_targets

NO_LORA = dict.fromkeys(
    ("falcon_h1", "falcon_mamba", "mamba", "mamba2", "nemotron_h"), frozenset({"out_proj", "conv1d"})
)
"""Layers that peft gives no LoRA in a type of model: what computes its state reads their weights past them (0.21)."""
NO_4_BIT = frozenset({"rwkv"})
"""Types whose layers share out their weights in a way that bitsandbytes' 4 bits break (transformers 5.23)."""
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
    experts = sorted({layer.name for layer in facts.linear_layers if layer.experts})
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
