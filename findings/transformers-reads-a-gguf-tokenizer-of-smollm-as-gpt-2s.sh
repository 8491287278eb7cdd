#!/usr/bin/env bash
# transformers 5.23.0, gguf 0.19.0, tokenizers as it brings them.
#
# `AutoTokenizer.from_pretrained(folder, gguf_file=...)` reads by which rules a text is cut from the file's
# `tokenizer.ggml.pre`: of `llama-bpe` and `qwen2` it takes the right ones, of `smollm` (SmolLM and SmolLM2, whose digits
# are each a word) those of GPT-2, without a warning. llama.cpp, which the file was written for, cuts digit by digit. A
# model that is loaded from such a file, trained and saved has the other rules for good.
#
# Seen: of the same file "a12" is ["a", "12"] where its name is `smollm`, and ["a", "1", "2"] where it is `qwen2`.
# What helps: put `Digits(individual_digits=True)` before the pre-tokenizer that it makes, and compare ids with llama.cpp.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet "torch==2.13.0" "transformers==5.23.0" "gguf==0.19.0" "numpy==2.4.6"
HF_HUB_OFFLINE=1 "$folder/venv/bin/python" - "$folder" 2>/dev/null <<'PY'
import sys
from pathlib import Path

import gguf
import numpy as np
from tokenizers import pre_tokenizers
from transformers import AutoTokenizer

words = ["<|endoftext|>", *sorted(pre_tokenizers.ByteLevel.alphabet()), "12"]


def tokens(name: str) -> list[str]:
    """Of a text, by the tokenizer of a file that names its rules so."""
    file = Path(sys.argv[1]) / name / "model.gguf"
    file.parent.mkdir()
    writer = gguf.GGUFWriter(file, "llama")
    writer.add_context_length(64)
    writer.add_embedding_length(32)
    writer.add_block_count(1)
    writer.add_feed_forward_length(64)
    writer.add_head_count(2)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_vocab_size(len(words))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(name)
    writer.add_token_list(words)
    writer.add_token_types([3, *[1] * (len(words) - 1)])
    writer.add_token_merges(["1 2"])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(0)
    writer.add_tensor("token_embd.weight", np.zeros((len(words), 32), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    tokenizer = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)
    return tokenizer.convert_ids_to_tokens(tokenizer("a12", add_special_tokens=False)["input_ids"])


found = {name: tokens(name) for name in ("qwen2", "smollm")}
print(found)
assert found["qwen2"] == ["a", "1", "2"]
assert found["smollm"] == ["a", "12"], "the behaviour has changed: digits are cut as llama.cpp does"
PY
