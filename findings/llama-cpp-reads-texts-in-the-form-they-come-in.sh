#!/usr/bin/env bash
# xllamacpp 2026.10.11549 (llama.cpp b11549), gguf 0.19.0, tokenizers 0.23.3.
#
# The tokenizers of Qwen2, Qwen2.5 and Qwen3 put characters together before they look words up (normalizer NFC). llama.cpp
# knows them by the name `qwen2` and cuts texts the same way, but has no normalizer: a text whose accents are characters of
# their own, as macOS writes file names and some web pages and PDFs are, gets other ids than the model was trained on, and
# nothing says so. The same text in the other form gets the same ids by both.
#
# Seen: "a café" in one form: [65, 261] by both; in the other: [65, 261] by tokenizers, [65, 260, 69, 137, 224] by llama.cpp.
# What helps: put texts into NFC before they are sent, or send ids.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet "xllamacpp==2026.10.11549" "gguf==0.19.0" "tokenizers==0.23.3" "numpy==2.4.6"
"$folder/venv/bin/python" - "$folder/model.gguf" 2>/dev/null <<'PY'
import json
import sys
import unicodedata
import urllib.request

import gguf
import numpy as np
import xllamacpp
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

CUT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
tokenizer = Tokenizer(models.BPE())
tokenizer.normalizer = normalizers.NFC()
tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
    [pre_tokenizers.Split(Regex(CUT), "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
)
tokenizer.decoder = decoders.ByteLevel()
alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
trainer = trainers.BpeTrainer(vocab_size=300, special_tokens=["<|endoftext|>"], initial_alphabet=alphabet)
tokenizer.train_from_iterator(["a café, one more café, many cafés"] * 4, trainer)
words = sorted(tokenizer.get_vocab(), key=tokenizer.token_to_id)
model = json.loads(tokenizer.to_str())["model"]

size, inner = 32, 64
writer = gguf.GGUFWriter(sys.argv[1], "qwen2")
writer.add_context_length(64)
writer.add_embedding_length(size)
writer.add_block_count(1)
writer.add_feed_forward_length(inner)
writer.add_head_count(2)
writer.add_head_count_kv(2)
writer.add_layer_norm_rms_eps(1e-6)
writer.add_tokenizer_model("gpt2")
writer.add_tokenizer_pre("qwen2")
writer.add_token_list(words)
writer.add_token_types([3, *[1] * (len(words) - 1)])
writer.add_token_merges([" ".join(merge) for merge in model["merges"]])
writer.add_eos_token_id(0)
writer.add_bos_token_id(0)
writer.add_add_bos_token(False)
shapes = {"token_embd.weight": (len(words), size), "output_norm.weight": (size,), "blk.0.attn_norm.weight": (size,)}
shapes |= {f"blk.0.attn_{name}.weight": (size, size) for name in ("q", "k", "v", "output")}
shapes |= {f"blk.0.attn_{name}.bias": (size,) for name in ("q", "k", "v")}
shapes |= {"blk.0.ffn_norm.weight": (size,), "blk.0.ffn_gate.weight": (inner, size), "blk.0.ffn_up.weight": (inner, size)}
shapes |= {"blk.0.ffn_down.weight": (size, inner)}
for name, shape in shapes.items():
    writer.add_tensor(name, np.full(shape, 0.01, np.float32))
writer.write_header_to_file()
writer.write_kv_data_to_file()
writer.write_tensors_to_file()
writer.close()

params = xllamacpp.CommonParams()
params.model.path, params.n_ctx, params.warmup, params.port = sys.argv[1], 64, False, 0
server = xllamacpp.Server(params)


def by_llama_cpp(text: str) -> list[int]:
    body = json.dumps({"content": text}).encode()
    request = urllib.request.Request(server.listening_address + "/tokenize", body, {"Content-Type": "application/json"})
    return json.load(urllib.request.urlopen(request))["tokens"]


composed, apart = unicodedata.normalize("NFC", "a café"), unicodedata.normalize("NFD", "a café")
for name, text in {"composed": composed, "apart": apart}.items():
    print(f"{name}: {tokenizer.encode(text).ids} by tokenizers, {by_llama_cpp(text)} by llama.cpp")
assert by_llama_cpp(composed) == tokenizer.encode(composed).ids == tokenizer.encode(apart).ids
assert by_llama_cpp(apart) != tokenizer.encode(apart).ids, "the behaviour has changed: llama.cpp puts characters together"
PY
