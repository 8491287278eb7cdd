"""A model folder of a few numbers, and its configuration changed."""

import json
from pathlib import Path
from typing import Any

import pytest
from model_files import safetensors
from tiny_model import make_tokenizer_folder

CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "vocab_size": 4,
    "max_position_embeddings": 64,
}


LAYERS = {
    "model.embed_tokens.weight": [4, 2],
    "model.layers.0.self_attn.q_proj.weight": [2, 2],
    "model.layers.0.self_attn.q_proj.bias": [2],
    "model.layers.0.mlp.down_proj.weight": [2, 3],
    "model.layers.0.input_layernorm.weight": [2],
    "model.norm.weight": [2],
    "lm_head.weight": [4, 2],
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = make_tokenizer_folder(tmp_path / "model")
    (made / "config.json").write_text(json.dumps(CONFIG))
    (made / "model.safetensors").write_bytes(safetensors(LAYERS))
    return made


def change_config(folder: Path, **values: Any) -> None:
    (folder / "config.json").write_text(json.dumps(CONFIG | values))
