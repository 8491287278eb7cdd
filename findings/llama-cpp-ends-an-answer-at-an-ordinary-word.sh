#!/usr/bin/env bash
# xllamacpp 2026.10.11549 (llama.cpp b11549), gguf 0.19.0.
#
# Which words end an answer llama.cpp also tells by how they are spelt: an ordinary word `</s>`, as a vocabulary that was
# learnt of web pages has it beside `<s>` and `</b>`, is taken for the end of a text whatever its type in the file says.
# A model that writes `<s>struck out</s>` in HTML ends its answer there, in the middle of a sentence, as if it had said
# its own end; the word itself is not in the answer.
#
# Seen: of two ordinary words that are written over and over, `</b>` is written four times, and `</s>` ends at once.
# What helps: `ignore_eos` and stop at the model's own end oneself, or give such a word a spelling of its own in the file.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet "xllamacpp==2026.10.11549" "gguf==0.19.0" "numpy==2.4.6"
"$folder/venv/bin/python" - "$folder/model.gguf" 2>/dev/null <<'PY'
import json
import sys
import urllib.request

import gguf
import numpy as np
import xllamacpp

size, inner = 32, 64
words = ["<|endoftext|>", "<|im_end|>", *map(chr, range(33, 127)), "</s>", "</b>"]
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
writer.add_token_types([3, 3, *[1] * (len(words) - 2)])  # the last two are ordinary words, as letters are
writer.add_token_merges(["a b"])
writer.add_eos_token_id(1)
writer.add_bos_token_id(0)
writer.add_add_bos_token(False)
shapes = {"token_embd.weight": (len(words), size), "output_norm.weight": (size,), "blk.0.attn_norm.weight": (size,)}
shapes |= {f"blk.0.attn_{part}.weight": (size, size) for part in ("q", "k", "v", "output")}
shapes |= {f"blk.0.attn_{part}.bias": (size,) for part in ("q", "k", "v")}
shapes |= {"blk.0.ffn_norm.weight": (size,), "blk.0.ffn_gate.weight": (inner, size), "blk.0.ffn_up.weight": (inner, size)}
shapes |= {"blk.0.ffn_down.weight": (size, inner)}
for tensor, shape in shapes.items():
    writer.add_tensor(tensor, np.full(shape, 0.01, np.float32))
writer.write_header_to_file()
writer.write_kv_data_to_file()
writer.write_tensors_to_file()
writer.close()

params = xllamacpp.CommonParams()
params.model.path, params.n_ctx, params.warmup, params.port = sys.argv[1], 64, False, 0
server = xllamacpp.Server(params)


def written(word: str) -> tuple[str, str]:
    """What is written by a model that wants one word alone, and why it stopped."""
    asked = {"prompt": "a", "n_predict": 4, "temperature": 0, "logit_bias": [[words.index(word), 100]]}
    body = json.dumps(asked).encode()
    request = urllib.request.Request(server.listening_address + "/completion", body, {"Content-Type": "application/json"})
    answer = json.load(urllib.request.urlopen(request))
    return answer["content"], answer["stop_type"]


for word in ("</b>", "</s>"):
    print(f"{word}: {written(word)}")
assert written("</b>") == ("</b>" * 4, "limit")
assert written("</s>") == ("", "eos"), "the behaviour has changed: an ordinary word is written"
PY
