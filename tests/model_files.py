"""Writes a model folder by hand, weights of zeros and all: needs no torch. No test itself."""

import json
import struct
from pathlib import Path
from typing import Any

from tiny_model import make_tokenizer_folder

LAYERS = {
    "model.embed_tokens.weight": [300, 2],
    "model.layers.0.self_attn.q_proj.weight": [2, 2],
    "model.layers.0.mlp.down_proj.weight": [2, 3],
    "model.layers.0.input_layernorm.weight": [2],
    "model.norm.weight": [2],
}


def safetensors(tensors: dict[str, list[int]], dtype: str = "F32", size: int = 4, spare: int = 0) -> bytes:
    """A safetensors file of zeros."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    at = 0
    for name, shape in tensors.items():
        count = size
        for number in shape:
            count *= number
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + count]}
        at += count
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + bytes(at + spare)


def make_model_folder(folder: Path, context: int = 4096, **config: Any) -> Path:
    """A folder that every check takes for a small Llama with a tokenizer and a chat template."""
    made = make_tokenizer_folder(folder)
    vocab = len(json.loads((made / "tokenizer.json").read_text())["model"]["vocab"]) + 4
    facts = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": vocab,
        "max_position_embeddings": context,
        "tie_word_embeddings": True,
    }
    (made / "config.json").write_text(json.dumps(facts | config))
    (made / "model.safetensors").write_bytes(safetensors(LAYERS | {"model.embed_tokens.weight": [vocab, 2]}))
    return made
