"""Small random models of every causal architecture that transformers has, made from its configurations. No test itself.

A configuration is made small by the names that architectures give their sizes; what one needs besides stands in `OWN`.
"""

import json
from pathlib import Path
from typing import Any

from tiny_model import make_tiny_model

SIZES: dict[str, Any] = {
    "hidden_size": 64, "n_embd": 64, "d_model": 64, "embed_dim": 64, "model_dim": 64,
    "intermediate_size": 128, "ffn_dim": 128, "n_inner": 128, "d_ff": 128, "ffn_hidden_size": 128,
    "num_hidden_layers": 2, "n_layer": 2, "num_layers": 2, "n_layers": 2,
    "num_attention_heads": 4, "n_head": 4, "n_heads": 4, "num_heads": 4,
    "num_key_value_heads": 2, "head_dim": 16, "kv_channels": 16, "d_kv": 16,
    "max_position_embeddings": 512, "n_positions": 512, "max_seq_len": 512, "max_seq_length": 512,
    "moe_intermediate_size": 32, "shared_expert_intermediate_size": 32, "expert_ffn_hidden_size": 32,
    "num_local_experts": 4, "num_experts": 4, "n_routed_experts": 4, "moe_num_experts": 4,
    "num_experts_per_tok": 2, "moe_topk": 2, "moe_k": 2, "top_k_experts": 2, "n_shared_experts": 1,
    "q_lora_rank": 32, "kv_lora_rank": 16, "qk_nope_head_dim": 16, "qk_rope_head_dim": 8, "v_head_dim": 16,
    "qk_head_dim": 24, "n_group": 1, "topk_group": 1, "first_k_dense_replace": 1,
    "state_size": 8, "ssm_state_size": 8, "mamba_d_state": 8, "mamba_n_heads": 8, "mamba_d_head": 16,
    "mamba_n_groups": 1, "mamba_num_heads": 8, "mamba_head_dim": 16, "mamba_d_ssm": 128, "n_groups": 1,
    "n_mamba_heads": 2,
    "linear_num_key_heads": 2, "linear_num_value_heads": 2, "linear_key_head_dim": 16, "linear_value_head_dim": 16,
    "attention_hidden_size": 64, "lru_width": 64, "word_embed_proj_dim": 64, "sliding_window": 64,
    "attention_dropout": 0.0, "hidden_dropout": 0.0, "resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0,
    "dropout": 0.0, "activation_dropout": 0.0, "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0,
    "embed_dropout": 0.0, "resid_dropout": 0.0, "attn_dropout": 0.0, "layerdrop": 0.0, "layer_types": None,
    "mlp_layer_types": None, "tie_word_embeddings": True, "tie_encoder_decoder": False, "use_cache": False,
    "is_decoder": True, "use_mamba_kernels": False, "is_encoder_decoder": False,
}  # fmt: skip
_LATENT = {"head_dim": 8, "num_key_value_heads": 4}
OWN: dict[str, dict[str, Any]] = {
    "mamba2": {"num_heads": 8, "head_dim": 16},
    **dict.fromkeys(
        ("deepseek_v2", "deepseek_v3", "deepseek_v32", "glm4_moe_lite", "glm_moe_dsa", "longcat_flash", "minicpm3",
         "youtu", "axk1", "axk2"),
        _LATENT,
    ),
    "codegen": {"rotary_dim": 8},
    "gptj": {"rotary_dim": 8},
    "gpt_neo": {"attention_types": [[["global", "local"], 1]]},
    "falcon": {"head_dim": ...},
    "lfm2": {"layer_types": ["conv", "full_attention"]},
    "lfm2_moe": {"layer_types": ["conv", "full_attention"], "num_dense_layers": 1},
    "zaya": {"num_experts_per_tok": 1},
    "cwm": {"bos_token_id": 0},
    "modernbert-decoder": {"bos_token_id": 0},
    "dots3_note_text": {"num_key_value_heads": 4},
}  # fmt: skip
"""What an architecture needs besides, or otherwise; `...` where it must not be named."""


LARGE = 5_000_000
"""A model with more parameters could not be made small by its sizes' usual names."""


def causal_types() -> list[str]:
    """Every model type that transformers has a causal language model of."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    return sorted(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES)


def small_config(kind: str, **more: Any) -> Any:
    """A small configuration of a type."""
    from transformers import AutoConfig

    plain = AutoConfig.for_model(kind)
    known = plain.to_dict()
    sizes = {name: value for name, value in SIZES.items() if name in known or hasattr(plain, name)}
    sizes = {name: value for name, value in sizes.items() if not (value is None and known.get(name) is None)}
    chosen = sizes | more | OWN.get(kind, {})
    return AutoConfig.for_model(kind, **{name: value for name, value in chosen.items() if value is not ...})


def is_small(kind: str) -> bool:
    """Whether a small model can be made of a type."""
    import torch
    from transformers import AutoModelForCausalLM

    try:
        config = small_config(kind, vocab_size=1000, pad_token_id=3, eos_token_id=2)
        with torch.device("meta"):
            made = AutoModelForCausalLM.from_config(config)
        return sum(weight.numel() for weight in made.parameters()) <= LARGE
    except Exception:  # its configuration asks for more than sizes
        return False


def make(kind: str, folder: Path, **more: Any) -> Path:
    """A small random model of a type with the tiny model's tokenizer."""
    import torch
    from transformers import AutoModelForCausalLM

    base = make_tiny_model(folder)
    own = json.loads((base / "config.json").read_text())
    names = ("vocab_size", "eos_token_id", "pad_token_id", "bos_token_id")
    ids = {name: own.get(name) for name in names}
    torch.manual_seed(0)
    made = AutoModelForCausalLM.from_config(small_config(kind, **(ids | more)))
    for file in (base / "config.json", base / "model.safetensors"):
        file.unlink()
    made.float().save_pretrained(base)
    return base
