#!/usr/bin/env bash
# xllamacpp 2026.10.11549 (llama.cpp b11549), gguf 0.19.0, tokenizers 0.23.3.
#
# A file whose tokenizer is named `gpt-4o` cuts texts otherwise than the pattern of that tokenizer (`o200k`): the pattern
# counts a mark on a letter (`\p{M}`) as a part of the word, llama.cpp ends the word before it. Hindi, Thai, Bengali and
# other scripts that write vowels as marks get other ids than the model was trained on, more of them, and nothing says so.
# Texts in Latin, Cyrillic, Greek or Chinese get the same.
#
# Seen: "हि" is one word by the pattern, and two by llama.cpp; "his" is the same by both.
# What helps: the name `granite-embed-multi-97m`, under which llama.cpp keeps to the same pattern; or send ids.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet "xllamacpp==2026.10.11549" "gguf==0.19.0" "tokenizers==0.23.3" "numpy==2.4.6"
cat > "$folder/one.py" <<'PY'
import json
import sys
import urllib.request

import gguf
import numpy as np
import xllamacpp
from tokenizers import Regex, Tokenizer, models, pre_tokenizers

file, name = sys.argv[1:]
UPPER, LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
FIRST, SHORT = r"[^\r\n\p{L}\p{N}]?", r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
REST = r"\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
CUT = f"{FIRST}{UPPER}*{LOWER}+{SHORT}|{FIRST}{UPPER}+{LOWER}*{SHORT}|{REST}"
alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
step = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
a, b, ha, _, _, i = step.pre_tokenize_str("हि")[0][0]
merges = [("h", "i"), ("hi", "s"), (a, b), (a + b, ha), (a + b, i), (a + b + ha, a + b + i)]
words = ["<|endoftext|>", *alphabet, *("".join(pair) for pair in merges)]
tokenizer = Tokenizer(models.BPE({word: number for number, word in enumerate(words)}, merges))
tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(CUT), "isolated"), step])

size, inner = 32, 64
writer = gguf.GGUFWriter(file, "qwen2")
writer.add_context_length(64)
writer.add_embedding_length(size)
writer.add_block_count(1)
writer.add_feed_forward_length(inner)
writer.add_head_count(2)
writer.add_head_count_kv(2)
writer.add_layer_norm_rms_eps(1e-6)
writer.add_tokenizer_model("gpt2")
writer.add_tokenizer_pre(name)
writer.add_token_list(words)
writer.add_token_types([3, *[1] * (len(words) - 1)])
writer.add_token_merges([" ".join(merge) for merge in merges])
writer.add_eos_token_id(0)
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
params.model.path, params.n_ctx, params.warmup, params.port = file, 64, False, 0
server = xllamacpp.Server(params)


def by_llama_cpp(text: str) -> list[int]:
    body = json.dumps({"content": text}).encode()
    request = urllib.request.Request(server.listening_address + "/tokenize", body, {"Content-Type": "application/json"})
    return json.load(urllib.request.urlopen(request))["tokens"]


for text in ("his", "हि"):
    print(f"{name}, {text}: {tokenizer.encode(text).ids} by the pattern, {by_llama_cpp(text)} by llama.cpp")
assert by_llama_cpp("his") == tokenizer.encode("his").ids
is_same = by_llama_cpp("हि") == tokenizer.encode("हि").ids
assert is_same is (name != "gpt-4o"), "the behaviour has changed"
PY
for name in gpt-4o granite-embed-multi-97m; do
  "$folder/venv/bin/python" "$folder/one.py" "$folder/$name.gguf" "$name" 2>/dev/null
done
