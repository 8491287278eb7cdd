"""Small random models of many architectures, with the tiny model's tokenizer. No test itself."""

import json
from pathlib import Path
from typing import Any

from tiny_model import make_tiny_model

BLOCK = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4,
         "num_key_value_heads": 2, "max_position_embeddings": 512}  # fmt: skip
SMALL = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
EXPERTS = {"num_local_experts": 4, "num_experts_per_tok": 2}
KINDS: dict[str, dict[str, Any]] = {
    "llama": BLOCK,
    **dict.fromkeys(("mistral", "qwen2"), BLOCK),
    "qwen3": BLOCK | {"head_dim": 16},
    **dict.fromkeys(("phi", "phi3", "gemma3_text", "stablelm", "olmo2"), BLOCK),
    "gpt2": {"n_embd": 64, "n_layer": 2, "n_head": 4, "n_positions": 512, "resid_pdrop": 0.0, "attn_pdrop": 0.0,
             "embd_pdrop": 0.0},
    "mixtral": BLOCK | EXPERTS,
    "qwen3_moe": BLOCK | {"head_dim": 16, "num_experts": 8, "num_experts_per_tok": 2, "moe_intermediate_size": 32},
    "dots1": BLOCK | {"head_dim": 16, "n_routed_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32,
                      "n_shared_experts": 1, "first_k_dense_replace": 1, "n_group": 1, "topk_group": 1},
    "gpt_oss": BLOCK | EXPERTS | {"head_dim": 16, "sliding_window": 16},
    "lfm2": BLOCK | {"layer_types": ["conv", "full_attention"]},
    "opt": SMALL | {"ffn_dim": 128, "max_position_embeddings": 512, "word_embed_proj_dim": 64, "dropout": 0.0},
    "bloom": {"hidden_size": 64, "n_layer": 2, "n_head": 4, "hidden_dropout": 0.0},
    "falcon": SMALL | {"alibi": False},
    "mamba2": {"hidden_size": 64, "num_hidden_layers": 2, "state_size": 8, "head_dim": 16, "num_heads": 8,
               "n_groups": 1},
}  # fmt: skip


def model_of(kind: str, folder: Path, **more: Any) -> Path:
    """A small random model of a kind, in which tokens matter to each other."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    base = make_tiny_model(folder)
    own = json.loads((base / "config.json").read_text())
    ids = {
        name: own[name]
        for name in ("vocab_size", "eos_token_id", "pad_token_id", "bos_token_id")
        if name in own
    }
    torch.manual_seed(0)
    made = AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **(ids | KINDS[kind] | more)))
    with torch.no_grad():
        for weight in made.parameters():
            if weight.dim() > 1:
                weight.mul_(4)
    for file in (base / "config.json", base / "model.safetensors"):
        file.unlink()
    made.float().save_pretrained(base)
    return base
