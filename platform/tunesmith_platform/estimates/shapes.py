"""From a model's files and a spec to what the formula calculates with.

Knows the numbers of `config.json` and the parameters; knows nothing of rows.
"""

from collections import Counter
from collections.abc import Mapping
from typing import Literal

from tunesmith.model_folder import EXPERTS_WITH_LORA, NO_LORA, ModelFacts, bits_of, whole_layers
from tunesmith.spec.groups.lora import ALL_LINEAR
from tunesmith.spec.optimizers import chosen_optimizer
from tunesmith.spec.training import TrainSpec, chosen_targets
from tunesmith_platform.backends.compute import Compute
from tunesmith_platform.estimates.formula import Matrices, ModelShape, Setting

_HEADS = frozenset({"lm_head", "embed_out", "output"})

_FUSED = frozenset({"gate_proj", "up_proj", "w1", "w3"})
"""Of each expert, transformers holds these two in one tensor; peft gives it a LoRA of twice the rank (0.21)."""
_NO_LINEAR = frozenset({("gpt_oss", "router"), ("ctrl", "w")})
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


def model_shape(facts: ModelFacts, numbers: Mapping[str, int], spec: TrainSpec) -> ModelShape:
    """A model's sizes, with the linear layers that the spec gives a LoRA.

    Args:
        facts: What its files say.
        numbers: Those of its `config.json`.
        spec: The parameters.
    """

    def number(*names: str, default: int) -> int:
        return next((int(numbers[name]) for name in names if name in numbers), default)

    hidden = number("hidden_size", "n_embd", "d_model", default=1024)
    heads = number("num_attention_heads", "n_head", default=max(1, hidden // 64))
    targets = chosen_targets(spec.target_modules, facts.linear_modules)
    targeted = Counter(_last(path) for path in facts.module_paths if _is_target(path, targets))
    named = Counter(_last(path) for path in facts.module_paths)
    are_experts_tuned = facts.model_type in EXPERTS_WITH_LORA
    are_routers_tuned = are_experts_tuned or facts.model_type in _LINEAR_ROUTERS
    whole = whole_layers(facts.model_type, bits_of(spec))
    routed = {numbers[name] for name in _EXPERTS if name in numbers}
    matrices = []
    for layer in facts.linear_layers:
        outputs, inputs = layer.shape
        if layer.name in _HEADS:
            continue
        # Where some of a name get a LoRA, by their paths: as large a share of each of its shapes.
        share = targeted[layer.name] / named[layer.name] if spec.use_lora else 0.0
        is_router = outputs in routed and layer.name in _ROUTERS
        is_whole = layer.name in whole or (is_router and facts.model_type not in _LINEAR_ROUTERS)
        is_left_out = layer.name in NO_LORA.get(facts.model_type, ())
        if is_left_out or (facts.model_type, layer.name) in _NO_LINEAR:
            share = 0.0
        if is_router and not are_routers_tuned:
            share = 0.0
        fused = 2 if layer.name in _FUSED else 1
        of_experts = share if are_experts_tuned else 0.0
        dense = layer.count - layer.experts
        for of, rank, part, stays in ((dense, 1, share, is_whole), (layer.experts, fused, of_experts, True)):
            chosen = round(of * part)
            for count, is_target in ((chosen, True), (of - chosen, False)):
                if count:
                    matrices.append(Matrices(layer.name, inputs, outputs, count, is_target, rank, stays))
    return ModelShape(
        parameters=facts.parameters,
        hidden=hidden,
        layers=number("num_hidden_layers", "n_layer", "num_layers", default=12),
        heads=heads,
        kv_heads=number("num_key_value_heads", default=heads),
        head_dim=number("head_dim", default=max(1, hidden // heads)),
        intermediate=number("intermediate_size", "n_inner", "ffn_dim", default=4 * hidden),
        vocabulary=facts.vocab_size,
        matrices=tuple(matrices),
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


def _is_target(path: str, targets: list[str]) -> bool:
    """As peft matches: a name is a module's whole path, or its end at a dot; the output head is never meant by all."""
    if targets == [ALL_LINEAR]:
        return _last(path) not in _HEADS
    return any(path == name or path.endswith(f".{name}") for name in targets)


def _last(path: str) -> str:
    return path.rsplit(".", 1)[-1]
