"""From a model's files and a spec to what the formula calculates with.

Knows the numbers of `config.json` and the parameters; knows nothing of rows.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal

from tunesmith.model_folder import EXPERTS_WITH_LORA, IS_EXPERT, NO_LORA, ModelFacts, bits_of, whole_layers
from tunesmith.model_folder.class_heads import class_head, hidden_size, is_left_out
from tunesmith.model_folder.layers import TRANSPOSED
from tunesmith.spec.optimizers import chosen_optimizer
from tunesmith.spec.training import TrainSpec
from tunesmith_platform.backends.compute import Compute
from tunesmith_platform.estimates.formula import Matrices, ModelShape, Setting
from tunesmith_platform.estimates.lora_shape import LoraShape

_FUSED = frozenset({"gate_proj", "up_proj", "w1", "w3"})
"""Of each expert, transformers holds these two in one tensor; peft gives it a LoRA of twice the rank (0.21)."""
_NO_LINEAR = frozenset({("gpt_oss", "router"), ("inkling_text", "gate")})
"""Matrices of modules that are no linear layers."""
_EXPERTS = ("num_local_experts", "num_experts", "n_routed_experts", "moe_num_experts")
"""What configurations call how many experts a layer has."""
_ROUTERS = frozenset({"gate", "router", "layer"})
"""What chooses a token's experts: no linear layer, but where peft knows the type's experts."""
_LINEAR_ROUTERS = frozenset({"jetmoe"})
"""Types whose routers are linear layers."""

_SEES_NEIGHBOURS_WORDS = """
afmoe bailing_hybrid bamba bert bert-generation big_bird biogpt blenderbot-small bloom camembert cpmant
data2vec-text electra ernie falcon falcon_h1 falcon_mamba gpt_oss granitemoehybrid inkling2_text inkling_text jamba
kimi_linear lfm2 lfm2_moe lfm3 mamba mamba2 megatron-bert minimax mpt nemotron_h olmo_hybrid openai-gpt opt
qwen3_5_moe_text qwen3_5_text qwen3_next qwen4_exp_text recurrent_gemma rembert roberta roberta-prelayernorm
roformer rwkv trocr xglm xlm xlm-roberta xlm-roberta-xl zaya
"""
SEES_NEIGHBOURS = frozenset(_SEES_NEIGHBOURS_WORDS.split())
"""Types of models in which documents of a full sequence would see each other, so that each is computed as a row."""


def model_shape(
    facts: ModelFacts,
    numbers: Mapping[str, int],
    spec: TrainSpec,
    lora: Mapping[str, Any] | None = None,
    classes: int = 0,
) -> ModelShape:
    """A model's sizes, with the linear layers that the spec gives a LoRA.

    Args:
        facts: What its files say.
        numbers: Those of its `config.json`.
        spec: The parameters.
        lora: The fields of a LoRA that a file or an adapter brings, where one does.
        classes: How many there are, where it is to classify.
    """
    is_classifier = spec.training_type == "classification"
    if is_classifier:
        facts = _without_words_head(facts)
    head = class_head(facts.model_type, hidden_size(numbers), classes, facts.modules) if is_classifier else 0

    def number(*names: str, default: int) -> int:
        return next((int(numbers[name]) for name in names if name in numbers), default)

    hidden = number("hidden_size", "n_embd", "d_model", default=1024)
    heads = number("num_attention_heads", "n_head", default=max(1, hidden // 64))
    shape_of_lora = LoraShape(facts, spec, lora)
    are_experts_tuned = facts.model_type in EXPERTS_WITH_LORA
    whole = whole_layers(facts.model_type, bits_of(spec))
    routed = {numbers[name] for name in _EXPERTS if name in numbers}
    counts: Counter[Matrices] = Counter()
    biases = 0 if spec.bias == "lora_only" else sum(facts.biases.values())
    for path, shape in facts.linear.items():
        name = path.rpartition(".")[2]
        inputs, outputs = shape if facts.model_type in TRANSPOSED else shape[::-1]
        is_expert = IS_EXPERT.search(path) is not None
        is_router = name in _ROUTERS and outputs in routed and facts.model_type not in _LINEAR_ROUTERS
        is_plain = not is_expert and not is_router
        is_target = (
            spec.use_lora
            and shape_of_lora.has(path)
            and name not in NO_LORA.get(facts.model_type, ())
            and (facts.model_type, name) not in _NO_LINEAR
            and (is_plain or are_experts_tuned)
        )
        fused = 2 if is_expert and name in _FUSED else 1
        rank = shape_of_lora.rank_of(path) if is_target else 0
        has_bias = is_target and shape_of_lora.has_biases
        is_whole = name in whole or not is_plain
        counts[Matrices(name, inputs, outputs, 1, is_target, fused, is_whole, has_bias, rank)] += 1
        if is_target and is_plain and spec.bias == "lora_only":
            biases += facts.biases.get(f"{path}.bias", 0)
    matrices = [replace(one, count=count) for one, count in counts.items()]
    return ModelShape(
        parameters=facts.parameters + head,
        hidden=hidden,
        layers=number("num_hidden_layers", "n_layer", "num_layers", default=12),
        heads=heads,
        kv_heads=number("num_key_value_heads", default=heads),
        head_dim=number("head_dim", default=max(1, hidden // heads)),
        intermediate=number("intermediate_size", "n_inner", "ffn_dim", default=4 * hidden),
        vocabulary=facts.vocab_size,
        matrices=tuple(matrices),
        biases=biases,
        besides=shape_of_lora.besides(spec.r) + head,
        uncounted=tuple(shape_of_lora.uncounted()) if spec.use_lora else (),
    )


def _without_words_head(facts: ModelFacts) -> ModelFacts:
    """The facts of what a classifier keeps of a model."""
    return facts.model_copy(
        update={
            "parameters": facts.parameters - facts.left_out,
            "modules": {
                path: shape for path, shape in facts.modules.items() if not is_left_out(f"{path}.weight")
            },
            "biases": {name: count for name, count in facts.biases.items() if not is_left_out(name)},
        }
    )


def setting_of(spec: TrainSpec, compute: Compute, device: str, longest: int) -> Setting:
    """The parameters that memory and time depend on.

    Args:
        spec: The parameters.
        compute: What trains, as far as it is known.
        device: `cpu` or `gpu`.
        longest: Tokens of the longest row, after the cut.
    """
    kind: Literal["cpu", "gpu"] = "gpu" if device == "gpu" else "cpu"
    return Setting(
        use_lora=spec.use_lora,
        r=spec.r,
        lora_dropout=spec.lora_dropout,
        bias=spec.bias,
        use_dora=spec.use_dora,
        bits=bits_of(spec),
        precision=precision_of(spec, compute, kind),
        optim=chosen_optimizer(spec),
        batch=spec.per_device_train_batch_size,
        accumulation=spec.gradient_accumulation_steps,
        length=longest,
        gradient_checkpointing=spec.gradient_checkpointing,
        workers=spec.workers[1],
        zero_stage=int(spec.deepspeed_stage),
        offload=spec.deepspeed_offload != "none",
        offload_weights=spec.deepspeed_offload in ("optimizer_and_param_cpu", "nvme"),
        device=kind,
        has_classes=spec.training_type == "classification",
    )


def precision_of(spec: TrainSpec, compute: Compute, device: str) -> str:
    """The computing type; `auto` is resolved as the job resolves it, on a GPU of unknown kind as on today's."""
    if spec.chosen_precision != "auto":
        return spec.chosen_precision
    if device == "gpu":
        return "bf16" if all(gpu.compute_capability >= 8.0 for gpu in compute.gpus) else "fp16"
    return "bf16" if compute.machine is not None and compute.machine.cpu_supports_bf16 else "fp32"
